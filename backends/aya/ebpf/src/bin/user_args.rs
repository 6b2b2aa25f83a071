//! `user_args`: completed calls of a function in user space, joined from its entry and its return.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use aya_ebpf::{
    macros::{map, uprobe, uretprobe},
    maps::HashMap,
    programs::{ProbeContext, RetProbeContext},
};
use kernlab_abi::{MAX_PENDING, PendingCall, UserCallEvent};
use kernlab_aya_ebpf::{
    TracedThread, UserMemory,
    arch::{Arguments, return_value},
    count_emitted, emit,
};

/// Calls under way, by thread: `pid_tgid`.
#[map(name = "pending")]
static PENDING: HashMap<u64, PendingCall> = HashMap::with_max_entries(MAX_PENDING, 0);

#[uprobe]
fn user_call(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let arguments = Arguments::new(&context, UserMemory::new(thread.config));
    let arguments = [
        arguments.get(1),
        arguments.get(2),
        arguments.get(3),
        arguments.get(4),
        arguments.get(5),
        arguments.get(6),
        arguments.get(7),
        arguments.get(8),
    ];
    // Where there is no room, the call is lost.
    if PENDING.insert(thread.pid_tgid, PendingCall { arguments }, 0).is_err() {
        count_emitted();
    }
    Some(())
}

#[uretprobe]
fn user_return(context: RetProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let call = PENDING.get_ptr(thread.pid_tgid)?;
    let mut event = MaybeUninit::<UserCallEvent>::uninit();
    let event = event.as_mut_ptr();
    // SAFETY: only this thread inserts or removes its entry, so the value stays until it is removed.
    // All fields, and so all bytes, of the event are written before it is emitted.
    unsafe {
        (*event).arguments = (*call).arguments;
        // If this failed, the loader would find the entry at the end.
        _ = PENDING.remove(thread.pid_tgid);
        thread.write_header(&raw mut (*event).header);
        (*event).ret = return_value(&context);
        emit(&context, event);
    }
    Some(())
}
