//! Traps: exceptions of the processor that the kernel has no answer to.

use memchr::memmem::Finder;

use super::{Headline, NEAR, Role, Search, function_after};
use crate::frame::located;
use crate::{kind::Kind, part::Part};

/// Reads a line of arch/*/kernel/traps.c, arch/*/mm/fault.c or lib/ubsan.c.
pub(super) fn headline(text: &str) -> Option<Headline<'_>> {
    let starts = |start: &str| text.starts_with(start);
    match text.as_bytes().first()? {
        b'U' if starts("UBSAN: ") => return undefined(text),
        b'U' if starts("Unable to handle kernel ") => return unable(text),
        b'U' if starts("Unhandled fault: ") || starts("Unhandled prefetch abort: ") => {
            // Of a program, unless the kernel dies of it: arch/arm/mm/fault.c, do_DataAbort().
            return Some(
                Headline::within(Kind::Oops, "Unhandled fault").role(Role::BeginsIfConfirmed),
            );
        }
        // arch/arm64/kernel/entry-common.c, __panic_unhandled().
        b'U' if starts("Unhandled ") && text.contains(" exception on CPU") => {
            return Some(
                Headline::within(Kind::Oops, "Unhandled exception").role(Role::BeginsIfConfirmed),
            );
        }
        b'I' if starts("Internal error: ") => return internal(text),
        // arch/arm64/kernel/traps.c, panic_bad_stack().
        b'I' if starts("Insufficient stack space to handle exception!") => {
            return Some(super::panic::stack_overflow());
        }
        b'A' if starts("Alignment trap: ") => {
            return Some(
                Headline::within(Kind::Oops, "Alignment trap").role(Role::BeginsIfConfirmed),
            );
        }
        b'P' if starts("PANIC: double fault") => {
            return Some(Headline::within(Kind::Oops, "PANIC: double fault"));
        }
        b'P' if starts("PANIC: early exception ") => {
            return Some(Headline::within(Kind::Oops, "PANIC: early exception"));
        }
        b'B' if starts("Bad mode in ") && text.contains(" handler detected") => {
            return Some(Headline::within(Kind::Oops, "Bad mode"));
        }
        b'S' if starts("SError Interrupt on CPU") => {
            return Some(Headline::within(Kind::Oops, "SError"));
        }
        // arch/mips/mm/fault.c and arch/loongarch/mm/fault.c.
        b'C' if starts("CPU ") => {
            let rest = text["CPU ".len()..].trim_start_matches(|char: char| char.is_ascii_digit());
            if let Some(found) = unable(rest.trim_start()) {
                return Some(found);
            }
        }
        b'C' if starts("CFI failure at ") => {
            return Some(
                Headline::within(Kind::Oops, "CFI failure").of(function_after(text, " at ")),
            );
        }
        _ => {}
    }
    died(text)
}

fn undefined(text: &str) -> Option<Headline<'_>> {
    let rest = text.strip_prefix("UBSAN: ")?;
    let found = |sort: &str| {
        Headline::within(Kind::Ubsan, format!("UBSAN: {}", sort.replace(' ', "-")))
            .skipping(&["ubsan", "overflow"])
    };
    // Of a kernel that traps: arch/x86/kernel/traps.c, handle_bug().
    if let Some((sort, place)) = rest.split_once(" at ")
        && let Some(function) = located(place)
    {
        return Some(found(sort).of(Some(function)));
    }
    let (sort, place) = rest.split_once(" in ")?;
    let sort = if sort == "Undefined behaviour" { "undefined-behaviour" } else { sort };
    place.contains(':').then(|| found(sort))
}

/// `Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000`.
fn unable(text: &str) -> Option<Headline<'_>> {
    let what = text.strip_prefix("Unable to handle kernel ")?;
    const SORTS: [&str; 9] = [
        "NULL pointer dereference",
        "paging request",
        "access to user memory",
        "execute from non-executable memory",
        "write to read-only memory",
        "read from unreadable memory",
        "execution of user memory",
        "data access",
        "pointer dereference",
    ];
    let sort = SORTS.iter().find(|sort| what.starts_with(**sort))?;
    Some(Headline::within(Kind::PageFault, format!("BUG: unable to handle kernel {sort}")))
}

/// arch/arm64/kernel/traps.c and arch/arm/kernel/traps.c, die().
fn internal(text: &str) -> Option<Headline<'_>> {
    let what = text.strip_prefix("Internal error: ")?;
    let followed = Role::Follows { within: NEAR };
    if let Some(rest) = what.strip_prefix("UBSAN: ") {
        let sort = rest.split(':').next()?.trim().replace(' ', "-");
        return Some(Headline::within(Kind::Ubsan, format!("UBSAN: {sort}")).role(followed));
    }
    let kind = if what.starts_with("Oops - BUG") { Kind::Bug } else { Kind::Oops };
    Some(Headline::within(kind, "Internal error").role(followed))
}

/// A line with the number of deaths so far: `general protection fault: 0000 [#1] SMP`.
fn died(text: &str) -> Option<Headline<'_>> {
    let counter = counter(text)?;
    let before = text[..counter].trim_end();
    // arch/mips/kernel/traps.c and arch/loongarch/kernel/traps.c, die(): the reason and `[#1]:`.
    let is_alone = before.len() == counter && text.ends_with("]:");
    // arch/s390/kernel/dumpstack.c, die(): `reason: 0005 ilc:2 [#1]`.
    let before = before.split_once(" ilc:").map_or(before, |(before, _)| before);
    // It can be behind another message that had no line end of its own, but not in a program's.
    let quoted = |before: &str| before.contains("]: ") || before.ends_with(['"', '\'', '`']);
    let known =
        |name: &str| before.rfind(name).filter(|at| counter - at < 200 && !quoted(&before[..*at]));
    let trap = |subject: &'static str| Headline::within(Kind::Oops, subject).searched(Search::Top);
    let followed = Role::Follows { within: NEAR };
    Some(if known("general protection fault").is_some() {
        Headline::within(Kind::GeneralProtectionFault, "general protection fault")
    } else if known("divide error").is_some() || known("divide_error").is_some() {
        trap("divide error")
    } else if known("stack segment").is_some() {
        trap("stack segment fault")
    } else if known("invalid opcode").is_some() {
        trap("invalid opcode").role(followed)
    } else if known("int3").is_some() {
        trap("int3")
    } else if known("kernel stack overflow").is_some() || known("double fault").is_some() {
        trap("double fault").role(followed)
    } else if let Some(at) = known("Oops").or_else(|| known("Kernel BUG")) {
        let what = before[at..].trim_start_matches("Oops").trim_matches([':', ' ', '-']);
        if what.starts_with("BUG") || what.starts_with("Kernel BUG") {
            trap("kernel BUG").role(followed)
        } else {
            trap("Oops").role(followed)
        }
    } else if is_alone && (3..60).contains(&before.len()) && !before.contains(['[', ':']) {
        if before == "Kernel bug detected" {
            Headline::within(Kind::Bug, "kernel BUG").role(followed)
        } else {
            Headline::within(Kind::Oops, before.to_owned()).role(Role::BeginsIfConfirmed)
        }
    } else {
        let (name, code) = before.rsplit_once(": ")?;
        let code = code.strip_prefix("0x").unwrap_or(code);
        let hexadecimal = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_hexdigit());
        let named = !quoted(before) && (3..60).contains(&name.trim().len()) && hexadecimal;
        named.then(|| Headline::within(Kind::Oops, name.to_owned()).role(followed))?
    })
}

/// Where `[#1]` begins.
fn counter(text: &str) -> Option<usize> {
    static COUNTER: Part = Part::new(|| Finder::new("[#"));
    let at = COUNTER.at(text)?;
    let digits = text[at + 2..].bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && text[at + 2 + digits..].starts_with(']')).then_some(at)
}
