//! How a fact is known: from a guest, from the kernel's dossier, or from both.

use kernlab_core::{
    outcome::{Outcome, Severity},
    record::Decision,
};

use crate::report::CellReport;

/// The source of what is said of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It ran; nothing was predicted.
    Observed,
    /// It was predicted, and did not run.
    Predicted,
    /// It was predicted, and so it was.
    Both,
    /// It was predicted otherwise.
    Contradicted,
    /// Neither.
    Unknown,
}

impl Known {
    pub(super) fn of(cell: &CellReport) -> Self {
        let ran = cell.outcome.severity() != Severity::Inconclusive;
        let missing = cell.tracer.as_ref().is_some_and(|t| !t.predicted_missing.is_empty());
        let as_predicted = match (&cell.predicted, &cell.plan) {
            (Some(predicted), Some(plan)) => Some(predicted.agrees_with(plan)),
            (Some(Decision::Unsupported(_)), None) => Some(cell.outcome == Outcome::Unsupported),
            (Some(Decision::Plan { .. }), None) => Some(cell.outcome != Outcome::Unsupported),
            // A BPF object for which something is missing should not work.
            (None, _) => missing.then_some(cell.outcome != Outcome::Pass),
        };
        match (ran, as_predicted) {
            (true, None) => Known::Observed,
            (true, Some(true)) => Known::Both,
            (true, Some(false)) => Known::Contradicted,
            (false, Some(_)) => Known::Predicted,
            (false, None) => Known::Unknown,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Known::Observed => "observed",
            Known::Predicted => "predicted",
            Known::Both => "predicted and observed",
            Known::Contradicted => "observed, predicted otherwise",
            Known::Unknown => "not known",
        }
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::{
        outcome::{Reason, Verdict},
        plan::Unsupported,
    };
    use rstest::rstest;

    use super::*;
    use crate::report::TracerReport;

    #[rstest]
    #[case(Outcome::Pass, None, false, Known::Observed)]
    #[case(Outcome::Unsupported, Some(Reason::MissingSymbol), false, Known::Both)]
    #[case(Outcome::Pass, Some(Reason::MissingSymbol), false, Known::Contradicted)]
    #[case(Outcome::NotRun, Some(Reason::MissingSymbol), false, Known::Predicted)]
    #[case(Outcome::NotRun, None, false, Known::Unknown)]
    #[case(Outcome::Fail, None, true, Known::Both)]
    #[case(Outcome::Pass, None, true, Known::Contradicted)]
    fn how_it_is_known(
        #[case] outcome: Outcome,
        #[case] predicted: Option<Reason>,
        #[case] missing: bool,
        #[case] expected: Known,
    ) {
        let verdict = Verdict { outcome, reason: None, message: String::new() };
        let mut cell = CellReport::of_verdict("k/masked/aya/t/s", verdict);
        let unsupported = |reason| Unsupported { reason, message: String::new() };
        cell.predicted = predicted.map(|reason| Decision::Unsupported(unsupported(reason)));
        if missing {
            let predicted_missing = vec!["no map type `ringbuf`".to_owned()];
            cell.tracer = Some(TracerReport { predicted_missing, ..TracerReport::default() });
        }
        assert_eq!(Known::of(&cell), expected);
    }
}
