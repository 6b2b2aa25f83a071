//! What stands before a kernel's message: level, time, caller, and what collectors of logs add.

use memchr::{memchr, memmem::Finder};

use crate::part::Part;

mod collector;
mod date;

use collector::collected;
use date::{BracketedTime, after_date, bracketed_time};

/// Whose words a message is made of, as far as its prefix tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The kernel's.
    Kernel,
    /// A program's.
    User,
    /// Nothing tells.
    Unknown,
}

/// A message and what its prefix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefixed<'a> {
    /// Whose words these are.
    pub(crate) origin: Origin,
    /// The kernel's time, as printed.
    pub(crate) time: Option<&'a str>,
    /// Who printed it: `T12`, a task, or `C0`, a processor outside of tasks. CONFIG_PRINTK_CALLER.
    pub(crate) caller: Option<&'a str>,
    /// What is behind the prefix.
    pub(crate) text: &'a str,
}

impl<'a> Prefixed<'a> {
    fn unknown(text: &'a str) -> Self {
        Prefixed { origin: Origin::Unknown, time: None, caller: None, text }
    }
}

/// Takes the messages out of a piece of a line: one, or more where the kernel's time shows that the
/// console ran them together.
pub(crate) fn split<'a>(piece: &'a str, mut found: impl FnMut(Prefixed<'a>)) {
    let Some(first) = next_stamp(piece, 0) else {
        return found(unstamped(piece));
    };
    let lead = &piece[..first.start];
    let origin = origin_of(lead);
    if lead.len() > 4 {
        let lead = unstamped(lead);
        // What a collector put there, behind its own time, is no message: `stderr F`.
        if lead.text.len() > 10 {
            found(lead);
        }
    }
    let mut stamp = first;
    loop {
        let next = next_stamp(piece, stamp.end);
        let text = &piece[stamp.end..next.as_ref().map_or(piece.len(), |next| next.start)];
        let (caller, text) = caller_of(text);
        found(Prefixed { origin, time: Some(stamp.time), caller, text: after_host(text.trim()) });
        match next {
            Some(next) => stamp = next,
            None => return,
        }
    }
}

/// The journal's --output=short-monotonic: `[   12.345678] host kernel: text`.
fn after_host(text: &str) -> &str {
    static TAG: Part = Part::new(|| Finder::new(" kernel: "));
    match TAG.at(text).map(|tag| text.split_at(tag)) {
        Some((host, rest)) if !host.contains(' ') => rest[" kernel: ".len()..].trim(),
        _ => text,
    }
}

/// The kernel's time in a line: `[   12.345678]`.
struct Stamp<'a> {
    start: usize,
    end: usize,
    time: &'a str,
}

fn next_stamp(piece: &str, from: usize) -> Option<Stamp<'_>> {
    let mut start = from + memchr(b'[', &piece.as_bytes()[from..])?;
    loop {
        if let Some((time, length)) = stamp_at(&piece[start..]) {
            return Some(Stamp { start, end: start + length, time });
        }
        start += 1 + memchr(b'[', &piece.as_bytes()[start + 1..])?;
    }
}

/// The time at the beginning of a text, and how long it is with its brackets.
fn stamp_at(text: &str) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let digits =
        |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let spaces = bytes[1..].iter().take(12).take_while(|byte| **byte == b' ').count();
    let seconds = digits(1 + spaces);
    let point = 1 + spaces + seconds;
    if seconds == 0 || seconds > 12 || bytes.get(point) != Some(&b'.') {
        return None;
    }
    let fraction = digits(point + 1);
    let end = point + 1 + fraction;
    if !(3..=9).contains(&fraction) {
        return None;
    }
    match bytes.get(end)? {
        b']' => Some((&text[1 + spaces..end], end + 1)),
        // dmesg --show-delta: `[   12.345678 <    0.000012>]`; MediaTek: `[   12.345678,0]`
        b' ' | b',' => {
            let close = memchr(b']', bytes.get(end..(end + 20).min(bytes.len()))?)?;
            let between = &bytes[end..end + close];
            let plain = |byte: &u8| byte.is_ascii_digit() || b" ,.<>+".contains(byte);
            between.iter().all(plain).then(|| (&text[1 + spaces..end], end + close + 1))
        }
        _ => None,
    }
}

/// Who printed a message, and the message: `[   T12] text`. Some vendors' kernels add their own
/// `[4:  system_server: 3344] ` or ` (2)[1:swapper/0]`.
fn caller_of(text: &str) -> (Option<&str>, &str) {
    let Some(inside) = text.trim_start().strip_prefix(['[', '(', '<', 'I']) else {
        return (None, text);
    };
    if let Some((caller, rest)) = inside.split_once(']') {
        let caller = caller.trim_start();
        if let Some(number) = caller.strip_prefix(['T', 'C'])
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            return (Some(caller), rest);
        }
    }
    (None, after_vendor_context(text))
}

/// Skips `[cpu: task: pid]`, in its several spellings.
fn after_vendor_context(text: &str) -> &str {
    let skipped = || {
        let open = memchr(b'[', &text.as_bytes()[..text.len().min(12)])?;
        let rest = &text[open + 1..];
        let (context, rest) = rest.split_once(']')?;
        let (number, task) = context.split_once(':')?;
        let number = number.trim();
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let before =
            text[..open].bytes().all(|byte| b" ()<>.I".contains(&byte) || byte.is_ascii_digit());
        (numbered && before && task.len() <= 32 && !task.contains("::")).then_some(rest)
    };
    skipped().unwrap_or(text)
}

/// A text without the kernel's time: what a collector of logs says about it, or nothing does.
fn unstamped(text: &str) -> Prefixed<'_> {
    // Mails quote with `>`.
    let text = text.trim_start_matches(['>', ' ']).trim_end();
    match text.as_bytes().first() {
        Some(b'<') => match level(text) {
            Some((level, rest)) => behind_level(origin_of_level(level), rest),
            None => Prefixed::unknown(text),
        },
        Some(b'[') => match bracketed_time(text) {
            Some(found) if found.is_of_dmesg => dated_message(Origin::Kernel, &found),
            Some(found) => {
                let rest = found.rest.trim();
                dmesg_time(rest).unwrap_or_else(|| collected(rest))
            }
            None => {
                let (caller, rest) = caller_of(text);
                Prefixed { caller, ..Prefixed::unknown(rest.trim()) }
            }
        },
        Some(byte) if byte.is_ascii_digit() => match record(text) {
            Some(found) => found,
            None => collected(text),
        },
        // Also the names of months in other languages.
        Some(byte) if byte.is_ascii_alphabetic() || !byte.is_ascii() => collected(text),
        _ => Prefixed::unknown(text),
    }
}

/// A message with a time of dmesg: `[Sat Nov 28 04:13:33 2026] text`.
fn dmesg_time(text: &str) -> Option<Prefixed<'_>> {
    let found = bracketed_time(text).filter(|found| found.is_of_dmesg)?;
    Some(dated_message(Origin::Kernel, &found))
}

/// `dmesg --time-format` can be given more than once, and then there is another time behind this one.
fn dated_message<'a>(origin: Origin, found: &BracketedTime<'a>) -> Prefixed<'a> {
    let text = found.rest.trim_start();
    let text = bracketed_time(text).map_or(text, |found| found.rest.trim_start());
    message(origin, Some(found.time), text)
}

fn message<'a>(origin: Origin, time: Option<&'a str>, text: &'a str) -> Prefixed<'a> {
    let (caller, text) = caller_of(text);
    Prefixed { origin, time, caller, text: text.trim() }
}

/// What is behind a level: a message, or what syslog sends: RFC 3164 and RFC 5424.
fn behind_level(origin: Origin, rest: &str) -> Prefixed<'_> {
    let plain = rest.trim_start();
    let dated = plain.strip_prefix("1 ").unwrap_or(plain);
    if after_date(dated).is_some() {
        let found = collected(dated);
        let origin = if found.origin == Origin::Unknown { origin } else { found.origin };
        return Prefixed { origin, ..found };
    }
    match bracketed_time(plain) {
        Some(found) => dated_message(origin, &found),
        None => message(origin, None, rest),
    }
}

/// `<4>text`: printk's level and syslog's facility.
fn level(text: &str) -> Option<(u32, &str)> {
    let (level, rest) = text.strip_prefix('<')?.split_once('>')?;
    (level.len() <= 3).then_some(())?;
    Some((level.parse().ok()?, rest))
}

/// What programs write to /dev/kmsg has a facility other than the kernel's, which is 0:
/// kernel/printk/printk.c, devkmsg_write().
fn origin_of_level(level: u32) -> Origin {
    if level >> 3 == 0 { Origin::Kernel } else { Origin::User }
}

/// A record of /dev/kmsg or of the extended netconsole: `4,1234,56789012,-,caller=T12;text`.
/// Documentation/ABI/testing/dev-kmsg.
fn record(text: &str) -> Option<Prefixed<'_>> {
    let (head, text) = text.split_once(';')?;
    let mut fields = head.split(',');
    let level = fields.next()?.parse().ok()?;
    let _sequence = fields.next()?.parse::<u64>().ok()?;
    let time = fields.next().filter(|time| time.parse::<u64>().is_ok())?;
    let caller = fields.find_map(|field| field.strip_prefix("caller="));
    Some(Prefixed { origin: origin_of_level(level), time: Some(time), caller, text: text.trim() })
}

/// Whose message it is that has the kernel's time behind such a text.
fn origin_of(lead: &str) -> Origin {
    let trimmed = lead.trim();
    if trimmed.is_empty() {
        return Origin::Kernel;
    }
    if let Some((number, rest)) = level(trimmed)
        && rest.trim().is_empty()
    {
        return origin_of_level(number);
    }
    if let Some((_, rest)) = trimmed.split_once("kern").filter(|(before, _)| before.is_empty())
        && rest.trim_start().starts_with(':')
    {
        return Origin::Kernel;
    }
    let quotes = |quote: char| trimmed.chars().filter(|char| *char == quote).count() % 2 == 1;
    // A test that tells what it wants or got, in the Test Anything Protocol: `# got: [   12.345678]`.
    let of_test = trimmed.starts_with('#') && trimmed.ends_with(':');
    if quotes('"') || quotes('`') || trimmed.ends_with('\'') || of_test {
        return Origin::User;
    }
    match unstamped(trimmed).origin {
        Origin::User => Origin::User,
        // The console ran a program's text, or another message, together with this one.
        Origin::Kernel | Origin::Unknown => Origin::Kernel,
    }
}
