//! Claims that kernels lack something, held against the kernels where the same scenario works.

use std::collections::{BTreeMap, BTreeSet};

use kernlab_core::{
    outcome::{Outcome, Reason},
    record::Decision,
};

use crate::report::CellReport;

/// A remark on the scenarios of a tracer that are unsupported on every kernel that ran them: a mistake in
/// the plan would look the same. What a trial in the guest has shown needs no second kernel.
pub(crate) fn remarks(cells: &[CellReport]) -> Vec<String> {
    let works: BTreeSet<&str> = cells
        .iter()
        .filter(|cell| matches!(cell.plan, Some(Decision::Plan { .. })))
        .map(|cell| cell.scenario.as_str())
        .collect();
    let mut claims: BTreeMap<(&str, Reason), Claim<'_>> = BTreeMap::new();
    for cell in cells {
        let (Outcome::Unsupported, Some(reason), Some(Decision::Unsupported(_))) =
            (cell.outcome, cell.reason, &cell.plan)
        else {
            continue;
        };
        // The guest tried to create the map.
        if reason == Reason::HelperUnavailable || works.contains(cell.scenario.as_str()) {
            continue;
        }
        let claim = claims.entry((cell.tracer_name(), reason)).or_default();
        claim.scenarios.insert(&cell.scenario);
        claim.kernels.insert(&cell.kernel);
        claim.cells += 1;
    }
    claims.into_iter().map(|((_, reason), claim)| claim.remark(reason)).collect()
}

/// Cells of one tracer that are unsupported for one reason.
#[derive(Default)]
struct Claim<'a> {
    scenarios: BTreeSet<&'a str>,
    kernels: BTreeSet<&'a str>,
    cells: usize,
}

impl Claim<'_> {
    fn remark(&self, reason: Reason) -> String {
        let scenarios: Vec<_> = self.scenarios.iter().copied().collect();
        let kernels: Vec<_> = self.kernels.iter().copied().collect();
        let count = match self.cells {
            1 => "the only cell".to_owned(),
            cells => format!("all {cells} cells"),
        };
        format!(
            "{}: unsupported ({reason}) in {count} (on {}), and no kernel of this run shows that it works \
             anywhere: the claim is not confirmed",
            scenarios.join(", "),
            kernels.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::{outcome::Verdict, plan::Unsupported};
    use rstest::rstest;

    use super::{super::test_support::plan, *};

    fn unsupported(kernel: &str, scenario: &str, reason: Reason) -> CellReport {
        let verdict = Verdict::because(Outcome::Unsupported, reason, "no");
        let mut cell = CellReport::of_verdict(&format!("{kernel}/masked/aya/{scenario}"), verdict);
        cell.plan = Some(Decision::Unsupported(Unsupported { reason, message: "no".to_owned() }));
        cell
    }

    fn planned(kernel: &str, scenario: &str, verdict: Verdict) -> CellReport {
        let mut cell = CellReport::of_verdict(&format!("{kernel}/masked/aya/{scenario}"), verdict);
        cell.plan = Some(plan());
        cell
    }

    const MISSING: Reason = Reason::MissingConfig;

    #[test]
    fn what_works_nowhere_is_told_once_for_a_tracer() {
        let cells = [
            unsupported("a", "new/one", MISSING),
            unsupported("b", "new/one", MISSING),
            unsupported("a", "new/two", MISSING),
            planned("a", "old/one", Verdict::pass()),
        ];
        let expected = "new/one, new/two: unsupported (missing-config) in all 3 cells (on a, b), and no \
                        kernel of this run shows that it works anywhere: the claim is not confirmed";
        assert_eq!(remarks(&cells), [expected]);
        assert!(remarks(&cells[3..]).is_empty());
        assert!(remarks(&cells[..1])[0].contains(" in the only cell (on a)"));
    }

    #[rstest]
    #[case::works_elsewhere(planned("b", "new/one", Verdict::pass()), 0)]
    #[case::was_tried_elsewhere(
        planned("b", "new/one", Verdict::because(Outcome::Fail, Reason::EventsDiffer, "")),
        0
    )]
    #[case::another_works(planned("b", "new/two", Verdict::pass()), 1)]
    fn a_kernel_that_has_it_confirms_the_claim(#[case] other: CellReport, #[case] expected: usize) {
        let cells = [unsupported("a", "new/one", MISSING), other];
        assert_eq!(remarks(&cells).len(), expected);
    }

    #[test]
    fn a_trial_confirms_itself() {
        let cells = [unsupported("a", "new/one", Reason::HelperUnavailable)];
        assert!(remarks(&cells).is_empty());
    }
}
