//! What several cells say together.

use kernlab_core::outcome::{Outcome, Severity};

use crate::report::CellReport;

/// Whether a tool works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// Some cells pass, and none fails.
    Works,
    /// None passes, and none fails: the tool says why it can't work.
    Unsupported,
    /// Nothing is known.
    Unknown,
    /// At least one fails.
    Fails,
}

impl Status {
    pub(super) fn of<'a>(cells: impl IntoIterator<Item = &'a CellReport>) -> Self {
        let (mut passes, mut unsupported) = (false, false);
        for cell in cells {
            match (cell.outcome.severity(), cell.outcome) {
                (Severity::Failure, _) => return Status::Fails,
                (_, Outcome::Pass) => passes = true,
                (Severity::Expected, _) => unsupported = true,
                (Severity::Inconclusive, _) => {}
            }
        }
        match (passes, unsupported) {
            (true, _) => Status::Works,
            (_, true) => Status::Unsupported,
            _ => Status::Unknown,
        }
    }

    /// In a table, for those who see it.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Status::Works => "✓",
            Status::Unsupported => "–",
            Status::Unknown => "?",
            Status::Fails => "✗",
        }
    }

    /// In words.
    pub(super) fn word(self) -> &'static str {
        match self {
            Status::Works => "works",
            Status::Unsupported => "not supported",
            Status::Unknown => "not known",
            Status::Fails => "fails",
        }
    }

    /// The outcome whose colour it has.
    pub(super) fn class(self) -> &'static str {
        match self {
            Status::Works => "pass",
            Status::Unsupported => "unsupported",
            Status::Unknown => "infra",
            Status::Fails => "fail",
        }
    }
}

/// An outcome as the status of a single cell.
pub(super) fn of_outcome(outcome: Outcome) -> Status {
    match (outcome.severity(), outcome) {
        (Severity::Failure, _) => Status::Fails,
        (Severity::Inconclusive, _) => Status::Unknown,
        (_, Outcome::Pass) => Status::Works,
        (Severity::Expected, _) => Status::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::Verdict;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], Status::Unknown)]
    #[case(&[Outcome::Pass, Outcome::Unsupported, Outcome::Infra], Status::Works)]
    #[case(&[Outcome::Unsupported, Outcome::NotRun], Status::Unsupported)]
    #[case(&[Outcome::Unavailable], Status::Unknown)]
    #[case(&[Outcome::Pass, Outcome::Flaky], Status::Fails)]
    fn one_failure_is_enough(#[case] outcomes: &[Outcome], #[case] expected: Status) {
        let cell = |&outcome: &Outcome| {
            let verdict = Verdict { outcome, reason: None, message: String::new() };
            CellReport::of_verdict("k/masked/aya/t/s", verdict)
        };
        let cells: Vec<_> = outcomes.iter().map(cell).collect();
        assert_eq!(Status::of(&cells), expected);
    }
}
