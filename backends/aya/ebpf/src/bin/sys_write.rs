//! `sys_write`: completed write(2) calls, joined from entry and exit. Either at the tracepoints or at
//! the function behind them; the plan decides.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    macros::{kprobe, kretprobe, map, tracepoint},
    maps::HashMap,
    programs::{ProbeContext, RetProbeContext, TracePointContext},
};
use kernlab_abi::{LOST_PENDING, LOST_UNSEEN, MAX_PENDING, PendingWrite, SysWriteEvent};
use kernlab_aya_ebpf::{
    KernelMemory, TracedThread,
    arch::{Arguments, return_value},
    count_lost, emit, read_context, syscall,
};

const FD: usize = syscall::ARGUMENTS;
const COUNT: usize = syscall::ARGUMENTS + 2 * 8;

/// Calls under way, by thread: `pid_tgid`.
#[map(name = "pending")]
static PENDING: HashMap<u64, PendingWrite> = HashMap::with_max_entries(MAX_PENDING, 0);

#[tracepoint]
fn sys_enter_write(context: TracePointContext) -> Option<()> {
    let context = context.as_ptr();
    // SAFETY: both offsets are in the context of sys_enter_write.
    let (fd, count) =
        unsafe { (read_context::<FD>(context) as i32, read_context::<COUNT>(context)) };
    enter(fd, count)
}

#[tracepoint]
fn sys_exit_write(context: TracePointContext) -> Option<()> {
    // SAFETY: the offset is in the context of sys_exit_write.
    let ret = unsafe { read_context::<{ syscall::RETURNED }>(context.as_ptr()) };
    leave(&context, ret as i64)
}

#[kprobe]
fn write_entry(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let arguments = Arguments::new(&context, KernelMemory::new(thread.config));
    enter(arguments.get(1) as i32, arguments.get(3))
}

#[kretprobe]
fn write_return(context: RetProbeContext) -> Option<()> {
    leave(&context, return_value(&context) as i64)
}

#[inline(always)]
fn enter(fd: i32, count: u64) -> Option<()> {
    let thread = TracedThread::current()?;
    let write = PendingWrite { count, fd, reserved: 0 };
    // A call of this thread ended unseen, or this one will: the loader is told of one event too few.
    if PENDING.get_ptr(thread.pid_tgid).is_some() {
        count_lost(LOST_UNSEEN);
    }
    if PENDING.insert(thread.pid_tgid, write, 0).is_err() {
        count_lost(LOST_PENDING);
    }
    Some(())
}

#[inline(always)]
fn leave(context: &impl EbpfContext, ret: i64) -> Option<()> {
    let thread = TracedThread::current()?;
    let write = PENDING.get_ptr(thread.pid_tgid)?;
    // SAFETY: only this thread inserts or removes its entry, so the value stays until it is removed
    // below.
    let PendingWrite { count, fd, .. } = unsafe { *write };
    // If this failed, the loader would find the entry at the end.
    _ = PENDING.remove(thread.pid_tgid);
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
        emit(context, event);
    }
    Some(())
}
