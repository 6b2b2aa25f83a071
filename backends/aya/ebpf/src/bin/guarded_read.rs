//! `guarded_read`: reads of kernel memory at an address that the traced process chose, the argument of
//! a system call that does nothing with it.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use aya_ebpf::{EbpfContext, macros::tracepoint, programs::TracePointContext};
use kernlab_abi::{READ_DONE, READ_REFUSED_BY_GUARD, READ_REFUSED_BY_KERNEL, ReadEvent};
use kernlab_aya_ebpf::{KernelMemory, TracedThread, emit, read_context, syscall};

#[tracepoint]
fn guarded_read(context: TracePointContext) -> Option<()> {
    let thread = TracedThread::current()?;
    attempt(&context, thread, KernelMemory::new(thread.config));
    Some(())
}

/// What all other programs never do: see [`kernlab_abi::ProgramConfig::kernel_address_min`].
#[tracepoint]
fn unguarded_read(context: TracePointContext) -> Option<()> {
    attempt(&context, TracedThread::current()?, KernelMemory::unguarded());
    Some(())
}

#[inline(always)]
fn attempt(context: &TracePointContext, thread: TracedThread, memory: KernelMemory) {
    // SAFETY: the offset is in the context of sys_enter_getpgid.
    let address = unsafe { read_context::<{ syscall::ARGUMENTS }>(context.as_ptr()) };
    let (bytes, outcome) = match memory.read::<u64>(address) {
        Some(bytes) => (bytes, READ_DONE),
        None if memory.contains(address) => (0, READ_REFUSED_BY_KERNEL),
        None => (0, READ_REFUSED_BY_GUARD),
    };
    let mut event = MaybeUninit::<ReadEvent>::uninit();
    let event = event.as_mut_ptr();
    // SAFETY: all fields, and so all bytes, of the event are written before it is emitted.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        (*event).address = address;
        (*event).bytes = bytes.to_ne_bytes();
        (*event).outcome = outcome;
        (*event).reserved = 0;
        emit(context, event);
    }
}
