//! Identifies a cause, so that it is shown once regardless of the number of cells it breaks.

use std::{collections::BTreeSet, fmt};

use kernlab_core::outcome::{Outcome, Reason};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::super::{CellReport, headline};

/// Twelve hexadecimal digits that identify a cause: the same in every run and on every kernel and
/// backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a verdict: its outcome and reason, the constant parts of its message and diff, and the
    /// tracer if that may be at fault.
    pub fn of(cell: &CellReport) -> Self {
        let tracer = tracer_at_fault(cell).unwrap_or_default();
        let reason = cell.reason.map(Reason::code).unwrap_or_default();
        let mut message = cause(cell).to_owned();
        for name in names(cell) {
            message = without_word(&message, name);
        }
        let diff = cell.diff.as_deref().map(changed).unwrap_or_default();
        Self::hash([cell.outcome.name(), reason, tracer, &without_numbers(&message), &diff])
    }

    /// Of changed events, given as a unified diff.
    pub(super) fn of_events(tracer: &str, diff: &str) -> Self {
        Self::hash(["events", "", tracer, "", &changed(diff)])
    }

    /// Of programs that grew, given as a sentence.
    pub(super) fn of_growth(tracer: &str, sentence: &str) -> Self {
        Self::hash(["growth", "", tracer, &without_numbers(sentence), ""])
    }

    fn hash(parts: [&str; 5]) -> Self {
        let digest = Sha256::digest(parts.join("\0"));
        Fingerprint(digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The tracer that may be at fault. A guest that can't run and an error that the kernel itself reports are the
/// same for all tracers.
fn tracer_at_fault(cell: &CellReport) -> Option<&str> {
    match cell.outcome {
        Outcome::Infra
        | Outcome::Unavailable
        | Outcome::NotRun
        | Outcome::KernelCrash
        | Outcome::KernelWarning => None,
        Outcome::Pass
        | Outcome::Fail
        | Outcome::Unsupported
        | Outcome::Timeout
        | Outcome::Flaky => Some(cell.tracer_name()),
    }
}

/// The names in a message that differ between cells with one cause.
fn names(cell: &CellReport) -> Vec<&str> {
    let of_kernel = [cell.release.as_deref(), Some(cell.kernel.as_str())];
    let names = match (cell.outcome, cell.reason) {
        // The host is named, as the kernel `host` is.
        (_, Some(Reason::GuestStarved)) => vec![],
        // The title of a splat names functions, and suites may be named like them.
        (Outcome::KernelCrash | Outcome::KernelWarning, _) => of_kernel.to_vec(),
        _ => [&[Some(cell.scenario.as_str())], &of_kernel[..]].concat(),
    };
    names.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// A text without a name, where that is not a part of a word.
fn without_word(text: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let is_in_word = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(at) = rest.find(name) {
        let (before, from) = rest.split_at(at);
        let after = &from[name.len()..];
        out.push_str(before);
        let continues = out.ends_with(is_in_word) || after.starts_with(is_in_word);
        out.push_str(if continues { name } else { "<>" });
        rest = after;
    }
    out + rest
}

/// The part of a message that depends only on the cause, such as the title of a splat.
fn cause(cell: &CellReport) -> &str {
    let (headline, _) = headline(&cell.message);
    match (cell.outcome, cell.reason) {
        (Outcome::KernelCrash | Outcome::KernelWarning, _) => {
            headline.split_once(", line ").map_or(headline, |(title, _)| title)
        }
        (_, Some(Reason::GuestStarved)) => headline,
        _ => &cell.message,
    }
}

/// The kinds of changes in a unified diff: which events appeared or vanished, and which of their
/// fields changed, but not how often, where, or in which process.
fn changed(diff: &str) -> String {
    let mut kinds = BTreeSet::new();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    // An empty line ends the last block.
    for line in diff.lines().chain([""]) {
        match line.as_bytes().first() {
            _ if line.starts_with("--- ") || line.starts_with("+++ ") => {}
            Some(b'-') => old.push(&line[1..]),
            Some(b'+') => new.push(&line[1..]),
            _ => {
                let both = old.len().min(new.len());
                kinds.extend(old.iter().zip(&new).map(|(old, new)| other_fields(old, new)));
                kinds.extend(old.drain(..).skip(both).map(|line| format!("-{}", event(line))));
                kinds.extend(new.drain(..).skip(both).map(|line| format!("+{}", event(line))));
            }
        }
    }
    kinds.into_iter().collect::<Vec<_>>().join("\n")
}

/// The changed fields of an event, or both events if they have different fields.
fn other_fields(old: &str, new: &str) -> String {
    let fields = |line| tokens(line).into_iter().map(|(key, value)| (key, value.is_some()));
    if fields(old).ne(fields(new)) {
        return format!("-{}\n+{}", event(old), event(new));
    }
    let fields = tokens(old).into_iter().zip(tokens(new)).filter_map(|(old, new)| {
        match (old.1, old == new) {
            (Some(_), true) => None,
            // A word without a value names the event.
            (None, _) => Some(without_numbers(old.0)),
            (Some(_), false) => Some(format!("{}=", old.0)),
        }
    });
    format!("~{}", fields.collect::<Vec<_>>().join(" "))
}

/// An event without its values.
fn event(line: &str) -> String {
    let fields = tokens(line).into_iter().map(|(key, value)| match value {
        Some(_) => format!("{key}="),
        None => without_numbers(key),
    });
    fields.collect::<Vec<_>>().join(" ")
}

/// Splits a line into `key=value` pairs and words. Quoted values may contain spaces.
pub(super) fn tokens(line: &str) -> Vec<(&str, Option<&str>)> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.find(|c: char| {
            match c {
                '"' if !escaped => quoted = !quoted,
                c if c.is_whitespace() && !quoted => return true,
                _ => {}
            }
            escaped = c == '\\' && !escaped;
            false
        });
        let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
        tokens.push(match token.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (token, None),
        });
        rest = after.trim_start();
    }
    tokens
}

/// Replaces numbers and addresses with `#`.
fn without_numbers(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric();
        if !is_word(first) {
            plain.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let is_address = digits.chars().all(|c| c.is_ascii_hexdigit())
            && (digits.len() >= 8 || digits.len() < word.len());
        if is_address {
            plain.push('#');
        } else {
            let mut in_number = false;
            for character in word.chars() {
                let is_digit = character.is_ascii_digit();
                match (is_digit, in_number) {
                    (true, true) => {}
                    (true, false) => plain.push('#'),
                    (false, _) => plain.push(character),
                }
                in_number = is_digit;
            }
        }
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::Verdict;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("3 events were lost", "# events were lost")]
    #[case("oops at ffffffff81012345: do_x+0x1f/0x80", "oops at #: do_x+#/#")]
    #[case("R10 type=scalar, 12.5 ms", "R# type=scalar, #.# ms")]
    #[case("a action", "a action")]
    #[case("größe 7", "größe #")]
    fn numbers_do_not_matter(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(without_numbers(text), expected);
    }

    #[rstest]
    #[case::another_value("-x fd=3 ret=1\n+x fd=4 ret=1\n", "~x fd=")]
    #[case::another_field("-x fd=3 ret=1\n+x fd=3 ret=2\n", "~x ret=")]
    #[case::many_of_a_kind("-x fd=1\n y\n-x fd=2\n", "-x fd=")]
    #[case::others(" a\n-x fd=1\n+y name=\"a b\"\n", "-x fd=\n+y name=")]
    #[case::header("--- expected\n+++ observed\n@@ -1,2 +1,3 @@\n a\n+b=1\n", "+b=")]
    fn a_diff_is_its_kinds_of_changes(#[case] diff: &str, #[case] expected: &str) {
        assert_eq!(changed(diff), expected);
    }

    /// Two cells with the same splat, but different times, addresses and callers.
    #[rstest]
    #[case::of_a_kernel_that_warned(Outcome::KernelWarning, Reason::KernelWarned, true)]
    #[case::of_a_kernel_that_crashed(Outcome::KernelCrash, Reason::KernelPanicked, true)]
    #[case::of_a_tracer_that_died(Outcome::Fail, Reason::TracerDied, false)]
    fn a_splat_is_known_by_its_title(
        #[case] outcome: Outcome,
        #[case] reason: Reason,
        #[case] alike: bool,
    ) {
        let cell = |message: &str| {
            let verdict = Verdict::because(outcome, reason, message);
            Fingerprint::of(&CellReport::of_verdict("k/masked/aya/t/s", verdict))
        };
        let first = "WARNING in do_it [warning], line 2 of kernel.log:\n[1.0] do_it\n[1.1] once";
        let other = "WARNING in do_it [warning], line 7 of console.log:\n[2.0] do_it\n[2.1] twice";
        assert_eq!(cell(first) == cell(other), alike);
        assert_ne!(cell(first), cell(&first.replace("in do_it", "in do_that")));
    }

    #[test]
    fn names_that_are_words_of_a_message_make_no_other_cause() {
        let of = |id: &str, outcome, reason, message: &str| {
            Fingerprint::of(&CellReport::of_verdict(id, Verdict::because(outcome, reason, message)))
        };
        let warning = "WARNING in vfs_open [warning], line 2 of kernel.log:\n[1.0] vfs_open";
        let warned = |id| of(id, Outcome::KernelWarning, Reason::KernelWarned, warning);
        assert_eq!(warned("k/embedded/suite/open"), warned("k/embedded/suite/write"));
        let starved =
            |id| of(id, Outcome::Infra, Reason::GuestStarved, "the host ran the guest 1 ms");
        assert_eq!(starved("host/embedded/suite/s"), starved("k/embedded/suite/s"));
        let infra = |kernel: &str| {
            let message = format!("{kernel} is not there, nor is {kernel}_x");
            of(&format!("{kernel}/masked/suite/s"), Outcome::Infra, Reason::HostIo, &message)
        };
        assert_eq!(
            infra("one-6.1"),
            of(
                "b/masked/suite/t",
                Outcome::Infra,
                Reason::HostIo,
                "b is not there, nor is one-#.#_x"
            )
        );
        let failed = |scenario: &str| {
            let message = format!("preparing {scenario}: the pipe is full");
            of(
                &format!("k/masked/aya/{scenario}"),
                Outcome::Infra,
                Reason::WorkloadFailed,
                &message,
            )
        };
        assert_eq!(failed("sys_write/threads"), failed("filetop/mixed_io"));
        assert_eq!(without_word("a-open, vfs_open open", "open"), "a-<>, vfs_open <>");
    }

    proptest! {
        #[test]
        fn any_text_has_a_fingerprint(text in "[-+ \"\\\\=0-9a-fxé\\n]{0,80}") {
            let fingerprint = Fingerprint::of_events("t", &text);
            prop_assert_eq!(fingerprint.to_string().len(), 12);
            prop_assert!(!without_numbers(&text).contains(|c: char| c.is_ascii_digit()));
        }
    }
}
