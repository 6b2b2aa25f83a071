//! `user_args`: completed calls of a function in user space, joined from its entry and its return.
//!
//! Programs on probes in user space can be preempted, and since 6.13 those that need 64 bytes of stack share
//! one with every other program of their kind on the same CPU (`bpf_enable_priv_stack`,
//! kernel/bpf/verifier.c): the next thread's call would overwrite this one's. So an event is built in the
//! call's own entry.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{map, uprobe, uretprobe},
    maps::{Array, HashMap},
    programs::{ProbeContext, RetProbeContext},
};
use kernlab_abi::{
    LOST_PENDING, LOST_UNSEEN, MAX_PENDING, USER_ARGUMENTS, UserCallEvent, UserCallKey,
};
use kernlab_aya_ebpf::{
    TracedThread, UserMemory,
    arch::{Arguments, return_value, stack_on_return},
    count_lost, emit,
};

/// Never written to: what an entry begins as.
#[map(name = "blank")]
static BLANK: Array<UserCallEvent> = Array::with_max_entries(1, 0);

/// Calls under way.
#[map(name = "pending")]
static PENDING: HashMap<UserCallKey, UserCallEvent> = HashMap::with_max_entries(MAX_PENDING, 0);

/// Captures all arguments, without a loop.
macro_rules! capture {
    ($arguments:ident => $to:expr; $($number:literal)*) => {
        const _: () = assert!([$($number),*].len() == USER_ARGUMENTS);
        $($to[$number - 1] = $arguments.get($number);)*
    };
}

#[uprobe]
fn user_call(context: ProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let arguments = Arguments::new(&context, UserMemory::new(thread.config));
    let key = UserCallKey { thread: thread.pid_tgid, stack: arguments.stack_of_caller() };
    // A call that was left by longjmp(3), or that has jumped here and will end with the same return. Its result
    // goes unseen, so that is lost.
    if PENDING.remove(key).is_ok() {
        count_lost(LOST_UNSEEN);
    }
    // Where there is no room, the call is lost.
    if PENDING.insert(key, BLANK.get(0)?, 0).is_err() {
        count_lost(LOST_PENDING);
        return None;
    }
    let call = PENDING.get_ptr_mut(key)?;
    // SAFETY: only this thread inserts or removes its entry.
    unsafe {
        capture!(arguments => (*call).arguments; 1 2 3 4 5 6 7 8 9 10);
    }
    Some(())
}

#[uretprobe]
fn user_return(context: RetProbeContext) -> Option<()> {
    let thread = TracedThread::current()?;
    let key = UserCallKey { thread: thread.pid_tgid, stack: stack_on_return(&context) };
    let call = PENDING.get_ptr_mut(key)?;
    // SAFETY: only this thread inserts or removes its entry, so the value stays until it is removed. All of
    // it was initialised on entry.
    unsafe {
        (*call).ret = return_value(&context);
        thread.write_header(&raw mut (*call).header);
        emit(&context, call);
    }
    // If this failed, the loader would find the entry at the end.
    _ = PENDING.remove(key);
    Some(())
}
