//! `Kernel panic - not syncing: ...`: kernel/panic.c.

use super::{ANYWHERE, Headline, NEAR, Role, SOON, Search, bug, info};
use crate::kind::Kind;

/// Reads a line that begins with a K.
pub(super) fn headline(text: &str) -> Option<Headline<'_>> {
    if let Some(echo) = bug::echo(text) {
        return Some(echo);
    }
    if text.starts_with("kernel tried to execute NX-protected page")
        || text.starts_with("kernel tried to execute exec-protected page")
    {
        let subject = "BUG: unable to handle kernel paging request";
        return Some(
            Headline::within(Kind::PageFault, subject).role(Role::Announces { within: SOON }),
        );
    }
    // arch/s390/kernel/traps.c, kernel_stack_overflow().
    if text == "Kernel stack overflow." {
        return Some(stack_overflow().role(Role::BeginsIfConfirmed));
    }
    let reason = text.strip_prefix("Kernel panic - not syncing: ").or_else(|| {
        // Its reason can be empty, or got lost.
        text.strip_prefix("Kernel panic - not syncing").filter(|rest| rest.len() < 2)
    })?;
    let reason = reason.trim();
    if let Some(place) = reason.strip_prefix("stack-protector: Kernel stack is corrupted in:") {
        return Some(
            Headline::within(Kind::Panic, "kernel panic: stack is corrupted")
                .of(super::located(place.trim()).or_else(|| super::function_after(place, "")))
                .skipping(&["stack_chk"]),
        );
    }
    if reason.starts_with("corrupted stack end detected") {
        let headline = Headline::within(Kind::Panic, "kernel panic: corrupted stack end");
        return Some(headline.searched(Search::Stalled).skipping(&["schedule", "retint_kernel"]));
    }
    // arch/arm64/kernel/traps.c, panic_bad_stack(), and arch/riscv/kernel/traps.c, handle_bad_stack().
    if ["kernel stack overflow", "Kernel stack overflow"].iter().any(|it| reason.starts_with(it)) {
        return Some(stack_overflow().role(Role::Follows { within: NEAR }));
    }
    const MEMORY: [&str; 3] = ["Out of memory", "System is deadlocked on memory", "out of memory"];
    if MEMORY.iter().any(|start| reason.starts_with(start)) {
        return Some(info::out_of_memory().role(Role::Follows { within: ANYWHERE }));
    }
    let title = if reason.starts_with("Attempted to kill init!") {
        "kernel panic: Attempted to kill init!".to_owned()
    } else if reason.starts_with("Couldn't open N_TTY ldisc") {
        "kernel panic: Couldn't open N_TTY ldisc".to_owned()
    } else if is_fatal_exception(reason) {
        "kernel panic: Fatal exception".to_owned()
    } else {
        format!("kernel panic: {reason}")
    };
    let role = if follows(reason) {
        Role::Follows { within: ANYWHERE }
    } else if ["bad mode", "Corrupt kernel stack, can't continue."].contains(&reason) {
        // Of `Bad mode in ...`, which arm64 printed until 5.13, and of a stack overflow of s390.
        Role::Follows { within: NEAR }
    } else {
        Role::Begins
    };
    Some(
        Headline::whole(Kind::Panic, title.trim_end_matches([':', '.', ' ']).to_owned()).role(role),
    )
}

/// A stack that has no room left for the registers of an exception.
pub(super) fn stack_overflow() -> Headline<'static> {
    Headline::within(Kind::Panic, "kernel stack overflow")
        .searched(Search::Stalled)
        .skipping(&["bad_stack"])
}

/// Whether the kernel died of an exception, whose name arm64 puts in front:
/// arch/arm64/kernel/traps.c, die().
fn is_fatal_exception(reason: &str) -> bool {
    const ENDS: [&str; 2] = [": Fatal exception", ": Fatal exception in interrupt"];
    reason.starts_with("Fatal exception") || ENDS.iter().any(|end| reason.ends_with(end))
}

/// Whether a panic is what became of another splat.
fn follows(reason: &str) -> bool {
    const REASONS: [&str; 13] = [
        "Oops",
        "Attempted to kill ",
        "Aiee, killing interrupt handler",
        "hung_task: blocked tasks",
        "softlockup: hung tasks",
        "Hard LOCKUP",
        "RCU Stall",
        "Asynchronous SError Interrupt",
        "Fatal error",
        "BUG!",
        "Unhandled exception",
        "Machine halted",
        "scheduling while atomic",
    ];
    is_fatal_exception(reason)
        || REASONS.iter().any(|start| reason.starts_with(start))
        || reason.contains("panic_on_")
        || reason.contains(" set ...")
}
