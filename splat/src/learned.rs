//! Prefixes that nobody has described: vendors of phones, test systems and loggers have their own.
//!
//! Some lines of a splat say the same on every kernel. What is in front of them is a prefix, if it has
//! the same shape on several of these lines; and what begins with that shape elsewhere has it too.

use std::{borrow::Cow, collections::HashMap};

use memchr::{memmem, memrchr};

use crate::message::{Position, lines, of_line};

/// What begins lines of a splat, and nothing else.
const KNOWN: [&str; 10] = [
    "------------[ cut here ]------------",
    "Call Trace:",
    "Call trace:",
    "Modules linked in:",
    "Hardware name: ",
    "---[ end trace ",
    "RIP: 0010:",
    "RSP: 0018:",
    "Kernel panic - not syncing: ",
    "pstate: ",
];

/// How long a prefix is at most.
const LONGEST: usize = 160;

/// How many known lines are looked at.
const MOST: usize = 20_000;

/// How many shapes a log can have: tasks have names of different shapes.
const SHAPES: usize = 12;

/// How often a shape must be seen.
const OFTEN: usize = 3;

/// A log without the prefixes that it teaches, and with a mark of the kernel in their place. Lines
/// stay where they are.
pub(crate) fn without_learned_prefixes(log: Cow<'_, str>) -> Cow<'_, str> {
    let shapes = shapes(&log);
    if shapes.is_empty() {
        return log;
    }
    let mut text = String::with_capacity(log.len() + log.len() / 16);
    for (_, line) in lines(&log, Position::START) {
        let behind = shapes.iter().find_map(|shape| behind_shape(line, shape));
        match behind.filter(|behind| is_kernels(&line[..line.len() - behind.len()])) {
            Some(behind) => {
                text.push_str("kernel: ");
                text.push_str(behind);
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    Cow::Owned(text)
}

fn shapes(log: &str) -> Vec<String> {
    let mut seen: HashMap<String, (usize, u32)> = HashMap::new();
    let mut looked_at = 0;
    for (nth, known) in KNOWN.iter().enumerate() {
        let mut from = 0;
        for at in memmem::find_iter(log.as_bytes(), known) {
            if at < from || looked_at == MOST {
                continue;
            }
            looked_at += 1;
            let window = log.floor_char_boundary(at.saturating_sub(LONGEST));
            let start =
                memrchr(b'\n', &log.as_bytes()[window..at]).map_or(window, |end| window + end + 1);
            from = at + known.len();
            let prefix = &log[start..at];
            let whole = start == 0 || log.as_bytes()[start - 1] == b'\n';
            if whole && is_plausible(prefix) && !is_understood(&log[start..from], known) {
                let (times, sorts) = seen.entry(shape(prefix)).or_default();
                *times += 1;
                *sorts |= 1 << nth;
            }
        }
    }
    let mut shapes: Vec<_> = seen
        .into_iter()
        .filter(|(_, (times, sorts))| *times >= OFTEN && sorts.count_ones() >= 2)
        .collect();
    // The longest first: one can be the beginning of another.
    shapes.sort_by(|(one, _), (other, _)| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    shapes.into_iter().map(|(shape, _)| shape).take(SHAPES).collect()
}

/// Whether the text behind the prefixes that are known begins a message.
fn is_understood(line: &str, known: &str) -> bool {
    let mut understood = false;
    of_line(Position::START, line, |message| {
        understood |= message.text.starts_with(known.trim_end())
    });
    understood
}

fn is_plausible(prefix: &str) -> bool {
    let numbered = prefix.bytes().any(|byte| byte.is_ascii_digit());
    let separated = prefix.chars().next_back().is_some_and(|last| !last.is_alphanumeric());
    numbered && separated && !prefix.contains(['"', '`', '\\', '{']) && is_kernels(prefix)
}

/// What stays the same in a prefix: digits become `0`, other words `a`, spaces one space.
fn shape(prefix: &str) -> String {
    let mut shape = String::new();
    let mut rest = prefix;
    while let Some((symbol, behind)) = symbol(rest) {
        shape.push(symbol);
        rest = behind;
    }
    shape
}

/// The first symbol of a text's shape, and what is behind it.
fn symbol(text: &str) -> Option<(char, &str)> {
    let first = text.chars().next()?;
    let is_word = |char: char| char.is_alphanumeric();
    Some(if is_word(first) {
        let end = text.find(|char| !is_word(char)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        (if word.bytes().all(|byte| byte.is_ascii_digit()) { '0' } else { 'a' }, rest)
    } else if first.is_whitespace() {
        (' ', text.trim_start())
    } else {
        (first, &text[first.len_utf8()..])
    })
}

/// What is behind the beginning of a line, if that has such a shape.
fn behind_shape<'a>(line: &'a str, shape: &str) -> Option<&'a str> {
    let mut rest = line;
    let mut wanted = shape.chars().peekable();
    while let Some(symbol_wanted) = wanted.next() {
        match symbol(rest) {
            Some((symbol, behind)) if symbol == symbol_wanted => rest = behind,
            // Where words are wanted, some have digits only.
            Some(('0', behind)) if symbol_wanted == 'a' => rest = behind,
            // Columns that are full have no space, and lines without a message none at their end.
            _ if symbol_wanted == ' ' && (rest.is_empty() || wanted.peek() != Some(&'a')) => {}
            _ => return None,
        }
    }
    Some(rest)
}

/// Whether a prefix names no program as the one that speaks.
fn is_kernels(prefix: &str) -> bool {
    let mut outside = String::new();
    let mut group = String::new();
    let mut numbers = String::new();
    let mut depth = 0_usize;
    for char in prefix.chars() {
        match char {
            '[' | '(' | '<' => {
                depth += 1;
                group.clear();
            }
            ']' | ')' | '>' => {
                depth = depth.saturating_sub(1);
                numbers.clone_from(&group);
            }
            _ if depth == 0 => outside.push(char),
            _ => group.push(char),
        }
    }
    let outside = outside.trim_end();
    let Some(before) = outside.strip_suffix(':') else {
        // The name of who speaks ends with a colon, and what is behind is its text.
        return !outside.contains(": ");
    };
    let before = before.trim_end();
    let name = before.rsplit(' ').next().unwrap_or(before);
    let zero = |text: &str| text.trim().bytes().all(|byte| byte == b'0');
    // Android's logcat: `W/kernel  (    0): `, `0     0 W kernel  : `.
    let (priority, tag) = name.split_once('/').unwrap_or(("", name));
    let tag =
        if tag.len() == 1 && tag.bytes().all(|byte| byte.is_ascii_uppercase()) { "" } else { tag };
    const KERNEL: [&str; 14] = [
        "", "kernel", "kern", "emerg", "alert", "crit", "err", "error", "warn", "warning",
        "notice", "info", "debug", "KERNEL",
    ];
    let number = before.split(' ').filter(|word| !word.is_empty()).rev().nth(1).unwrap_or("0");
    let numeric = number.bytes().all(|byte| byte.is_ascii_digit());
    let no_letters = !tag.contains(|char: char| char.is_alphabetic());
    priority.len() <= 1
        && (KERNEL.contains(&tag) || no_letters)
        && (!prefix.trim_end().ends_with("):") || zero(&numbers))
        && (!prefix.trim_end().ends_with("]:") || !tag.chars().any(char::is_alphabetic))
        && (!numeric || zero(number))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    const SPLAT: [&str; 6] = [
        "------------[ cut here ]------------",
        "WARNING: CPU: 1 PID: 314 at net/acme/sock.c:77 acme_bind+0x41/0x90",
        "Modules linked in:",
        "Call Trace:",
        " acme_ioctl+0x1/0x2",
        "---[ end trace 0000000000000000 ]---",
    ];

    #[rstest]
    #[case::logcat("03-03 12:34:56.789     0     0 W         : ", 1)]
    #[case::logcat_with_a_tag("03-03 12:34:56.789     0     0 W kernel  : ", 1)]
    #[case::logcat_brief("W/        (    0): ", 1)]
    #[case::logcat_time("03-03 12:34:56.789 W/kernel  (    0): ", 1)]
    #[case::processor("[   12.345678] c0      1 ", 1)]
    #[case::number_and_task("[   12.345678s][pid:314,cpu1,kworker/u8:3]", 1)]
    #[case::two_clocks("[  12.345 / 01-01 00:00:00.123][0] ", 1)]
    #[case::processor_and_task("[   12.345678] (CPU:0-pid:1-swapper) [02:03:04] ", 1)]
    #[case::task_at_processor("[   12.345678][T314@C0] ", 1)]
    #[case::letter("[   12.345678] I[0:      swapper/0:    1] ", 1)]
    #[case::program_in_logcat("03-03 12:34:56.789   411   411 W acmed   : ", 0)]
    #[case::program_in_logcat_brief("W/acmed   (  411): ", 0)]
    #[case::program_without_a_tag("W/        (  411): ", 0)]
    #[case::program("[   12.345678] acmed[411]: ", 0)]
    #[case::program_without_a_number("12 acmed: ", 0)]
    fn prefixes_are_learned(#[case] prefix: &str, #[case] splats: usize) {
        let log: String = SPLAT.iter().map(|line| format!("{prefix}{line}\n")).collect();
        let found = crate::scan(log);
        assert_eq!(found.len(), splats, "{found:?}");
        assert!(found.iter().all(|splat| splat.title == "WARNING in acme_bind"), "{found:?}");
    }
}
