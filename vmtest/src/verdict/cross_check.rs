//! Compares one scenario on one kernel under both backends, to find which of them is at fault.

use std::io;

use kernlab_core::outcome::{Outcome, Reason, Verdict};

use super::ReadText;
use crate::report::CellReport;

/// Where a cell's events differ from the snapshot and the other backend saw different events, the
/// verdict says so: the kernel alone can't explain that.
pub(super) fn compare(
    cells: &mut [CellReport],
    events: ReadText<'_, CellReport>,
) -> io::Result<()> {
    for index in 0..cells.len() {
        let cell = &cells[index];
        if (cell.outcome, cell.reason) != (Outcome::Fail, Some(Reason::EventsDiffer)) {
            continue;
        }
        let Some(twin) = cells.iter().find(|other| differ_only_in_backend(cell, other)) else {
            continue;
        };
        let (Some(ours), Some(theirs)) = (events(cell)?, events(twin)?) else { continue };
        if without_unnamed(&ours) != without_unnamed(&theirs) {
            let verdict = differs(&cell.backend, &twin.backend, twin.outcome);
            cells[index].set_verdict(verdict);
        }
    }
    Ok(())
}

/// Drops the numbers that differ from guest to guest: those of tasks, ports, cookies and the like
/// that normalisation did not name.
fn without_unnamed(events: &str) -> String {
    /// The text before such a number in the output of `kernlab_core::normalise`.
    const KEYS: [&str; 5] = ["pid=", "tid=", "cookie=", "lifetime=", "read(0x"];
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let word = |word: &str| {
        if let Some(key) = KEYS.iter().find(|key| word.starts_with(**key)) {
            let rest =
                word[key.len()..].trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
            return format!("{key}{rest}");
        }
        match word.rsplit_once(':') {
            Some((address, port)) if is_number(port.trim_end()) => format!("{address}:\n"),
            _ => word.to_owned(),
        }
    };
    events.split_inclusive([' ', '\n']).map(word).collect()
}

fn differ_only_in_backend(one: &CellReport, other: &CellReport) -> bool {
    one.backend != other.backend
        && (&one.kernel, &one.btf, &one.scenario) == (&other.kernel, &other.btf, &other.scenario)
}

fn differs(ours: &str, theirs: &str, their_outcome: Outcome) -> Verdict {
    let theirs = match their_outcome {
        Outcome::Pass => format!("but those of {theirs} do: look for the fault in {ours}"),
        _ => format!("and those of {theirs} differ in another way"),
    };
    let message =
        format!("on this kernel the events of {ours} do not match the golden snapshot, {theirs}");
    Verdict::because(Outcome::Fail, Reason::BackendsDiffer, message)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn failed() -> Verdict {
        Verdict::because(Outcome::Fail, Reason::EventsDiffer, "they differ")
    }

    #[rstest]
    #[case("pid=71 tid=<workload> x", "pid=72 tid=<workload> x", true)]
    #[case("pid=71 tid=71 x", "pid=71 tid=72 x", true)]
    #[case("lifetime=5000 name=\"a\"", "lifetime=49 name=\"a\"", true)]
    #[case("local=127.0.0.1:32167\n", "local=127.0.0.1:5\n", true)]
    #[case("local=127.0.0.1:<client>\n", "local=127.0.0.1:5\n", false)]
    #[case("remote=[::1]:7\n", "remote=[::2]:7\n", false)]
    #[case("cookie=19 name=\"a\"", "cookie=20 name=\"a\"", true)]
    #[case("read(0x7f00) = x", "read(0x7f10) = x", true)]
    #[case("fd=3 count=5", "fd=3 count=6", false)]
    fn unnamed_numbers_make_no_difference(
        #[case] one: &str,
        #[case] other: &str,
        #[case] same: bool,
    ) {
        assert_eq!(without_unnamed(one) == without_unnamed(other), same);
    }

    #[rstest]
    #[case::one_is_wrong("good", Verdict::pass(), Reason::BackendsDiffer)]
    #[case::both_are_wrong("worse", failed(), Reason::BackendsDiffer)]
    #[case::the_kernel_differs("bad", failed(), Reason::EventsDiffer)]
    fn a_difference_between_backends_is_told(
        #[case] theirs: &str,
        #[case] their_verdict: Verdict,
        #[case] expected: Reason,
    ) {
        let mut cells = Vec::new();
        for (backend, verdict) in [("libbpf", failed()), ("aya", their_verdict.clone())] {
            cells.push(CellReport::of_verdict(&format!("k/masked/{backend}/t/s"), verdict));
        }
        let events = |cell: &CellReport| {
            Ok(Some(if cell.backend == "libbpf" { "bad" } else { theirs }.to_owned()))
        };
        compare(&mut cells, &events).unwrap();
        assert_eq!(cells[0].reason, Some(expected), "{}", cells[0].message);
        assert_eq!(cells[1].outcome, their_verdict.outcome);
        let blamed = "those of aya do: look for the fault in libbpf";
        assert_eq!(cells[0].message.contains(blamed), their_verdict.outcome == Outcome::Pass);
    }

    /// What a mode does to both backends is no difference between them.
    #[test]
    fn backends_are_compared_in_one_mode() {
        let mut cells = Vec::new();
        for (mode, verdict) in [("masked", failed()), ("embedded", Verdict::pass())] {
            for backend in ["libbpf", "aya"] {
                let id = format!("k/{mode}/{backend}/t/s");
                cells.push(CellReport::of_verdict(&id, verdict.clone()));
            }
        }
        let events = |cell: &CellReport| Ok(Some(cell.btf.clone()));
        let before = cells.clone();
        compare(&mut cells, &events).unwrap();
        assert_eq!(cells, before);
    }
}
