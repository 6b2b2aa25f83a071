//! What the kernel printed while a cell ran, against what `kernels.toml` expects it to print.

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use kernlab_splat::Splat;

use crate::splat::Complaints;

/// The verdict on a cell whose events got `verdict`, and whose kernel complained.
///
/// Without an expectation, any splat outweighs what the tracer reported. With one, exactly one splat
/// whose title contains `expected` has to be there for a pass, and no other.
pub(super) fn weigh(verdict: Verdict, complaints: &Complaints, expected: Option<&str>) -> Verdict {
    let splats = complaints.splats();
    let is_expected = |splat: &Splat| expected.is_some_and(|part| splat.title.contains(part));
    let unexpected = || splats.iter().filter(|splat| !is_expected(splat));
    // What crashed is more than what warned on the way there.
    if let Some(splat) = unexpected().find(|splat| splat.kind.is_crash()).or(unexpected().next()) {
        return complaints.verdict(splat);
    }
    match (expected, splats) {
        (Some(expected), []) if verdict.outcome == Outcome::Pass => Verdict::because(
            Outcome::Fail,
            Reason::DeviationStale,
            format!(
                "the kernel did not print the warning {expected:?} that kernels.toml names: remove \
                 the deviation if the kernel was repaired"
            ),
        ),
        (Some(expected), [_, _, ..]) => Verdict::because(
            Outcome::KernelWarning,
            Reason::KernelWarned,
            format!(
                "the kernel printed {} warnings with {expected:?} where kernels.toml names one",
                splats.len()
            ),
        ),
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const EXPECTED: &str = "[    1.000001] WARNING: CPU: 0 PID: 9 at arch/x86/mm/extable.c:77 \
                            ex_handler_uaccess+0x52/0x60\n";
    const AGAIN: &str = "[    1.000002] WARNING: CPU: 1 PID: 9 at arch/x86/mm/extable.c:77 \
                         ex_handler_uaccess+0x52/0x60\n";
    const OTHER: &str =
        "[    1.000003] BUG: sleeping function called from invalid context at mm/slub.c:12\n";
    const CRASH: &str = "[    1.000004] divide error: 0000 [#1] SMP\n";

    #[rstest]
    #[case::silence(&[], None, None)]
    #[case::a_warning(&[EXPECTED], None, Some(Reason::KernelWarned))]
    #[case::the_expected_one(&[EXPECTED], Some("ex_handler_uaccess"), None)]
    #[case::none_at_all(&[], Some("ex_handler_uaccess"), Some(Reason::DeviationStale))]
    #[case::another(&[OTHER], Some("ex_handler_uaccess"), Some(Reason::KernelWarned))]
    #[case::one_more(&[EXPECTED, OTHER], Some("ex_handler_uaccess"), Some(Reason::KernelWarned))]
    #[case::twice(&[EXPECTED, AGAIN], Some("ex_handler_uaccess"), Some(Reason::KernelWarned))]
    #[case::it_died(&[OTHER, CRASH], None, Some(Reason::KernelPanicked))]
    fn warnings_are_expected_or_not(
        #[case] splats: &[&str],
        #[case] expected: Option<&str>,
        #[case] reason: Option<Reason>,
    ) {
        let log = splats.concat();
        let verdict = weigh(Verdict::pass(), &Complaints::of(&log, ""), expected);
        assert_eq!(verdict.reason, reason);
    }

    #[rstest]
    #[case::as_expected(&[EXPECTED])]
    #[case::not_even_that(&[])]
    fn an_expected_warning_makes_no_failure_a_pass(#[case] splats: &[&str]) {
        let failed = Verdict::because(Outcome::Fail, Reason::EventsDiffer, "they differ");
        let log = splats.concat();
        let complaints = Complaints::of(&log, "");
        assert_eq!(weigh(failed.clone(), &complaints, Some("ex_handler_uaccess")), failed);
    }
}
