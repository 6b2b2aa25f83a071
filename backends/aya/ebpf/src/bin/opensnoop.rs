//! `opensnoop`: completed openat(2) calls, whatever came of them, joined from entry and exit. Either at
//! the tracepoints or at the function behind them; the plan decides.
//!
//! The name is read on exit: by then the kernel itself has read it, so that its page is there.
#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext,
    macros::{kprobe, kretprobe, map, tracepoint},
    maps::{HashMap, PerCpuArray},
    programs::{ProbeContext, RetProbeContext, TracePointContext},
};
use kernlab_abi::{LOST_PENDING, LOST_UNSEEN, MAX_PENDING, OpenEvent, PendingOpen};
use kernlab_aya_ebpf::{
    KernelMemory, TracedThread, UserMemory,
    arch::{return_value, syscall_argument},
    count_lost, emit, read_context, syscall,
};

const NAME: usize = syscall::ARGUMENTS + 8;
const FLAGS: usize = syscall::ARGUMENTS + 2 * 8;

/// Calls under way, by thread: `pid_tgid`.
#[map(name = "pending")]
static PENDING: HashMap<u64, PendingOpen> = HashMap::with_max_entries(MAX_PENDING, 0);

/// The event is too large for the stack.
#[map(name = "scratch")]
static SCRATCH: PerCpuArray<OpenEvent> = PerCpuArray::with_max_entries(1, 0);

#[tracepoint]
fn sys_enter_openat(context: TracePointContext) -> Option<()> {
    let context = context.as_ptr();
    // SAFETY: both offsets are in the context of sys_enter_openat.
    let (name, flags) =
        unsafe { (read_context::<NAME>(context), read_context::<FLAGS>(context) as u32) };
    enter(TracedThread::current()?, name, flags)
}

#[tracepoint]
fn sys_exit_openat(context: TracePointContext) -> Option<()> {
    // SAFETY: the offset is in the context of sys_exit_openat.
    let ret = unsafe { read_context::<{ syscall::RETURNED }>(context.as_ptr()) };
    leave(&context, ret as i32)
}

#[kprobe]
fn open_entry(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let memory = KernelMemory::new(thread.config);
    let name = syscall_argument::<2>(&context, memory)?;
    let flags = syscall_argument::<3>(&context, memory)?;
    enter(thread, name, flags as u32)
}

#[kretprobe]
fn open_return(context: RetProbeContext) -> Option<()> {
    leave(&context, return_value(&context) as i32)
}

#[inline(always)]
fn enter(thread: TracedThread, name: u64, flags: u32) -> Option<()> {
    let call = PendingOpen { name, flags, reserved: 0 };
    // A call of this thread ended unseen, or this one will: the loader is told of one event too few.
    if PENDING.get_ptr(thread.pid_tgid).is_some() {
        count_lost(LOST_UNSEEN);
    }
    if PENDING.insert(thread.pid_tgid, call, 0).is_err() {
        count_lost(LOST_PENDING);
    }
    Some(())
}

#[inline(always)]
fn leave(context: &impl EbpfContext, ret: i32) -> Option<()> {
    let thread = TracedThread::current()?;
    let call = PENDING.get_ptr(thread.pid_tgid)?;
    // SAFETY: only this thread inserts or removes its entry, so the value stays until it is removed
    // below.
    let PendingOpen { name, flags, .. } = unsafe { *call };
    // If this failed, the loader would find the entry at the end.
    _ = PENDING.remove(thread.pid_tgid);
    let event = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the event is this CPU's slot of the map, which is initialised and which no other
    // program uses while this one runs.
    unsafe {
        thread.write_header(&raw mut (*event).header);
        (*event).ret = ret;
        (*event).flags = flags;
        UserMemory::new(thread.config).read_string(name, &raw mut (*event).name);
        emit(context, event);
    }
    Some(())
}
