//! `WARNING: ...`, and what lockdep prints under that word and others.

use super::{Headline, NEAR, Role, Search, function_after};
use crate::kind::Kind;

/// Reads a line that begins with a W.
pub(super) fn headline(text: &str) -> Option<Headline<'_>> {
    let rest = text.strip_prefix("WARNING: ")?;
    if is_harmless(rest) {
        return None;
    }
    warned(rest)
        .or_else(|| warned_without_a_line(rest))
        .or_else(|| locking(rest, "WARNING"))
        .or_else(|| unwinder(rest))
        .or_else(|| Some(Headline::whole(Kind::Warning, text).role(Role::BeginsIfConfirmed)))
}

/// What the kernel prints with this word although nothing is wrong with it.
fn is_harmless(rest: &str) -> bool {
    const HARMLESS: [&str; 4] = [
        "the mand mount option",
        "The mand mount option",
        "Unprivileged eBPF is enabled",
        "fbcon: Driver ",
    ];
    HARMLESS.iter().any(|start| rest.starts_with(start))
}

/// `WARN()`: kernel/panic.c, __warn() and lib/bug.c. Since 6.19: `WARNING: file.c:12 at function`.
fn warned(rest: &str) -> Option<Headline<'_>> {
    let (place, behind) = source_line(rest)?;
    let was_called_with_at = rest.split(' ').any(|word| word == "at");
    if !was_called_with_at {
        return None;
    }
    let function = function_after(behind.strip_prefix("at ").unwrap_or(behind), "");
    let file = place.split(':').next()?;
    let is = |end: &str| file.ends_with(end);
    let named = |part: &str| function.is_some_and(|function| function.contains(part));
    let starts = |start: &str| function.is_some_and(|function| function.starts_with(start));
    const ALLOCATE: [&str; 3] = ["kmalloc", "kvmalloc", "vmalloc"];
    let (kind, subject, skip): (_, _, &'static [&'static str]) = if is("lib/debugobjects.c") {
        const USERS: &[&str] = &[
            "debug_",
            "rcu",
            "hrtimer_",
            "timer_",
            "work_",
            "percpu_",
            "vunmap",
            "vfree",
            "__free_",
            "debug_check",
            "kobject_",
        ];
        (Kind::Warning, "WARNING: ODEBUG bug", USERS)
    } else if is("lib/refcount.c") || is("include/linux/refcount.h") {
        (Kind::RefcountCorruption, "WARNING: refcount bug", &["refcount", "kobject_"])
    } else if is("include/linux/kref.h") {
        (Kind::RefcountCorruption, "WARNING", &["refcount", "kref_"])
    } else if is("lib/list_debug.c") {
        (Kind::ListCorruption, "WARNING: corrupted list", &[])
    } else if is("mm/usercopy.c") {
        (Kind::Warning, "WARNING: bad usercopy", &["usercopy", "__check"])
    } else if is("lib/kobject.c") {
        (Kind::Warning, "WARNING: kobject bug", &["kobject_"])
    } else if is("fs/proc/generic.c") {
        (Kind::Warning, "WARNING: proc registration bug", &["proc_"])
    } else if is("kernel/locking/lockdep.c") {
        (Kind::Lockdep, "WARNING: locking bug", &["lock_sock", "release_sock"])
    } else if file.contains("mm/") && named("__vmalloc_node") {
        (Kind::Warning, "WARNING: zero-size vmalloc", &[])
    } else if file.contains("mm/") && ALLOCATE.iter().any(|start| starts(start)) {
        (Kind::Warning, "WARNING: kmalloc bug", &["kmalloc", "krealloc", "slab", "kmem"])
    } else if named("usb_submit_urb") {
        const SUBMITTERS: &[&str] = &["usb_start_wait_urb", "usb_bulk_msg", "usb_interrupt_msg"];
        (Kind::Warning, "WARNING", SUBMITTERS)
    } else {
        (Kind::Warning, "WARNING", &[])
    };
    Some(Headline::within(kind, subject).of(function).skipping(skip))
}

/// `WARN()` of a kernel that was built without CONFIG_DEBUG_BUGVERBOSE, and so doesn't know the lines of
/// its sources: `CPU: 0 PID: 1 at function`, since 6.19 `at function, CPU#0: init/1`.
fn warned_without_a_line(rest: &str) -> Option<Headline<'_>> {
    let is_processor = |text: &str| text.starts_with("CPU: ") && text.contains(" PID: ");
    let behind = match rest.strip_prefix("at ") {
        Some(behind) => behind.contains(", CPU#").then_some(behind),
        None => rest.split_once(" at ").filter(|(head, _)| is_processor(head)).map(|(_, at)| at),
    };
    Some(Headline::within(Kind::Warning, "WARNING").of(function_after(behind?, "")))
}

/// The first `file.c:12` of a text, and what is behind it.
fn source_line(text: &str) -> Option<(&str, &str)> {
    let mut rest = text;
    loop {
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        if let Some((file, line)) = word.rsplit_once(':') {
            let file_of_source = [".c", ".h", ".S", ".rs"].iter().any(|end| file.ends_with(end));
            if file_of_source && line.starts_with(|char: char| char.is_ascii_digit()) {
                return Some((word, behind));
            }
        }
        if behind.is_empty() {
            return None;
        }
        rest = behind;
    }
}

/// kernel/locking/lockdep.c and lib/locking-selftest.c; the word in front has changed over time.
pub(super) fn locking<'a>(rest: &str, word: &str) -> Option<Headline<'a>> {
    let deadlock = rest.starts_with("possible circular locking dependency")
        || rest.starts_with("possible recursive locking")
        || rest.starts_with("possible irq lock inversion dependency")
        || rest.contains("-unsafe lock order detected");
    let found = |subject: String| Some(Headline::within(Kind::Lockdep, subject));
    let at_locks = |subject: String| found(subject).map(|found| found.searched(Search::Locks));
    if deadlock {
        const WORKERS: &[&str] =
            &["process_one_work", "flush_workqueue", "drain_workqueue", "destroy_workqueue"];
        let became = rest.contains("-unsafe lock order detected");
        let search = if became { Search::Became } else { Search::Locks };
        return found("possible deadlock".to_owned())
            .map(|found| found.skipping(WORKERS).searched(search));
    }
    if rest.starts_with("inconsistent lock state") {
        let search = if word == "INFO" { Search::Locks } else { Search::Top };
        return found("inconsistent lock state".to_owned()).map(|found| found.searched(search));
    }
    if rest.starts_with("suspicious RCU usage") {
        return found(format!("{word}: suspicious RCU usage"))
            .map(|found| found.skipping(&["rcu", "kmem", "slab"]));
    }
    if rest.starts_with("bad unlock balance detected") {
        return at_locks(format!("{word}: bad unlock balance"));
    }
    if rest.starts_with("bad contention detected") {
        return at_locks(format!("{word}: bad contention"));
    }
    if rest.starts_with("held lock freed") {
        return at_locks(format!("{word}: held lock freed"));
    }
    if rest.ends_with("still has locks held!") {
        return at_locks(format!("{word}: still has locks held"));
    }
    if rest.starts_with("lock held when returning to user space") {
        return at_locks(format!("{word}: lock held when returning to user space"));
    }
    if rest.starts_with("Nested lock was not taken") {
        return at_locks(format!("{word}: nested lock was not taken"));
    }
    if rest.starts_with("Invalid wait context") {
        return found("WARNING: locking bug".to_owned())
            .map(|found| found.skipping(&["lock_sock", "release_sock"]));
    }
    rest.starts_with("trying to register non-static key")
        .then(|| found("INFO: trying to register non-static key".to_owned()))?
        .map(|found| found.skipping(&["stack", "lock", "IRQ"]))
}

/// arch/x86/kernel/unwind_frame.c, arch/x86/kernel/dumpstack_64.c, arch/x86/kernel/unwind_orc.c.
fn unwinder(rest: &str) -> Option<Headline<'static>> {
    // Of an unwinder that shows the trace of another splat.
    if rest.starts_with("can't access registers at ") {
        let title = "WARNING: can't access registers";
        let within_a_trace = Role::Follows { within: NEAR };
        return Some(Headline::whole(Kind::Warning, title).role(within_a_trace));
    }
    if rest.starts_with("kernel stack regs at ") && rest.contains(" has bad '") {
        let register = rest.split('\'').nth(1)?;
        let title = format!("WARNING: kernel stack regs has bad '{register}' value");
        return Some(Headline::whole(Kind::Warning, title));
    }
    if rest.starts_with("kernel stack frame pointer at ") && rest.contains(" has bad value") {
        let title = "WARNING: kernel stack frame pointer has bad value";
        return Some(Headline::whole(Kind::Warning, title));
    }
    rest.starts_with("stack recursion on stack type")
        .then(|| Headline::whole(Kind::Warning, "WARNING: stack recursion"))
}
