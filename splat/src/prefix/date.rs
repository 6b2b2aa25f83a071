//! Dates and times in front of messages, in any language.
//!
//! Names of days and months are any words; what makes a date is the time of day in it, or a number of
//! seconds with a fraction, whatever the decimal mark.

/// How many words a date has at most: `Sat Nov 28 04:13:33 2026`, `Thg 11 28 04:13:33`.
const MOST_WORDS: usize = 5;

/// A text behind its date and time.
pub(super) fn after_date(text: &str) -> Option<&str> {
    let mut rest = text;
    let mut numbered = true;
    for nth in 0..MOST_WORDS {
        rest = rest.trim_start();
        let (word, behind) = rest.split_once([' ', '\t'])?;
        let seconds = nth == 0 && is_seconds(word);
        if seconds || numbered && (is_time(word) || is_iso(word)) {
            return Some(after_year(behind));
        }
        if !is_date_word(word) {
            return None;
        }
        let number = word.bytes().any(|byte| byte.is_ascii_digit());
        numbered = number || numbered && nth > 0;
        rest = behind;
    }
    None
}

/// Skips the year of `Sat Nov 28 04:13:33 2026`.
fn after_year(text: &str) -> &str {
    match text.split_at_checked(4) {
        Some((year, rest)) if year.bytes().all(|byte| byte.is_ascii_digit()) => {
            rest.strip_prefix(' ').unwrap_or(text)
        }
        _ => text,
    }
}

/// A time in brackets, as dmesg prints it if it is told to be anything but raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BracketedTime<'a> {
    pub(super) time: &'a str,
    /// Whether more than the time of day is in it: a terminal puts only that in front of lines.
    pub(super) is_of_dmesg: bool,
    pub(super) rest: &'a str,
}

/// The time of `[Sat Nov 28 04:13:33 2026] text`, `[Nov28 04:13] text`, `[  +0,000021] text`,
/// `[<    0.000021>] text` and `[Sat Nov 28 04:13:33 2026 <    0.000021>] text`.
pub(super) fn bracketed_time(text: &str) -> Option<BracketedTime<'_>> {
    let inside = text.strip_prefix('[')?;
    let window = &inside[..inside.floor_char_boundary(80)];
    let (time, _) = window.split_once(']')?;
    let mut words = 0;
    let (mut clock, mut seconds) = (false, false);
    for word in time.split([' ', '<', '>', '\t']).filter(|word| !word.is_empty()) {
        words += 1;
        clock |= is_time(word) || is_iso(word);
        seconds |= is_seconds(word.strip_prefix(['+', '-']).unwrap_or(word));
        if words > MOST_WORDS + 2 || !(clock || seconds || is_date_word(word)) {
            return None;
        }
    }
    (clock || seconds).then_some(())?;
    let begins_with_a_day = time.get(..10).is_some_and(is_day);
    let is_of_dmesg = seconds || words > 1 && !begins_with_a_day;
    let rest = &inside[time.len() + 1..];
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    Some(BracketedTime { time, is_of_dmesg, rest })
}

/// Whether a word could be the name or number of a day, a month or a year.
fn is_date_word(word: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b".,-/'".contains(&byte) || byte >= 0x80;
    word.len() <= 40 && word.bytes().all(part)
}

/// `12:34`, `12:34:56`, `12:34:56.789`, `12:34:56,789+01:00`.
pub(super) fn is_time(word: &str) -> bool {
    let (first, rest) = word.split_once(':').unwrap_or((word, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(first)
        && first.len() <= 2
        && rest.len() >= 2
        && digits(&rest[..rest.floor_char_boundary(2)])
        && rest.bytes().all(|byte| byte.is_ascii_digit() || b":.,+-Z".contains(&byte))
        && !rest.ends_with([':', '.', ',', '-'])
}

/// `1741000000.123456`, `0,000021`: seconds with a fraction.
fn is_seconds(word: &str) -> bool {
    let whole = word.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = word[whole..].chars();
    let mark = rest.next().is_some_and(|mark| matches!(mark, '.' | ',') || !mark.is_ascii());
    let fraction = rest.as_str();
    (1..=12).contains(&whole)
        && mark
        && (3..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// `2025-03-03` or `2025/03/03`.
pub(super) fn is_day(word: &str) -> bool {
    let separators = word.bytes().filter(|byte| b"-/".contains(byte)).count();
    separators == 2
        && word.len() == 10
        && word.bytes().all(|byte| byte.is_ascii_digit() || b"-/".contains(&byte))
}

/// `2025-03-03T12:34:56.789012+01:00`.
pub(super) fn is_iso(word: &str) -> bool {
    word.get(..10).is_some_and(is_day) && word.as_bytes().get(10) == Some(&b'T')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::syslog("Mar  3 12:34:56 host kernel: x", Some("host kernel: x"))]
    #[case::precise("Mar 03 12:34:56.123456 host", Some("host"))]
    #[case::chinese("8月 14 10:24:12 host", Some("host"))]
    #[case::vietnamese("Thg 11 28 04:13:33 host", Some("host"))]
    #[case::hindi("नवं 28 04:13:33 host", Some("host"))]
    #[case::full("Mon 2025-03-03 12:34:56 UTC host", Some("UTC host"))]
    #[case::with_a_year("Sat Nov 28 04:13:33 2026 host", Some("host"))]
    #[case::iso("2026-11-28T04:13:33,123456+00:00 text", Some("text"))]
    #[case::seconds("1741000000.123456 host", Some("host"))]
    #[case::time_alone("12:34:56 text", Some("text"))]
    #[case::device("rtc_cmos 00:02: registered", None)]
    #[case::bus("pci 0000:00:1f.0: x", None)]
    #[case::prose("BUG: at 12:34:56 x", None)]
    #[case::version("Linux version 6.1.0 x", None)]
    fn dates_in_front_of_a_text(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(after_date(text), expected);
    }

    #[rstest]
    #[case::ctime("[Sat Nov 28 04:13:33 2026] x", Some(true))]
    #[case::french("[sam. nov. 28 04:13:33 2026] x", Some(true))]
    #[case::human("[nov28 04:13] x", Some(true))]
    #[case::japanese("[11月28 04:13] x", Some(true))]
    #[case::delta("[  +0,000021] x", Some(true))]
    #[case::persian_delta("[  +0٫000021] x", Some(true))]
    #[case::show_delta("[<    0.000021>] x", Some(true))]
    #[case::both("[Sat Nov 28 04:13:33 2026 <    0.000021>] x", Some(true))]
    #[case::terminal("[12:34:56] x", Some(false))]
    #[case::terminal_with_day("[2025-03-03 12:34:56] x", Some(false))]
    #[case::address("[<ffffffff81234567>] x", None)]
    #[case::short_address("[<c0012345>] x", None)]
    #[case::display("[CRTC:45:crtc-0] vblank wait timed out", None)]
    #[case::subsystem("[drm] x", None)]
    fn times_in_brackets(#[case] text: &str, #[case] expected: Option<bool>) {
        assert_eq!(bracketed_time(text).map(|time| time.is_of_dmesg), expected);
    }
}
