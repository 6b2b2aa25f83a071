//! Lines that a daemon, a test system or a tool took from the kernel's log or console.

use super::{
    Origin, Prefixed, behind_level,
    date::{after_date, is_iso},
    dmesg_time, message,
};

/// A line of syslog, of the journal, or with the time of whoever recorded the console.
pub(super) fn collected(text: &str) -> Prefixed<'_> {
    dated(text, MOST_TIMES)
        .or_else(|| {
            let rest = text.strip_prefix("kernel:")?;
            Some(Prefixed { origin: Origin::Kernel, ..Prefixed::unknown(rest.trim()) })
        })
        .or_else(|| decoded_level(text))
        .or_else(|| wrapped(text))
        .unwrap_or_else(|| Prefixed::unknown(after_login(text)))
}

/// How many times in front of a message are skipped: of the kernel's log, of a daemon that collects
/// those of other hosts, and of a test system.
const MOST_TIMES: usize = 3;

/// What is behind a date, and perhaps behind more of them.
fn dated(text: &str, times: usize) -> Option<Prefixed<'_>> {
    let times = times.checked_sub(1)?;
    let rest = after_date(text)?;
    // No other form of time is allowed there: RFC 5424, 6.2.3.
    let may_be_structured = text[..text.len() - rest.len()].split_whitespace().any(is_iso);
    let text = after_label(rest.trim()).trim_start();
    let of_another_host = || {
        let (_host, rest) = text.split_once(' ')?;
        dated(rest, times).filter(|found| found.origin != Origin::Unknown)
    };
    may_be_structured
        .then(|| structured(rest))
        .flatten()
        .or_else(|| tagged(rest))
        .or_else(|| dmesg_time(text))
        .or_else(|| dated(text, times))
        .or_else(of_another_host)
        .or_else(|| Some(Prefixed::unknown(text)))
}

/// What is behind the tag of syslog: `hostx kernel: text`.
fn tagged(text: &str) -> Option<Prefixed<'_>> {
    let mut left = text;
    for _zone_host_facility_tag in 0..5 {
        let left_trimmed = left.trim_start();
        let end = left_trimmed.find(' ').unwrap_or(left_trimmed.len());
        let (word, after) = left_trimmed.split_at(end);
        if word.eq_ignore_ascii_case("kernel:") {
            return Some(message(Origin::Kernel, None, after));
        }
        // Not `Oops[#1]:` of MIPS.
        if word.ends_with(':') && word.contains('[') && !word.contains("[#") {
            return Some(Prefixed { origin: Origin::User, ..Prefixed::unknown(after.trim()) });
        }
        left = after;
    }
    None
}

/// A text behind what recorders put between their time and it: `stdout F text` of Kubernetes,
/// `- name - INFO - text` of Python's logging.
fn after_label(text: &str) -> &str {
    const STREAMS: [&str; 2] = ["stdout F ", "stderr F "];
    const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
    let of_python = || {
        let (_name, rest) = text.strip_prefix("- ")?.split_once(" - ")?;
        let (level, rest) = rest.split_once(" -")?;
        LEVELS.contains(&level).then_some(rest.trim_start())
    };
    STREAMS.iter().find_map(|stream| text.strip_prefix(stream)).or_else(of_python).unwrap_or(text)
}

/// What tools that print lines of several files or jobs put in front, if the kernel's form is behind
/// it: `messages:12:` of grep, `vm-1  | ` of Docker Compose, `job<tab>step<tab>` of GitHub's gh.
fn wrapped(text: &str) -> Option<Prefixed<'_>> {
    let mut jobs = text.splitn(3, '\t');
    if let (Some(_job), Some(_step), Some(rest)) = (jobs.next(), jobs.next(), jobs.next()) {
        return dated(rest, MOST_TIMES);
    }
    let mut rest = text;
    for _file_line in 0..2 {
        let end = rest.bytes().take(80).position(|byte| b":| ".contains(&byte))?;
        let (_name, behind) = rest.split_at(end);
        rest = match behind.strip_prefix(':') {
            Some(behind) => behind,
            None => behind.trim_start().strip_prefix("| ")?,
        };
        let found = dmesg_time(rest).or_else(|| dated(rest, MOST_TIMES));
        if let Some(found) = found.filter(|found| found.origin != Origin::Unknown) {
            return Some(found);
        }
    }
    None
}

/// What is behind the time in RFC 5424: `host kernel - - - text`, with the program's number, the
/// sort of message and structured data in the place of the dashes.
fn structured(rest: &str) -> Option<Prefixed<'_>> {
    let (_host, rest) = rest.split_once(' ')?;
    let (program, rest) = rest.split_once(' ')?;
    let (number, rest) = rest.split_once(' ')?;
    let (_sort, rest) = rest.split_once(' ')?;
    let numbered = number == "-" || number.bytes().all(|byte| byte.is_ascii_digit());
    (numbered && !number.is_empty() && !program.contains(':')).then_some(())?;
    let text = match rest.strip_prefix('-') {
        Some(text) => text.strip_prefix(' ').unwrap_or(text),
        None => rest.strip_prefix('[')?.split_once("] ")?.1,
    };
    let text = text.trim_start_matches('\u{feff}');
    let origin = if program == "kernel" { Origin::Kernel } else { Origin::User };
    Some(message(origin, None, text))
}

/// `kern  :warn  : text` of dmesg --decode, `node: kern: warning: [time]: text` of talosctl.
fn decoded_level(text: &str) -> Option<Prefixed<'_>> {
    const LEVELS: [&str; 11] = [
        "emerg", "alert", "crit", "err", "error", "warn", "warning", "notice", "info", "debug",
        "unknown",
    ];
    let decoded = |text: &'_ str| {
        let (facility, rest) = text.split_once(':')?;
        let (level, _) = rest.split_once(':')?;
        LEVELS.contains(&level.trim()).then_some((facility.len(), level.len()))
    };
    let of_node = || text.split_once(": ").filter(|(node, _)| !node.contains(' '));
    let (text, (facility, level)) = match decoded(text) {
        Some(lengths) => (text, lengths),
        None => of_node().and_then(|(_, text)| Some((text, decoded(text)?)))?,
    };
    let origin = if text[..facility].trim() == "kern" { Origin::Kernel } else { Origin::User };
    let rest = text[facility + level + 2..].trim_start();
    Some(behind_level(origin, rest))
}

/// What the kernel printed behind a prompt for a name: `host login: text`.
fn after_login(text: &str) -> &str {
    match text.split_once(" login: ") {
        Some((host, rest)) if !host.contains(' ') => rest.trim(),
        _ => text,
    }
}
