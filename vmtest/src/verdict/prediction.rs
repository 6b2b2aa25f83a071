//! Compares the plan of a guest's tracer with the plan that the kernel's dossier predicts.

use kernlab_core::{
    outcome::{Outcome, Reason, Severity, Verdict},
    record::Decision,
};

/// The predictions for a cell from its kernel's dossier, as far as there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prediction {
    /// The plan in the cell's BTF mode.
    pub(crate) decision: Option<Decision>,
    /// The plan with the kernel's own type information, which may be hidden in the guest.
    pub(crate) with_types: Option<Decision>,
}

impl Prediction {
    /// Fails a cell whose guest made another plan than predicted: then predictions about other
    /// kernels can't be trusted either.
    pub(super) fn checked(&self, verdict: Verdict, observed: &Decision) -> Verdict {
        let Some(predicted) = &self.decision else { return verdict };
        if predicted.agrees_with(observed) || verdict.outcome.severity() != Severity::Expected {
            return verdict;
        }
        let message = format!("predicted {predicted}; observed {observed}");
        Verdict::because(Outcome::Fail, Reason::PredictionDiffers, message)
    }

    /// Fails a memory search that did not find what the kernel's own type information has.
    pub(super) fn with_types_checked(&self, verdict: Verdict) -> Verdict {
        let not_found = (verdict.outcome, verdict.reason)
            == (Outcome::Unsupported, Some(Reason::LayoutNotFound));
        if !(not_found && matches!(self.with_types, Some(Decision::Plan { .. }))) {
            return verdict;
        }
        let message = format!(
            "{}; the kernel's own type information, where it is not hidden, has what is needed: look \
             for the fault in the search",
            verdict.message
        );
        Verdict::because(Outcome::Fail, Reason::LayoutNotFound, message)
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::plan::Unsupported;
    use rstest::rstest;

    use super::{super::test_support::plan, *};

    fn refusal() -> Unsupported {
        Unsupported { reason: Reason::MissingSymbol, message: "no f".into() }
    }

    #[rstest]
    #[case::as_predicted(Some(plan()), Verdict::pass(), None)]
    #[case::nothing_predicted(None, Verdict::pass(), None)]
    #[case::otherwise(
        Some(Decision::Unsupported(refusal())),
        Verdict::pass(),
        Some(Reason::PredictionDiffers)
    )]
    #[case::it_failed_anyway(
        Some(Decision::Unsupported(refusal())),
        Verdict::because(Outcome::Fail, Reason::EventsLost, "some"),
        Some(Reason::EventsLost)
    )]
    fn what_was_not_predicted_is_our_failure(
        #[case] predicted: Option<Decision>,
        #[case] verdict: Verdict,
        #[case] expected: Option<Reason>,
    ) {
        let prediction = Prediction { decision: predicted, with_types: None };
        let applied = prediction.checked(verdict, &plan());
        assert_eq!(applied.reason, expected);
        if expected == Some(Reason::PredictionDiffers) {
            assert_eq!(
                applied.message,
                "predicted unsupported (missing-symbol): no f; observed supported, at  \
                 (buffer ring, reads split, types core, layout btf)"
            );
        }
    }

    #[rstest]
    #[case::in_other_words(Reason::MissingSymbol, Outcome::Unsupported)]
    #[case::for_another_reason(Reason::MissingBtf, Outcome::Fail)]
    fn a_refusal_is_predicted_with_its_reason(#[case] reason: Reason, #[case] expected: Outcome) {
        let decision = Some(Decision::Unsupported(refusal()));
        let observed = Decision::Unsupported(Unsupported { reason, message: "no g".into() });
        let verdict = Verdict::because(Outcome::Unsupported, reason, "no g");
        let prediction = Prediction { decision, with_types: None };
        assert_eq!(prediction.checked(verdict, &observed).outcome, expected);
    }

    #[rstest]
    #[case::btf_has_it(Reason::LayoutNotFound, Some(plan()), Outcome::Fail)]
    #[case::there_is_no_btf(
        Reason::LayoutNotFound,
        Some(Decision::Unsupported(refusal())),
        Outcome::Unsupported
    )]
    #[case::nobody_knows(Reason::LayoutNotFound, None, Outcome::Unsupported)]
    #[case::nothing_to_be_found(Reason::MissingBtf, Some(plan()), Outcome::Unsupported)]
    fn a_search_must_find_what_btf_has(
        #[case] reason: Reason,
        #[case] with_types: Option<Decision>,
        #[case] expected: Outcome,
    ) {
        let verdict = Verdict::because(Outcome::Unsupported, reason, "no offset");
        let applied = Prediction { decision: None, with_types }.with_types_checked(verdict);
        assert_eq!((applied.outcome, applied.reason), (expected, Some(reason)));
    }
}
