//! Whether what a run says is what it must say.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An outcome and a reason; the reason is empty for a pass.
pub(super) type Verdict = (String, String);

/// Verdicts that name a fault.
pub(super) type Allowed = &'static [(&'static str, &'static str)];

/// What a soak reads of a report: docs/report-schema.md.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Report {
    pub(super) cells: Vec<Cell>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cell {
    kernel: String,
    btf: String,
    backend: String,
    scenario: String,
    outcome: String,
    reason: Option<String>,
    #[serde(default)]
    message: String,
}

impl Cell {
    /// Its name in the report's words.
    pub(super) fn id(&self) -> String {
        let Cell { kernel, btf, backend, scenario, .. } = self;
        format!("{kernel}/{btf}/{backend}/{scenario}")
    }

    pub(super) fn verdict(&self) -> Verdict {
        (self.outcome.clone(), self.reason.clone().unwrap_or_default())
    }

    /// Its verdict in words.
    pub(super) fn described(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or("no reason");
        let first: String = self.message.chars().take(300).collect();
        format!("{}: {} ({reason}): {first}", self.id(), self.outcome)
    }
}

/// What is right for the cells of a run without a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Each has this verdict.
    Always(&'static str, &'static str),
    /// Each passes or can't work on its kernel, and always in the same way.
    PassOrUnsupported,
}

/// How a cell's verdict relates to what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Judged {
    /// As without a fault.
    Right,
    /// It names the fault.
    NamesFault,
    /// The host did not run the guest, and the verdict says so.
    Starved,
    Wrong,
}

/// Judges verdicts, and remembers those of cells of the matrix.
#[derive(Debug, Default)]
pub(super) struct Judge {
    seen: BTreeMap<String, Verdict>,
}

impl Judge {
    pub(super) fn judge(&mut self, cell: &Cell, right: &Right, allowed: Allowed) -> Judged {
        let (outcome, reason) = cell.verdict();
        let is_right = match right {
            Right::Always(expected, because) => (&*outcome, &*reason) == (*expected, *because),
            Right::PassOrUnsupported => {
                matches!(&*outcome, "pass" | "unsupported")
                    && *self.seen.entry(cell.id()).or_insert_with(|| cell.verdict())
                        == cell.verdict()
            }
        };
        if is_right {
            Judged::Right
        } else if allowed.contains(&(&*outcome, &*reason)) {
            Judged::NamesFault
        } else if reason == "guest-starved" {
            Judged::Starved
        } else {
            Judged::Wrong
        }
    }
}

/// The exit code that belongs to a run with these cells: docs/exit-codes.md.
pub(super) fn exit_code(cells: &[Cell]) -> i32 {
    let severity = |cell: &Cell| match &*cell.outcome {
        "pass" | "unsupported" => 0,
        "infra" | "unavailable" | "not-run" => 1,
        _ => 2,
    };
    match cells.iter().map(severity).max() {
        Some(2) => 1,
        Some(1) => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn cell(verdict: &str) -> Cell {
        let (outcome, reason) = verdict.split_once(' ').unwrap_or((verdict, ""));
        Cell {
            kernel: "k".to_owned(),
            btf: "embedded".to_owned(),
            backend: "suite".to_owned(),
            scenario: "s".to_owned(),
            outcome: outcome.to_owned(),
            reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
            message: String::new(),
        }
    }

    const FAULT: Allowed = &[("infra", "qemu-failed")];

    #[rstest]
    #[case::as_without_a_fault("fail events-differ", Judged::Right)]
    #[case::the_fault("infra qemu-failed", Judged::NamesFault)]
    #[case::another_fault("infra host-io", Judged::Wrong)]
    #[case::a_pass("pass", Judged::Wrong)]
    #[case::a_busy_host("infra guest-starved", Judged::Starved)]
    fn a_known_verdict(#[case] verdict: &str, #[case] expected: Judged) {
        let right = Right::Always("fail", "events-differ");
        assert_eq!(Judge::default().judge(&cell(verdict), &right, FAULT), expected);
    }

    #[test]
    fn a_cell_of_the_matrix_always_ends_in_the_same_way() {
        let mut judge = Judge::default();
        let mut judge = |verdict| judge.judge(&cell(verdict), &Right::PassOrUnsupported, FAULT);
        assert_eq!(judge("fail events-differ"), Judged::Wrong);
        assert_eq!(judge("pass"), Judged::Right);
        assert_eq!(judge("infra qemu-failed"), Judged::NamesFault);
        assert_eq!(judge("unsupported missing-symbol"), Judged::Wrong);
        assert_eq!(judge("pass"), Judged::Right);
    }

    #[rstest]
    #[case(&["pass", "unsupported missing-btf"], 0)]
    #[case(&["pass", "not-run interrupted"], 3)]
    #[case(&["infra host-io", "timeout not-ready"], 1)]
    fn exit_codes(#[case] verdicts: &[&str], #[case] expected: i32) {
        let cells: Vec<_> = verdicts.iter().map(|verdict| cell(verdict)).collect();
        assert_eq!(exit_code(&cells), expected);
    }
}
