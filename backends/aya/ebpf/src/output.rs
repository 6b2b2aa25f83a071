//! The way of events to user space.

use aya_ebpf::EbpfContext;

/// Hands an event to user space, or counts it as dropped.
///
/// # Safety
///
/// Every byte of `event` is initialised.
#[inline(always)]
pub unsafe fn emit<T>(context: &impl EbpfContext, event: *const T) {
    // SAFETY: initialised by this function's contract, and it lives as long as the program runs.
    let bytes = unsafe { core::slice::from_raw_parts(event.cast::<u8>(), size_of::<T>()) };
    buffer::write(context, bytes);
}

#[cfg(not(feature = "perf"))]
mod buffer {
    use aya_ebpf::{
        EbpfContext,
        macros::map,
        maps::{PerCpuArray, RingBuf},
    };
    use kernlab_abi::RING_BYTES;

    #[map(name = "events")]
    static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

    /// Events that the ring buffer refused. One program per object writes events, and it can't
    /// interrupt itself on one CPU, so the count needs no atomic addition.
    #[map(name = "drops")]
    static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

    #[inline(always)]
    pub(super) fn write(_: &impl EbpfContext, event: &[u8]) {
        if EVENTS.output::<[u8]>(event, 0).is_err()
            && let Some(drops) = DROPS.get_ptr_mut(0)
        {
            // SAFETY: a value of this CPU's slot of the map.
            unsafe { *drops += 1 };
        }
    }
}

#[cfg(feature = "perf")]
mod buffer {
    use aya_ebpf::{
        EbpfContext,
        macros::map,
        maps::{PerCpuArray, PerfEventByteArray},
    };

    #[map(name = "events")]
    static EVENTS: PerfEventByteArray = PerfEventByteArray::new(0);

    /// Stays 0: the kernel puts the number of lost events into the buffer itself.
    #[map(name = "drops")]
    static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

    #[inline(always)]
    pub(super) fn write(context: &impl EbpfContext, event: &[u8]) {
        EVENTS.output(context, event, 0);
    }
}
