//! The verdict of a whole run in one sentence: the heading of its page.

use kernlab_core::{
    cell::CellName,
    outcome::{Outcome, Severity},
};

use super::{Report, Tally, grid::distinct, in_a_line, regression::Finding, table::counted};

/// More names are replaced by their number.
const NAMES: usize = 3;
/// How much of a message a heading has, in characters.
const MESSAGE: usize = 200;

/// `filelife fails on debian-6.1: the events differ`, or `3 of 152 cells fail`. `causes` is the result
/// of `Regression::causes` for the same report.
pub fn verdict(report: &Report, causes: &[Finding]) -> String {
    let count = |severity: Severity| {
        report.cells.iter().filter(|cell| cell.outcome.severity() == severity).count()
    };
    let (all, failing) = (report.cells.len(), count(Severity::Failure));
    let failures: Vec<_> = causes.iter().filter(|cause| is_failure(cause)).collect();
    match (failing, &failures[..]) {
        (0, _) => without_failure(report, count(Severity::Inconclusive)),
        (_, [cause]) => one_cause(cause),
        (failing, _) => {
            let fail = if failing == 1 { "fails" } else { "fail" };
            format!("{failing} of {} {fail}", counted(all, "cell"))
        }
    }
}

fn is_failure(cause: &Finding) -> bool {
    cause.category.severity() == Severity::Failure
}

/// What failed, where, and how its first cell says it.
fn one_cause(cause: &Finding) -> String {
    let names = || cause.cells.iter().map(|cell| CellName::of(cell));
    let kernels = distinct(names().map(|name| name.kernel));
    let scenarios = distinct(names().map(|name| name.scenario));
    let tracers = distinct(names().map(CellName::tracer));
    // A single scenario is named whole.
    let (what, count) = match (&scenarios[..], &tracers[..]) {
        ([scenario], _) => ((*scenario).to_owned(), 1),
        (_, tracers) => (listed(tracers, "tracer"), tracers.len()),
    };
    let fail = if count == 1 { "fails" } else { "fail" };
    let place = format!("{what} {fail} on {}", listed(&kernels, "kernel"));
    let message = in_a_line(&cause.message);
    let shown: String = message.chars().take(MESSAGE).collect();
    match (shown.is_empty(), shown == message) {
        (true, _) => place,
        (_, true) => format!("{place}: {shown}"),
        (_, false) => format!("{place}: {shown}…"),
    }
}

fn without_failure(report: &Report, unknown: usize) -> String {
    let cells = counted(report.cells.len(), "cell");
    match (report.cells.len(), unknown) {
        (0, _) => "Nothing was tested".to_owned(),
        (_, 0) if report.cells.iter().all(|cell| cell.outcome == Outcome::Pass) => {
            let pass = if report.cells.len() == 1 { "passes" } else { "pass" };
            format!("{cells} {pass}")
        }
        (_, 0) => format!("No cell fails: {}", Tally::of(&report.cells)),
        (all, unknown) if all == unknown => "Nothing is known: no cell has a result".to_owned(),
        (_, 1) => format!("1 of {cells} has no result, and no other fails"),
        (_, unknown) => format!("{unknown} of {cells} have no result, no other fails"),
    }
}

/// `a, b and c`, or `7 kernels`.
pub(crate) fn listed(names: &[&str], noun: &str) -> String {
    match names {
        [] => format!("no {noun}"),
        [one] => (*one).to_owned(),
        [first @ .., last] if names.len() <= NAMES => format!("{} and {last}", first.join(", ")),
        many => counted(many.len(), noun),
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Reason, Verdict};
    use rstest::rstest;

    use super::*;
    use crate::report::{
        CellReport,
        regression::{NoEvidence, Regression, Side},
        sample,
    };

    /// A kernel, a scenario, and why it is no pass.
    type Case = (&'static str, &'static str, Option<(Outcome, Reason)>);

    const FAIL: (Outcome, Reason) = (Outcome::Fail, Reason::EventsDiffer);
    const INFRA: (Outcome, Reason) = (Outcome::Infra, Reason::QemuFailed);
    const UNSUPPORTED: (Outcome, Reason) = (Outcome::Unsupported, Reason::MissingSymbol);

    #[rstest]
    #[case::nothing(&[], "Nothing was tested")]
    #[case::one_pass(&[("k", "t/s", None)], "1 cell passes")]
    #[case::all_pass(&[("k", "t/s", None), ("k", "t/u", None)], "2 cells pass")]
    #[case::no_failure(
        &[("k", "t/s", None), ("k", "t/u", Some(UNSUPPORTED))],
        "No cell fails: 1 pass, 1 unsupported"
    )]
    #[case::one_failure(&[("k", "t/s", None), ("k", "t/u", Some(FAIL))], "t/u fails on k: it does: so")]
    #[case::one_cause(
        &[("k", "t/s", Some(FAIL)), ("l", "t/u", Some(FAIL))],
        "t fails on k and l: it does: so"
    )]
    #[case::many_kernels(
        &[
            ("kernel-0", "t/s", Some(FAIL)),
            ("kernel-1", "t/s", Some(FAIL)),
            ("kernel-2", "t/s", Some(FAIL)),
            ("kernel-3", "t/s", Some(FAIL)),
        ],
        "t/s fails on 4 kernels: it does: so"
    )]
    #[case::causes(
        &[("k", "t/s", Some(FAIL)), ("k", "u/s", Some(FAIL)), ("k", "v/s", None)],
        "2 of 3 cells fail"
    )]
    #[case::one_unknown(
        &[("k", "t/s", None), ("k", "t/u", Some(INFRA))],
        "1 of 2 cells has no result, and no other fails"
    )]
    #[case::all_unknown(&[("k", "t/u", Some(INFRA))], "Nothing is known: no cell has a result")]
    fn a_run_in_a_sentence(#[case] cells: &[Case], #[case] expected: &str) {
        let cell = |&(kernel, scenario, outcome): &Case| {
            let verdict = match outcome {
                None => Verdict::pass(),
                Some((outcome, reason)) => {
                    Verdict::because(outcome, reason, "it does:\n  so\nmore")
                }
            };
            CellReport::of_verdict(&format!("{kernel}/masked/aya/{scenario}"), verdict)
        };
        let report = Report { cells: cells.iter().map(cell).collect(), ..sample::report() };
        let causes = Regression::causes(Side { report: &report, evidence: &NoEvidence });
        assert_eq!(verdict(&report, &causes), expected);
    }
}
