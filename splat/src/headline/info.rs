//! What takes too long, is used up, or is never given back.

use memchr::memmem::Finder;

use super::{ANYWHERE, Headline, NEAR, Role, SOON, Search, Title, bug, warning};
use crate::{kind::Kind, part::Part};

/// Reads a line that begins with an I.
pub(super) fn headline(text: &str) -> Option<Headline<'_>> {
    let rest = text.strip_prefix("INFO: ")?;
    stall(rest).or_else(|| hung(rest)).or_else(|| warning::locking(rest, "INFO")).or_else(|| {
        // Parts of mm/slub.c's report whose beginning the console may have lost.
        (rest.starts_with("Freed in ") || rest.starts_with("Allocated in "))
            .then(|| rest.contains(" age="))?
            .then(|| {
                Headline::whole(Kind::SlabCorruption, "BUG: slab corruption")
                    .role(Role::Follows { within: NEAR })
            })
    })
}

/// kernel/rcu/tree_stall.h, kernel/rcu/tree_exp.h, kernel/rcu/tasks.h.
fn stall(rest: &str) -> Option<Headline<'_>> {
    let flavour = rest.strip_prefix("rcu_")?;
    let stalled = ["detected stall", "detected expedited stall", "grace-period stall"];
    let prose = flavour.contains("CPUs/tasks ");
    (!prose && stalled.iter().any(|words| flavour.contains(words))).then(|| {
        Headline::within(Kind::RcuStall, "INFO: rcu detected stall")
            .searched(Search::Stalled)
            .skipping(&["apic_timer_interrupt", "rcu"])
    })
}

/// kernel/hung_task.c.
fn hung(rest: &str) -> Option<Headline<'_>> {
    let task = rest.strip_prefix("task ")?;
    blocked(task)
}

/// A task's name and number, and that it was blocked: also behind a name that ends a line.
pub(super) fn blocked(task: &str) -> Option<Headline<'_>> {
    let seconds = task.contains(" seconds") && is_numbered(task);
    if seconds && task.contains(" blocked ") && task.contains(" for more than ") {
        return Some(Headline::within(Kind::HungTask, "INFO: task hung").searched(Search::Hung));
    }
    (seconds && task.contains(" can't die for more than "))
        .then(|| Headline::within(Kind::HungTask, "INFO: task can't die").skipping(&["schedule"]))
}

/// Whether a task is named as the kernel does it, `name:12`, in front of what is said about it.
fn is_numbered(task: &str) -> bool {
    let about = [" blocked ", " can't die "].iter().find_map(|words| task.split_once(words));
    let number = about.and_then(|(task, _)| task.rsplit_once(':')).map_or("", |(_, pid)| pid);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// kernel/watchdog.c, kernel/watchdog_perf.c, arch/powerpc/kernel/watchdog.c, kernel/workqueue.c.
pub(super) fn lockup(rest: &str) -> Option<Headline<'_>> {
    let processor = rest.strip_prefix("soft lockup - CPU#");
    if processor.is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit())) {
        return Some(
            Headline::within(Kind::SoftLockup, "BUG: soft lockup").searched(Search::Stalled),
        );
    }
    if rest.starts_with("hard LOCKUP on cpu") {
        return Some(hard_lockup());
    }
    if rest.starts_with("workqueue lockup - pool") {
        return Some(Headline::whole(Kind::WorkqueueLockup, "BUG: workqueue lockup"));
    }
    let hard = rest.starts_with("Watchdog detected hard LOCKUP")
        || rest.starts_with("Watchdog CPU:") && rest.contains("Hard LOCKUP");
    hard.then(hard_lockup)
}

fn hard_lockup() -> Headline<'static> {
    Headline::within(Kind::HardLockup, "BUG: hard lockup").searched(Search::Stalled)
}

/// Lines that begin with the name of a task.
pub(super) fn inside(text: &str) -> Option<Headline<'_>> {
    static KILLER: Part = Part::new(|| Finder::new(" invoked oom-killer: gfp_mask="));
    // Not those of programs that repeat what they read: `name[12]: text`.
    let of_kernel = |task: &str| !task.contains("]: ");
    if let Some(end) = KILLER.at(text) {
        return of_kernel(&text[..end]).then(out_of_memory);
    }
    // A task's name can contain anything, line ends too.
    if !text.ends_with(" seconds.") {
        return None;
    }
    let (task, _) = text.split_once(" blocked for more than ")?;
    of_kernel(task).then(|| blocked(text))?
}

/// A task that the kernel had to kill for its memory; mm/oom_kill.c.
pub(super) fn out_of_memory() -> Headline<'static> {
    Headline::whole(Kind::OutOfMemory, "Out of memory")
}

/// Lines that begin with none of the usual words.
pub(super) fn other(text: &str) -> Option<Headline<'_>> {
    match text.as_bytes().first()? {
        b'u' => {
            if text.starts_with("unregister_netdevice: waiting for ")
                && (text.contains(" to become free.") || text.ends_with(" to become free"))
            {
                let title = "unregister_netdevice: waiting for DEV to become free";
                return Some(Headline::whole(Kind::UnregisterNetdevice, title));
            }
            if text.starts_with("unchecked MSR access error: ") {
                return Some(
                    Headline::within(Kind::Warning, "unchecked MSR access error")
                        .role(Role::AnnouncesIfConfirmed { within: NEAR }),
                );
            }
            text.starts_with("unreferenced object 0x")
                .then(|| bug::leak().role(Role::Follows { within: 4 }))
        }
        b'C' => {
            // Since 6.5 with the processor in front: `CPU1: Watchdog detected hard LOCKUP on cpu 1`.
            let (cpu, rest) = text.strip_prefix("CPU")?.split_once([':', ' '])?;
            let number = cpu.bytes().all(|byte| byte.is_ascii_digit());
            let rest = rest.trim_start_matches(|char: char| char.is_ascii_digit() || char == ' ');
            let hard = rest.starts_with("Watchdog detected hard LOCKUP")
                || rest.starts_with("Hard LOCKUP")
                || rest.starts_with("self-detected hard LOCKUP");
            // The processor that hangs tells more itself, if it can.
            let of_others = rest.starts_with("detected hard LOCKUP on other CPUs");
            match (number && hard, number && of_others) {
                (true, _) => Some(hard_lockup()),
                (_, true) => Some(hard_lockup().role(Role::Announces { within: SOON })),
                _ => None,
            }
        }
        b'V' => {
            let closed = text.starts_with("VFS: Close: file count is ");
            let busy = text.starts_with("VFS: Busy inodes after unmount of");
            if closed {
                return Some(Headline::whole(
                    Kind::Bug,
                    "VFS: Close: file count is zero (use-after-free)",
                ));
            }
            busy.then(|| {
                Headline::whole(Kind::Bug, "VFS: Busy inodes after unmount (use-after-free)")
            })
        }
        b'O' | b'M' | b'o' | b'K' => killed(text),
        b'l' => {
            let broken = text.starts_with("list_add ") && text.contains("corruption")
                || text
                    .strip_prefix("list_del corruption")
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ',', ':']));
            broken.then(|| {
                Headline::within(Kind::ListCorruption, "BUG: corrupted list")
                    .role(Role::Announces { within: SOON })
            })
        }
        b'r' => {
            if text.starts_with("refcount_t: ") {
                return Some(
                    Headline::within(Kind::RefcountCorruption, "WARNING: refcount bug")
                        .skipping(&["refcount", "kobject_"])
                        .role(Role::Announces { within: SOON }),
                );
            }
            if text.starts_with("rust_kernel: panicked at ") {
                return Some(
                    Headline::new(Kind::Bug, Title::NextLine, Search::Top)
                        .skipping(&["rust_begin_unwind", "rust_helper_BUG"]),
                );
            }
            let starved = text.starts_with("rcu_") && text.contains(" kthread starved for ");
            starved.then(|| {
                Headline::within(Kind::RcuStall, "INFO: rcu detected stall")
                    .searched(Search::Stalled)
                    .role(Role::Follows { within: ANYWHERE })
            })
        }
        b's' => {
            if text.starts_with("slab error in ") {
                return Some(
                    Headline::whole(Kind::SlabCorruption, text).role(Role::BeginsIfConfirmed),
                );
            }
            text.starts_with("sysfs: cannot create duplicate filename").then(|| {
                Headline::within(Kind::Warning, "sysfs: cannot create duplicate filename")
                    .skipping(&["sysfs_", "kobject_", "create_dir", "internal_create_group"])
                    .role(Role::AnnouncesIfConfirmed { within: NEAR })
            })
        }
        _ => text
            .strip_suffix("(see /sys/kernel/debug/kmemleak)")
            .map(|_| Headline::whole(Kind::MemoryLeak, "memory leak")),
    }
}

fn killed(text: &str) -> Option<Headline<'_>> {
    const WORDS: [&str; 5] = [
        "Out of memory: Kill",
        "Out of memory (oom_kill_allocating_task): Kill",
        "Memory cgroup out of memory: Kill",
        "oom-kill:constraint=",
        "oom_kill_process",
    ];
    let older = text.starts_with("Killed process ") && text.contains("total-vm:");
    (older || WORDS.iter().any(|words| text.starts_with(words)))
        .then(|| out_of_memory().role(Role::Follows { within: 400 }))
}
