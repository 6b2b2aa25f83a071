//! `BUG: ...` and `kernel BUG at ...`.

use super::{Headline, NEAR, Role, Search, Title, function_after, info, warning};
use crate::kind::Kind;

/// Reads a line that begins with a B.
pub(super) fn headline(text: &str) -> Option<Headline<'_>> {
    let Some(rest) = text.strip_prefix("BUG: ") else { return slab(text) };
    sanitizer(rest)
        .or_else(|| fault(rest))
        .or_else(|| context(rest))
        .or_else(|| memory(rest))
        .or_else(|| info::lockup(rest))
        .or_else(|| warning::locking(rest, "BUG"))
        .or_else(|| generic(text, rest))
}

/// mm/kasan/report.c, mm/kmsan/report.c, kernel/kcsan/report.c, mm/kfence/report.c.
fn sanitizer(rest: &str) -> Option<Headline<'_>> {
    if let Some(what) = rest.strip_prefix("KASAN: ") {
        let sort = what.split(" in ").next()?.split(" on address").next()?.trim();
        let function = function_after(what, " in ");
        let freed = sort.contains("free") && !sort.contains("use-after-free");
        let headline = if freed {
            Headline::within(Kind::Kasan, "KASAN: invalid-free").skipping(&[
                "slab_",
                "kfree",
                "vunmap",
                "vfree",
                "kmem_cache",
            ])
        } else {
            let title = Title::Access(format!("KASAN: {sort}").into());
            Headline::new(Kind::Kasan, title, Search::Top).skipping(&[
                "kernel_fault",
                "tag_check",
                "mem_abort",
                "^el1_",
                "^el1h_",
            ])
        };
        return Some(headline.of(function));
    }
    if let Some(what) = rest.strip_prefix("KMSAN: ") {
        let sort = what.split(" in ").next()?;
        let skip: &[&str] = if sort == "kernel-usb-infoleak" {
            &[
                "alloc_skb",
                "usb_submit_urb",
                "usb_start_wait_urb",
                "usb_bulk_msg",
                "usb_interrupt_msg",
            ]
        } else {
            &[
                "alloc_skb",
                "netlink_ack",
                "netlink_rcv_skb",
                "_encrypt$",
                "^crypto_",
                "^cipher_",
                "^drbg_",
                "^rng_",
            ]
        };
        return Some(
            Headline::within(Kind::Kmsan, format!("KMSAN: {sort}"))
                .of(function_after(what, " in "))
                .searched(Search::Headless)
                .skipping(skip),
        );
    }
    if let Some(what) = rest.strip_prefix("KCSAN: ") {
        return Some(Headline::whole(Kind::Kcsan, format!("KCSAN: {}", without_offsets(what))));
    }
    let what = rest.strip_prefix("KFENCE: ")?;
    let sort = what.split(" in ").next()?;
    Some(
        Headline::within(Kind::Kfence, format!("KFENCE: {sort}"))
            .of(function_after(what, " in "))
            .searched(Search::Headless),
    )
}

/// `data-race in one+0x1/0x2 / two+0x3/0x4` without the offsets.
fn without_offsets(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once("+0x") {
        Some((function, _)) => function.split('.').next().unwrap_or(function),
        None => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// arch/x86/mm/fault.c, arch/powerpc/mm/fault.c.
fn fault(rest: &str) -> Option<Headline<'_>> {
    const NULL: [&str; 4] = [
        "unable to handle kernel NULL pointer dereference",
        "kernel NULL pointer dereference",
        "Kernel NULL pointer dereference",
        "Unable to handle kernel NULL pointer dereference",
    ];
    const PAGING: [&str; 6] = [
        "unable to handle kernel paging request",
        "unable to handle page fault for address",
        "Unable to handle kernel data access",
        "Unable to handle kernel instruction fetch",
        "Unable to handle kernel paging request",
        "unable to handle kernel data access",
    ];
    // What can follow, or the beginning of it where the line is torn: prose goes on in other words.
    const NEXT: [&str; 6] = [" at ", " for ", " on ", ", ", ": ", " ("];
    let goes_on =
        |rest: &str| NEXT.iter().any(|next| rest.starts_with(next) || next.starts_with(rest));
    let starts = |beginnings: &[&str]| {
        beginnings.iter().filter_map(|start| rest.strip_prefix(start)).any(goes_on)
    };
    if starts(&NULL) {
        let subject = "BUG: unable to handle kernel NULL pointer dereference";
        return Some(Headline::within(Kind::PageFault, subject));
    }
    if starts(&PAGING) {
        let subject = "BUG: unable to handle kernel paging request";
        return Some(Headline::within(Kind::PageFault, subject));
    }
    // Printed in two pieces by old versions, the second of which can get lost.
    if rest == "unable to handle kernel" || rest.starts_with("unable to handle kernel  at") {
        return Some(Headline::within(Kind::PageFault, "BUG: unable to handle kernel"));
    }
    if rest.contains("stack guard page was hit at") {
        return Some(
            Headline::within(Kind::Oops, "BUG: stack guard page was hit").searched(Search::Stalled),
        );
    }
    None
}

/// kernel/sched/core.c, lib/smp_processor_id.c, kernel/locking/spinlock_debug.c.
fn context(rest: &str) -> Option<Headline<'_>> {
    if rest.starts_with("scheduling while atomic") {
        let subject = "BUG: scheduling while atomic";
        return Some(Headline::within(Kind::AtomicSleep, subject).skipping(&["schedule"]));
    }
    if rest.starts_with("sleeping function called from invalid context") {
        let subject = "BUG: sleeping function called from invalid context";
        return Some(Headline::within(Kind::AtomicSleep, subject));
    }
    if let Some(using) = rest.strip_prefix("using ")
        && let Some((function, _)) = using.split_once(" in preemptible")
    {
        let skip = &["dump_stack", "preemption", "preempt", "debug_", "processor_id", "this_cpu"];
        let subject = format!("BUG: using {function} in preemptible code");
        return Some(Headline::within(Kind::Lockdep, subject).skipping(skip));
    }
    let (lock, what) = rest.split_once(' ')?;
    let what = what.split([',', ':', '!']).next()?.split(" on ").next()?.trim();
    const WRONGS: [&str; 9] = [
        "lockup suspected",
        "already unlocked",
        "recursion",
        "cpu recursion",
        "bad magic",
        "wrong owner",
        "wrong CPU",
        "trylock failure on UP",
        "uninitialized",
    ];
    if matches!(lock, "spinlock" | "rwlock")
        && let Some(wrong) = WRONGS.iter().find(|wrong| what.starts_with(**wrong))
    {
        let kind = if *wrong == "lockup suspected" { Kind::SoftLockup } else { Kind::Lockdep };
        let subject = format!("BUG: {lock} {wrong}");
        return Some(Headline::within(kind, subject).skipping(&["spin_", "_lock", "_unlock"]));
    }
    None
}

/// mm/memory.c, mm/page_alloc.c, kernel/fork.c, mm/kmemleak.c, fs/dcache.c.
fn memory(rest: &str) -> Option<Headline<'_>> {
    if rest.starts_with("memory leak") {
        return Some(leak().role(Role::BeginsIfConfirmed));
    }
    for what in ["state", "cache"] {
        if rest.strip_prefix("Bad page ").is_some_and(|rest| rest.starts_with(what)) {
            let skip = &[
                "free_page",
                "put_page",
                "get_page",
                "update_page",
                "release_page",
                "free_unref",
                "^folio",
                "^_folio",
                "^__folio",
                "truncate_inode_pages",
                "page_frag_free",
                "alloc",
                "vmap",
                "page_owner",
                "bad_page",
                "free_pcp",
                "free_tail",
            ];
            return Some(
                Headline::within(Kind::Bug, format!("BUG: Bad page {what}"))
                    .searched(Search::Owner)
                    .skipping(skip),
            );
        }
    }
    const WHOLE: [&str; 6] = [
        "Bad page map",
        "Bad rss-counter state",
        "non-zero nr_ptes on freeing mm",
        "non-zero nr_pmds on freeing mm",
        "non-zero pgtables_bytes on freeing mm",
        "Bad swap file entry",
    ];
    if let Some(what) = WHOLE.iter().find(|what| rest.starts_with(**what)) {
        return Some(Headline::whole(Kind::Bug, format!("BUG: {what}")));
    }
    (rest.starts_with("Dentry ") && rest.contains(" still in use "))
        .then(|| Headline::whole(Kind::Bug, "BUG: Dentry still in use in unmount"))
}

/// A report of memory that nothing refers to.
pub(super) fn leak() -> Headline<'static> {
    Headline::within(Kind::MemoryLeak, "memory leak").skipping(&[
        "kmemleak",
        "mmap",
        "kmem",
        "slab",
        "alloc",
        "create_object",
        "idr_get",
        "list_lru_init",
        "kasprintf",
        "kvasprintf",
        "pcpu_create",
        "strdup",
        "strndup",
        "memdup",
    ])
}

/// mm/slub.c, mm/slab.c: `BUG kmalloc-64 (Not tainted): Redzone overwritten`.
fn slab(text: &str) -> Option<Headline<'_>> {
    let rest = text.strip_prefix("BUG ")?;
    // `(Tainted: G    B)` or `(Not tainted)`; old versions didn't say.
    let (cache, what) = rest.split_once("): ").or_else(|| rest.split_once(": "))?;
    let cache = cache.split(" (").next()?;
    if what.starts_with("kasan: bad access") {
        return Some(
            Headline::within(Kind::Kasan, "KASAN: bad access").role(Role::BeginsIfConfirmed),
        );
    }
    let what = what.split(['.', '@']).next()?.trim();
    let plausible = !cache.contains(' ') && !what.is_empty() && what.len() < 80;
    const KNOWN: [&str; 8] = [
        "Object already free",
        "overwritten",
        "Freepointer corrupt",
        "Freelist corrupt",
        "Freechain corrupt",
        "Wrong object count",
        "Objects remaining in ",
        "Objects remaining on ",
    ];
    let known = KNOWN.iter().any(|known| what.contains(known));
    let role = if known { Role::Begins } else { Role::BeginsIfConfirmed };
    let title = format!("BUG: {what}");
    plausible.then(|| Headline::whole(Kind::SlabCorruption, title).role(role))
}

/// Any other line that the kernel calls a bug.
fn generic<'a>(text: &'a str, rest: &str) -> Option<Headline<'a>> {
    const SAYS_ITSELF: [&str; 6] = [
        "MAX_STACK_TRACE_ENTRIES too low",
        "MAX_LOCKDEP_",
        "MAX_LOCK_DEPTH too low",
        "looking up invalid subclass",
        "key ",
        "workqueue leaked ",
    ];
    let itself = SAYS_ITSELF.iter().any(|start| rest.starts_with(start));
    if rest.starts_with("workqueue leaked ") {
        let subject = "BUG: workqueue leaked lock or atomic";
        return Some(Headline::within(Kind::Lockdep, subject).searched(Search::Worker));
    }
    if itself && rest.starts_with("MAX_") {
        return Some(Headline::whole(Kind::Lockdep, text));
    }
    Some(Headline::whole(Kind::Bug, text).role(Role::BeginsIfConfirmed))
}

/// `kernel BUG at mm/slub.c:12!`: lib/bug.c.
pub(super) fn at(text: &str) -> Option<Headline<'_>> {
    let rest =
        text.strip_prefix("kernel BUG at ").or_else(|| text.strip_prefix("Kernel BUG at "))?;
    let placed = match rest.rsplit_once(':') {
        Some((_, line)) => line.is_empty() || line.starts_with(|char: char| char.is_ascii_digit()),
        None => rest.ends_with('!'),
    };
    placed.then_some(())?;
    let file = rest.split(':').next()?;
    Some(if file.ends_with("rust/helpers/bug.c") || file.ends_with("rust/helpers.c") {
        // What a panic of Rust code ends with.
        Headline::within(Kind::Bug, "kernel BUG").role(Role::Follows { within: NEAR })
    } else if file.ends_with("mm/usercopy.c") {
        Headline::within(Kind::Bug, "BUG: bad usercopy").skipping(&["usercopy", "__check"])
    } else if file.ends_with("lib/list_debug.c") {
        Headline::within(Kind::ListCorruption, "BUG: corrupted list")
    } else {
        Headline::within(Kind::Bug, "kernel BUG").skipping(&["^skb_"])
    })
}

/// What follows `kernel BUG at` on some architectures, and stands alone if that got lost.
pub(super) fn echo(text: &str) -> Option<Headline<'_>> {
    text.starts_with("Kernel BUG [#")
        .then(|| Headline::within(Kind::Bug, "kernel BUG").role(Role::Follows { within: NEAR }))
}
