//! The way of events to user space.

use aya_ebpf::{EbpfContext, macros::map, maps::PerCpuArray};
use kernlab_abi::{EMITTED, EMITTED_SLOTS};

/// Events that the loader should receive, whether there was room for them or not: what did not arrive
/// there was lost.
///
/// The perf buffer can't be asked. It reports losses only when it next has room, which may be
/// never, and up to 5.0 `bpf_perf_event_output` returns 0 for an event that is lost
/// (`__bpf_perf_event_output`, kernel/trace/bpf_trace.c).
///
/// From 7.2 on, programs on syscall tracepoints can be preempted by others on the same CPU
/// (`trace_call_bpf_faultable`), so the addition is atomic.
#[map(name = "emitted")]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(EMITTED_SLOTS, 0);

/// Counts in one slot of `emitted`.
#[inline(always)]
pub fn count_in(slot: u32) {
    if let Some(count) = COUNTS.get_ptr_mut(slot) {
        // SAFETY: this CPU's value in the map.
        unsafe { increment(count) };
    }
}

/// Counts an event that the loader should receive.
#[inline(always)]
pub fn count_emitted() {
    count_in(EMITTED);
}

/// Counts an event that the loader should receive, and why it won't: `LOST_...`.
#[inline(always)]
pub fn count_lost(cause: u32) {
    count_in(EMITTED);
    count_in(cause);
}

/// Hands an event to user space.
///
/// # Safety
///
/// Every byte of `event` is initialised.
#[inline(always)]
pub unsafe fn emit<T>(context: &impl EbpfContext, event: *const T) {
    count_emitted();
    // SAFETY: initialised by this function's contract, and it lives as long as the program runs.
    let bytes = unsafe { core::slice::from_raw_parts(event.cast::<u8>(), size_of::<T>()) };
    buffer::write(context, bytes);
}

/// Adds 1 at once. Assembly, because the target has no compare-and-swap up to `-mcpu=v2`, and
/// `core` therefore no atomic arithmetic.
///
/// # Safety
///
/// `counter` is valid for reads and writes.
#[inline(always)]
unsafe fn increment(counter: *mut u64) {
    // SAFETY: one addition to memory that is valid by this function's contract.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({counter} + 0) += {one}",
            counter = in(reg) counter,
            one = in(reg) 1u64,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(not(feature = "perf"))]
mod buffer {
    use aya_ebpf::{EbpfContext, macros::map, maps::RingBuf};
    use kernlab_abi::RING_BYTES;

    #[map(name = "events")]
    static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

    #[inline(always)]
    pub(super) fn write(_: &impl EbpfContext, event: &[u8]) {
        // A refused event is missing at the loader.
        _ = EVENTS.output::<[u8]>(event, 0);
    }
}

#[cfg(feature = "perf")]
mod buffer {
    use aya_ebpf::{EbpfContext, macros::map, maps::PerfEventByteArray};

    #[map(name = "events")]
    static EVENTS: PerfEventByteArray = PerfEventByteArray::new(0);

    #[inline(always)]
    pub(super) fn write(context: &impl EbpfContext, event: &[u8]) {
        EVENTS.output(context, event, 0);
    }
}
