//! What a suite expects of kernels, compared with what it did.

use std::collections::BTreeMap;

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use strsim::osa_distance;

use super::SuiteInput;
use crate::suite::{manifest::Expectation, spelling::nearest};

/// How many letters of a name a typo changes at most.
const SLIP: usize = 2;

/// Compares the verdict with what the suite expects of kernels such as this one.
pub(super) fn of_expectations(input: &SuiteInput<'_>, verdict: Verdict) -> Verdict {
    let SuiteInput { suite, kernel, .. } = *input;
    // Nothing can be said about such a cell, so nothing can be expected.
    if matches!(verdict.outcome, Outcome::Infra | Outcome::Unavailable | Outcome::NotRun)
        && verdict.reason != Some(Reason::SetupFailed)
    {
        return verdict;
    }
    for expectation in &suite.expect {
        let holds = match kernel {
            Some(kernel) => expectation.when.holds(kernel).map_err(|error| error.to_string()),
            None => Err("the kernel has no dossier".to_owned()),
        };
        match holds {
            Ok(false) => {}
            Ok(true) => return of_expectation(expectation, verdict),
            Err(why) => {
                let undecided = Verdict::because(Outcome::Infra, Reason::ExpectationUndecided, why);
                let is_examined = kernel.is_some_and(|kernel| {
                    kernel.whole.is_some() || expectation.when.other_functions().is_empty()
                });
                // Nothing is known because the examination failed: that is the reason, then.
                let failure = input.examination_failure.filter(|_| !is_examined);
                let mut verdict = failure.cloned().unwrap_or(undecided);
                let when = expectation.when.text();
                let unknown = format!("whether `{when}` holds on this kernel is unknown: ");
                verdict.message.insert_str(0, &unknown);
                return verdict;
            }
        }
    }
    verdict
}

/// Whether the suite expects a failure on this kernel.
pub(super) fn is_known_to_fail(input: &SuiteInput<'_>) -> bool {
    let holds = |expectation: &Expectation| {
        input.kernel.is_some_and(|kernel| expectation.when.holds(kernel) == Ok(true))
    };
    input.suite.expect.iter().any(holds)
}

fn of_expectation(expectation: &Expectation, verdict: Verdict) -> Verdict {
    let Expectation { when, outcome, code, reason: why, .. } = expectation;
    let when = when.text();
    if verdict.outcome == Outcome::Pass {
        let message = format!(
            "it passes, but is expected to end with `{}` where `{when}` holds ({why}): remove the \
             expectation",
            outcome.outcome()
        );
        return Verdict::because(Outcome::Fail, Reason::ExpectationStale, message);
    }
    // Without a golden snapshot, there is nothing yet that the events could differ from.
    let reason = match verdict.reason {
        Some(Reason::SnapshotMissing) => Some(Reason::EventsDiffer),
        other => other,
    };
    let is_expected = code.is_none_or(|code| [verdict.reason, reason].contains(&Some(code)));
    if verdict.outcome != outcome.outcome() || !is_expected {
        return verdict;
    }
    let message = format!("{why} (`{when}`); the verdict was: {}", verdict.message);
    Verdict::because(Outcome::Unsupported, Reason::ExpectedFailure, message)
}

/// The functions that expectations name, each with a remark if the kernel lacks it and has one of
/// almost that name. Only if all kernels do, it is a typo.
pub(super) fn named_functions(input: &SuiteInput<'_>) -> BTreeMap<String, Option<String>> {
    let Some(whole) = input.kernel.and_then(|kernel| kernel.whole) else {
        return BTreeMap::new();
    };
    let suite = &input.suite;
    let names = suite.expect.iter().flat_map(|expectation| expectation.when.other_functions());
    let told = |name: &str| {
        let rule = format!("symbol.{name}");
        if whole.function_names.contains(name) {
            return Some((rule, None));
        }
        let known = whole.function_names.iter().map(String::as_str);
        let other = nearest(name, known.filter(|known| osa_distance(name, known) <= SLIP))?;
        let suite = &suite.name;
        let remark = format!(
            "{suite}: no kernel of this run has `{rule}`, which `expect` names: did you mean \
             `symbol.{other}`?"
        );
        Some((rule, Some(remark)))
    };
    names.filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;
    use crate::suite::manifest::{ExpectedOutcome, Project};

    #[test]
    fn only_the_outcome_that_is_expected_is_expected() {
        for (name, expected) in ExpectedOutcome::ALL {
            let text = format!(
                "[[suite]]\nname = \"a\"\nrun = [\"a\"]\nexpect = [{{ when = \"btf\", outcome = \
                 \"{name}\", reason = \"known\" }}]\n"
            );
            let project = Project::parse(Path::new("kernlab.toml"), &text).unwrap();
            let expectation = &project.suites[0].expect[0];
            for outcome in Outcome::ALL {
                let judged = of_expectation(expectation, Verdict { outcome, ..Verdict::pass() });
                let known = match outcome {
                    Outcome::Pass => Outcome::Fail,
                    _ if outcome.name() == name => Outcome::Unsupported,
                    other => other,
                };
                assert_eq!(judged.outcome, known, "{expected:?} {outcome}");
            }
        }
    }

    #[rstest]
    #[case::expected(Outcome::Fail, Some(Reason::TracerDied), Some(Reason::ExpectedFailure))]
    #[case::of_another_reason(
        Outcome::Fail,
        Some(Reason::EventsDiffer),
        Some(Reason::EventsDiffer)
    )]
    #[case::nothing_to_differ_from(
        Outcome::Fail,
        Some(Reason::SnapshotMissing),
        Some(Reason::SnapshotMissing)
    )]
    #[case::another_outcome(Outcome::Timeout, Some(Reason::TracerDied), Some(Reason::TracerDied))]
    #[case::none(Outcome::Pass, None, Some(Reason::ExpectationStale))]
    fn a_failure_is_expected_with_its_outcome_and_reason(
        #[case] outcome: Outcome,
        #[case] reason: Option<Reason>,
        #[case] expected: Option<Reason>,
    ) {
        let text = "[[suite]]\nname = \"a\"\nrun = [\"a\"]\nexpect = [{ when = \"btf\", outcome = \
                    \"fail\", code = \"tracer-died\", reason = \"known\" }]\n";
        let project = Project::parse(Path::new("kernlab.toml"), text).unwrap();
        let verdict = Verdict { outcome, reason, ..Verdict::pass() };
        let judged = of_expectation(&project.suites[0].expect[0], verdict);
        assert_eq!(judged.reason, expected, "{}", judged.message);
        let is_expected = expected == Some(Reason::ExpectedFailure);
        assert_eq!(judged.outcome == Outcome::Unsupported, is_expected);
    }
}
