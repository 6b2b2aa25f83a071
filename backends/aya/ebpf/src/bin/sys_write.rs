//! `sys_write`: completed write(2) calls, joined from the tracepoints of entry and exit.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    macros::{map, tracepoint},
    maps::HashMap,
    programs::TracePointContext,
};
use kernlab_abi::{MAX_PENDING, PendingWrite, SysWriteEvent};
use kernlab_aya_ebpf::{TracedThread, emit, read_context};

/// Where the BPF context of a syscall tracepoint has the arguments, and the return value: the same
/// on every kernel, whatever the tracepoint's format file says (`struct syscall_tp_t`,
/// kernel/trace/trace_syscalls.c).
const ARGUMENTS: usize = 16;
const FD: usize = ARGUMENTS;
const COUNT: usize = ARGUMENTS + 2 * 8;
const RET: usize = 16;

/// Calls under way, by thread: `pid_tgid`.
#[map(name = "pending")]
static PENDING: HashMap<u64, PendingWrite> = HashMap::with_max_entries(MAX_PENDING, 0);

#[tracepoint]
fn sys_enter_write(context: TracePointContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let context = context.as_ptr();
    // SAFETY: both offsets are in the context of sys_enter_write.
    let (fd, count) =
        unsafe { (read_context::<FD>(context) as i32, read_context::<COUNT>(context)) };
    let write = PendingWrite { count, fd, reserved: 0 };
    PENDING.insert(thread.pid_tgid, write, 0).ok()
}

#[tracepoint]
fn sys_exit_write(context: TracePointContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let write = PENDING.get_ptr(thread.pid_tgid)?;
    // SAFETY: only this thread inserts or removes its entry, so the value stays until it is removed
    // below.
    let PendingWrite { count, fd, .. } = unsafe { *write };
    // If this failed, the loader would find the entry at the end.
    _ = PENDING.remove(thread.pid_tgid);
    // SAFETY: the offset is in the context of sys_exit_write.
    let ret = unsafe { read_context::<RET>(context.as_ptr()) } as i64;
    if ret < 0 {
        return None;
    }
    let mut event = MaybeUninit::<SysWriteEvent>::uninit();
    let event = event.as_mut_ptr();
    // SAFETY: all fields, and so all bytes, of the event are written before it is emitted.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        (*event).count = count;
        (*event).ret = ret;
        (*event).fd = fd;
        (*event).reserved = 0;
        emit(&context, event);
    }
    Some(())
}
