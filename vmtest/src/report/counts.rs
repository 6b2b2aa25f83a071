//! A run in a few numbers, for programs: how many cells had which outcome, and what changed.

use std::collections::BTreeMap;

use kernlab_core::outcome::Severity;
use serde::Serialize;

use super::{Report, Tally, regression::Regression};

/// Which failures fail a run that is compared with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// What got worse.
    New,
    /// All of them.
    Any,
}

/// How a run ended, for a program that decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// Nothing that counts failed.
    Pass,
    /// Something did.
    Fail,
    /// It is not known.
    Unknown,
}

impl Conclusion {
    /// As in JSON: `pass`.
    pub fn name(self) -> &'static str {
        match self {
            Conclusion::Pass => "pass",
            Conclusion::Fail => "fail",
            Conclusion::Unknown => "unknown",
        }
    }
}

impl From<Severity> for Conclusion {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Expected => Conclusion::Pass,
            Severity::Failure => Conclusion::Fail,
            Severity::Inconclusive => Conclusion::Unknown,
        }
    }
}

/// The numbers of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All cells.
    pub cells: usize,
    /// The cells by outcome: `fail`.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// The cells by category of a comparison, as in its JSON: `new-failure`. Empty without one.
    pub changes: BTreeMap<&'static str, usize>,
}

impl Counts {
    /// Counts the cells of a run, and what a comparison found.
    pub fn of(report: &Report, comparison: Option<&Regression>) -> Self {
        let tally = Tally::of(&report.cells);
        let changes = comparison.map(Regression::counts).unwrap_or_default();
        Counts {
            cells: report.cells.len(),
            outcomes: tally.counts().map(|(outcome, count)| (outcome.name(), count)).collect(),
            changes: changes
                .into_iter()
                .map(|(category, count)| (category.name(), count))
                .collect(),
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        match serde_json::to_string(self) {
            Ok(text) => text,
            Err(error) => unreachable!("counts are plain data: {error}"),
        }
    }
}

/// How bad a run is. Without a comparison every failure is new.
pub fn severity(report: &Report, comparison: Option<&Regression>, fail_on: FailOn) -> Severity {
    match (comparison, fail_on) {
        (Some(comparison), FailOn::New) => comparison.severity(),
        (Some(comparison), FailOn::Any) => {
            // A cell that vanished is in no tally.
            comparison.severity().max(Tally::of(&report.cells).severity())
        }
        (None, _) => Tally::of(&report.cells).severity(),
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Outcome, Verdict};
    use rstest::rstest;

    use super::{
        super::{
            CellReport,
            regression::{NoEvidence, Side},
            sample,
        },
        *,
    };

    fn run(cells: &[(&str, Outcome)]) -> Report {
        let cell = |(name, outcome): &(&str, Outcome)| {
            let verdict = Verdict { outcome: *outcome, reason: None, message: String::new() };
            CellReport::of_verdict(&format!("k/embedded/suite/{name}"), verdict)
        };
        Report { cells: cells.iter().map(cell).collect(), ..sample::report() }
    }

    fn compare(base: &Report, head: &Report) -> Regression {
        let side = |report| Side { report, evidence: &NoEvidence };
        Regression::of_runs(side(base), side(head))
    }

    #[rstest]
    #[case::known(Outcome::Fail, Outcome::Fail, Severity::Expected, Severity::Failure)]
    #[case::new(Outcome::Pass, Outcome::Fail, Severity::Failure, Severity::Failure)]
    #[case::unknown(Outcome::Infra, Outcome::Fail, Severity::Inconclusive, Severity::Failure)]
    #[case::lost(Outcome::Pass, Outcome::NotRun, Severity::Inconclusive, Severity::Inconclusive)]
    #[case::well(Outcome::Pass, Outcome::Pass, Severity::Expected, Severity::Expected)]
    fn what_fails_a_run(
        #[case] before: Outcome,
        #[case] after: Outcome,
        #[case] new: Severity,
        #[case] any: Severity,
    ) {
        let head = run(&[("a", after)]);
        let comparison = compare(&run(&[("a", before)]), &head);
        assert_eq!(severity(&head, Some(&comparison), FailOn::New), new);
        assert_eq!(severity(&head, Some(&comparison), FailOn::Any), any);
        assert_eq!(severity(&head, None, FailOn::New), any, "without a base all failures count");
    }

    #[test]
    fn a_cell_that_vanished_fails_both() {
        let head = run(&[("a", Outcome::Pass)]);
        let comparison = compare(&run(&[("a", Outcome::Pass), ("b", Outcome::Fail)]), &head);
        for fail_on in [FailOn::New, FailOn::Any] {
            assert_eq!(severity(&head, Some(&comparison), fail_on), Severity::Failure);
        }
    }

    #[test]
    fn numbers_are_one_line() {
        let head = run(&[("a", Outcome::Fail), ("b", Outcome::Pass), ("c", Outcome::Pass)]);
        let alone = Counts::of(&head, None).to_json();
        assert_eq!(alone, r#"{"cells":3,"outcomes":{"fail":1,"pass":2},"changes":{}}"#);
        let before = run(&[("a", Outcome::Pass), ("b", Outcome::Pass)]);
        let compared = Counts::of(&head, Some(&compare(&before, &head))).to_json();
        let changes = r#""changes":{"new-cell":1,"new-failure":1}}"#;
        assert!(compared.ends_with(changes), "{compared}");
    }
}
