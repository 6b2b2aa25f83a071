//! The way of events to user space.

use aya_ebpf::{EbpfContext, macros::map, maps::PerCpuArray};

/// Events that were handed to the buffer, whether it took them or not: what did not arrive at the
/// loader was lost.
///
/// The perf buffer can't be asked. It reports losses only when it next has room, which may be
/// never, and up to 5.0 `bpf_perf_event_output` returns 0 for an event that is lost
/// (`__bpf_perf_event_output`, kernel/trace/bpf_trace.c).
///
/// One program of an object hands over events, and it can't interrupt itself on one CPU, so the
/// count needs no atomic addition.
#[map(name = "emitted")]
static EMITTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Hands an event to user space.
///
/// # Safety
///
/// Every byte of `event` is initialised.
#[inline(always)]
pub unsafe fn emit<T>(context: &impl EbpfContext, event: *const T) {
    if let Some(emitted) = EMITTED.get_ptr_mut(0) {
        // SAFETY: this CPU's slot of the map.
        unsafe { *emitted += 1 };
    }
    // SAFETY: initialised by this function's contract, and it lives as long as the program runs.
    let bytes = unsafe { core::slice::from_raw_parts(event.cast::<u8>(), size_of::<T>()) };
    buffer::write(context, bytes);
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
