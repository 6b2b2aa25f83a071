//! What stands before a kernel's message: level, time, caller, and what collectors of logs add.

use memchr::{memchr, memmem::Finder};

use crate::part::Part;

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
        found(unstamped(lead));
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
        Some(b'<') => {
            let Some((level, rest)) = level(text) else {
                return Prefixed::unknown(text);
            };
            message(origin_of_level(level), None, rest)
        }
        Some(b'[') => match bracketed_date(text) {
            Some((time, rest)) => message(Origin::Kernel, Some(time), rest),
            None => match text[1..].split_once(']').filter(|(clock, _)| is_clock(clock)) {
                Some((_, rest)) => collected(rest.trim()),
                None => {
                    let (caller, rest) = caller_of(text);
                    Prefixed { caller, ..Prefixed::unknown(rest.trim()) }
                }
            },
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

fn message<'a>(origin: Origin, time: Option<&'a str>, text: &'a str) -> Prefixed<'a> {
    let (caller, text) = caller_of(text);
    Prefixed { origin, time, caller, text: text.trim() }
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

/// `[Mon Mar  3 12:34:56 2025] text` of dmesg --ctime and `[Mar 3 12:34] text` of dmesg --human.
fn bracketed_date(text: &str) -> Option<(&str, &str)> {
    let (date, rest) = text.strip_prefix('[')?.split_once(']')?;
    let words = date.split_whitespace().collect::<Vec<_>>();
    let dated = match words.as_slice() {
        [_day, month, day, time, year] => {
            is_month(month) && is_number(day) && is_time(time) && is_number(year)
        }
        [month, day, time] => is_month(month) && is_number(day) && is_time(time),
        [delta] => delta.strip_prefix('+').is_some_and(|delta| delta.parse::<f64>().is_ok()),
        _ => false,
    };
    dated.then_some((date, rest))
}

/// A line of syslog, of the journal, or with the time of whoever recorded the console.
fn collected(text: &str) -> Prefixed<'_> {
    let Some(rest) = after_date(text) else {
        return match text.strip_prefix("kernel:") {
            Some(rest) => Prefixed { origin: Origin::Kernel, ..Prefixed::unknown(rest.trim()) },
            None => decoded_level(text).unwrap_or_else(|| Prefixed::unknown(after_login(text))),
        };
    };
    let mut left = rest;
    for _host_facility_tag in 0..4 {
        let left_trimmed = left.trim_start();
        let end = left_trimmed.find(' ').unwrap_or(left_trimmed.len());
        let (word, after) = left_trimmed.split_at(end);
        if word.eq_ignore_ascii_case("kernel:") {
            let (caller, text) = caller_of(after);
            return Prefixed { origin: Origin::Kernel, time: None, caller, text: text.trim() };
        }
        if word.ends_with(':') && word.contains('[') {
            return Prefixed { origin: Origin::User, ..Prefixed::unknown(after.trim()) };
        }
        left = after;
    }
    Prefixed::unknown(rest.trim())
}

/// `kern  :warn  : text` of dmesg --decode.
fn decoded_level(text: &str) -> Option<Prefixed<'_>> {
    let (facility, rest) = text.split_once(':')?;
    let (level, rest) = rest.split_once(':')?;
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
    LEVELS.contains(&level.trim()).then_some(())?;
    let origin = if facility.trim() == "kern" { Origin::Kernel } else { Origin::User };
    Some(Prefixed { origin, ..Prefixed::unknown(rest.trim()) })
}

/// What the kernel printed behind a prompt for a name: `host login: text`.
fn after_login(text: &str) -> &str {
    match text.split_once(" login: ") {
        Some((host, rest)) if !host.contains(' ') => rest.trim(),
        _ => text,
    }
}

/// A text behind its date and time.
fn after_date(text: &str) -> Option<&str> {
    let mut words = text.splitn(2, [' ', '\t']);
    let (first, rest) = (words.next()?, words.next()?);
    let digit = first.as_bytes().first()?.is_ascii_digit();
    if digit && first.len() >= 19 && is_iso(first) {
        return Some(rest);
    }
    if digit && is_day(first) {
        let (time, rest) = rest.split_once(' ')?;
        return is_time(time).then_some(rest);
    }
    if digit && is_time(first) {
        return Some(rest);
    }
    if first.chars().count() <= 5 && first.chars().all(|char| char.is_alphabetic() || char == '.') {
        let found = || {
            let (day, rest) = rest.trim_start().split_once(' ')?;
            let (time, rest) = rest.trim_start().split_once(' ')?;
            (is_number(day) && is_time(time)).then_some(rest)
        };
        if let Some(rest) = found() {
            return Some(rest);
        }
    }
    // The journal's --output=short-full: `Mon 2025-03-03 12:34:56 UTC host kernel: text`.
    let (day, rest) = rest.split_once(' ')?;
    if first.len() == 3 && is_day(day) {
        let (time, rest) = rest.split_once(' ')?;
        return is_time(time).then_some(rest);
    }
    None
}

fn is_month(word: &str) -> bool {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    word.len() == 3 && word.is_ascii() && {
        let mut chars = word.chars();
        let first = chars.next().map(|first| first.to_ascii_uppercase());
        let rest = chars.as_str().to_ascii_lowercase();
        first.is_some_and(|first| MONTHS.contains(&format!("{first}{rest}")))
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// `12:34:56` or `2025-03-03 12:34:56`, as terminals and test systems put in front of lines.
fn is_clock(text: &str) -> bool {
    let (day, time) = text.rsplit_once(' ').unwrap_or(("", text));
    is_iso(text) || (day.is_empty() || is_day(day)) && is_time(time)
}

/// `12:34`, `12:34:56`, `12:34:56.789`.
fn is_time(word: &str) -> bool {
    let colons = word.bytes().filter(|byte| *byte == b':').count();
    (1..=2).contains(&colons)
        && word.bytes().all(|byte| byte.is_ascii_digit() || b":.,".contains(&byte))
}

/// `2025-03-03` or `2025/03/03`.
fn is_day(word: &str) -> bool {
    let separators = word.bytes().filter(|byte| b"-/".contains(byte)).count();
    separators == 2
        && word.len() == 10
        && word.bytes().all(|byte| byte.is_ascii_digit() || b"-/".contains(&byte))
}

/// `2025-03-03T12:34:56.789012+01:00`.
fn is_iso(word: &str) -> bool {
    word.get(..10).is_some_and(is_day) && word.as_bytes().get(10) == Some(&b'T')
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
    if quotes('"') || quotes('`') || trimmed.ends_with('\'') {
        return Origin::User;
    }
    match unstamped(trimmed).origin {
        Origin::User => Origin::User,
        // The console ran a program's text, or another message, together with this one.
        Origin::Kernel | Origin::Unknown => Origin::Kernel,
    }
}
