//! Compares the splats that a kernel printed during a cell with the known ones.

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use kernlab_splat::{AllowList, Splat};

use super::GuestSplats;
use crate::{console::shorten, lab::CpuTime, report::AllowedSplat};

/// The splats that a kernel may print.
#[derive(Clone, Copy, Debug)]
pub struct SplatPolicy<'a> {
    /// The warning that a deviation in `kernels.toml` names: part of a title. It must appear.
    pub expected: Option<&'a str>,
    /// What `splats.toml` allows. It may appear.
    pub allow: &'a AllowList,
}

/// A verdict, and the splats that did not change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOutcome {
    /// The verdict on the cell.
    pub verdict: Verdict,
    /// The splats without consequence.
    pub allowed: Vec<AllowedSplat>,
}

impl PolicyOutcome {
    pub(super) fn unchanged(verdict: Verdict) -> Self {
        PolicyOutcome { verdict, allowed: Vec::new() }
    }
}

impl SplatPolicy<'_> {
    /// Amends the verdict on a cell by the splats of its kernel.
    ///
    /// Every unknown splat outranks the tracer's result. An expected warning must appear exactly
    /// once for a pass. A crash is never allowed.
    pub fn apply(
        &self,
        verdict: Verdict,
        guest_splats: &GuestSplats,
        cpu_time: CpuTime,
    ) -> PolicyOutcome {
        let SplatPolicy { expected, .. } = *self;
        let is_expected = |splat: &&Splat| {
            !splat.kind.is_crash() && expected.is_some_and(|part| splat.title.contains(part))
        };
        let (as_expected, others): (Vec<_>, Vec<_>) =
            guest_splats.splats().iter().partition(is_expected);
        let (known, unknown): (Vec<_>, Vec<_>) = others
            .into_iter()
            .map(|splat| (splat, self.entry(splat)))
            .partition(|of| of.1.is_some());
        let mut allowed: Vec<_> = known.into_iter().filter_map(|(_, entry)| entry).collect();
        allowed.sort();
        allowed.dedup();
        let unknown: Vec<_> = unknown.into_iter().map(|(splat, _)| splat).collect();
        let verdict = of_unknown(&unknown, guest_splats, cpu_time)
            .unwrap_or_else(|| of_expected(verdict, expected, as_expected.len()));
        PolicyOutcome { verdict, allowed }
    }

    /// Whether a splat has no consequence.
    pub(super) fn allows(&self, splat: &Splat) -> bool {
        self.entry(splat).is_some()
    }

    fn entry(&self, splat: &Splat) -> Option<AllowedSplat> {
        let entry = self.allow.entry(splat).filter(|_| !splat.kind.is_crash())?;
        let (reason, link) = (entry.reason.clone(), entry.link.clone());
        Some(AllowedSplat { title: shorten(&splat.title), reason, link })
    }
}

/// The verdict for unknown splats: a crash outranks a warning that came before it, and a warning
/// outranks complaints that a slow host may cause.
fn of_unknown(splats: &[&Splat], guest_splats: &GuestSplats, cpu_time: CpuTime) -> Option<Verdict> {
    let first = |is: fn(&Splat) -> bool| splats.iter().find(|splat| is(splat));
    let worst =
        first(|splat| splat.kind.is_crash()).or_else(|| first(|splat| !splat.kind.is_slowness()));
    if let Some(splat) = worst {
        return Some(guest_splats.verdict(splat));
    }
    let mut verdict = guest_splats.verdict(splats.first()?);
    if cpu_time.is_starved() {
        (verdict.outcome, verdict.reason) = (Outcome::Infra, Some(Reason::GuestStarved));
        verdict.message = format!(
            "the guest's kernel complains about delays, but the host ran the guest for only \
             {cpu_time}, so the result is inconclusive: repeat it on a host that is less busy\n{}",
            verdict.message
        );
    }
    Some(verdict)
}

/// The verdict if all splats are known.
fn of_expected(verdict: Verdict, expected: Option<&str>, count: usize) -> Verdict {
    match (expected, count) {
        (Some(expected), 0) if verdict.outcome == Outcome::Pass => Verdict::because(
            Outcome::Fail,
            Reason::DeviationStale,
            format!(
                "the kernel did not print the warning {expected:?} that kernels.toml names: remove \
                 the deviation if the kernel was repaired"
            ),
        ),
        (Some(expected), 2..) => Verdict::because(
            Outcome::KernelWarning,
            Reason::KernelWarned,
            format!(
                "the kernel printed {count} warnings with {expected:?} where kernels.toml names one"
            ),
        ),
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kernlab_splat::AllowEntry;
    use rstest::rstest;

    use super::*;

    const EXPECTED: &str = "[    1.000001] WARNING: CPU: 0 PID: 9 at arch/x86/mm/extable.c:77 \
                            ex_handler_uaccess+0x52/0x60\n";
    const AGAIN: &str = "[    1.000002] WARNING: CPU: 1 PID: 9 at arch/x86/mm/extable.c:77 \
                         ex_handler_uaccess+0x52/0x60\n";
    const OTHER: &str =
        "[    1.000003] BUG: sleeping function called from invalid context at mm/slub.c:12\n";
    const CRASH: &str = "[    1.000004] divide error: 0000 [#1] SMP\n";
    const STUCK: &str =
        "[   30.000001] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [tracer:9]\n";

    /// The CPU time of a guest that was busy all the time.
    const BUSY: CpuTime =
        CpuTime { passed: Duration::from_secs(23), processor: Duration::from_secs(22) };
    const STARVED: CpuTime =
        CpuTime { passed: Duration::from_secs(31), processor: Duration::from_millis(900) };

    fn apply(
        verdict: Verdict,
        log: &str,
        policy: SplatPolicy<'_>,
        cpu_time: CpuTime,
    ) -> PolicyOutcome {
        policy.apply(verdict, &GuestSplats::of(log, ""), cpu_time)
    }

    #[rstest]
    #[case::silence(&[], None, None)]
    #[case::a_warning(&[EXPECTED], None, Some(Reason::KernelWarned))]
    #[case::the_expected_one(&[EXPECTED], Some("ex_handler_uaccess"), None)]
    #[case::none_at_all(&[], Some("ex_handler_uaccess"), Some(Reason::DeviationStale))]
    #[case::another(&[OTHER], Some("ex_handler_uaccess"), Some(Reason::KernelWarned))]
    #[case::one_more(&[EXPECTED, OTHER], Some("ex_handler_uaccess"), Some(Reason::KernelWarned))]
    #[case::twice(&[EXPECTED, AGAIN], Some("ex_handler_uaccess"), Some(Reason::KernelWarned))]
    #[case::it_died(&[OTHER, CRASH], None, Some(Reason::KernelPanicked))]
    #[case::it_was_stuck(&[STUCK], None, Some(Reason::KernelWarned))]
    fn warnings_are_expected_or_not(
        #[case] splats: &[&str],
        #[case] expected: Option<&str>,
        #[case] reason: Option<Reason>,
    ) {
        let known = SplatPolicy { expected, allow: &AllowList::default() };
        let applied = apply(Verdict::pass(), &splats.concat(), known, BUSY);
        assert_eq!((applied.verdict.reason, applied.allowed), (reason, vec![]));
    }

    #[rstest]
    #[case::as_expected(&[EXPECTED])]
    #[case::not_even_that(&[])]
    fn an_expected_warning_makes_no_failure_a_pass(#[case] splats: &[&str]) {
        let failed = Verdict::because(Outcome::Fail, Reason::EventsDiffer, "they differ");
        let known =
            SplatPolicy { expected: Some("ex_handler_uaccess"), allow: &AllowList::default() };
        assert_eq!(apply(failed.clone(), &splats.concat(), known, BUSY).verdict, failed);
    }

    /// Checks allowed splats: the verdict, and how many are reported.
    #[rstest]
    #[case::one(&[EXPECTED], "WARNING in ex_handler_*", None, 1)]
    #[case::often(&[EXPECTED, AGAIN], "WARNING in ex_handler_*", None, 1)]
    #[case::none(&[], "WARNING in ex_handler_*", None, 0)]
    #[case::another(&[EXPECTED, OTHER], "WARNING in ex_handler_*", Some(Reason::KernelWarned), 1)]
    #[case::only_part_of_a_title(&[EXPECTED], "WARNING in ex", Some(Reason::KernelWarned), 0)]
    #[case::a_crash(&[CRASH], "divide error*", Some(Reason::KernelPanicked), 0)]
    fn a_known_splat_is_told_and_has_no_consequence(
        #[case] splats: &[&str],
        #[case] title: &str,
        #[case] reason: Option<Reason>,
        #[case] count: usize,
    ) {
        let entry = AllowEntry {
            title: title.to_owned(),
            reason: "known".to_owned(),
            link: "https://example.org".to_owned(),
        };
        let known = SplatPolicy { expected: None, allow: &AllowList { allow: vec![entry] } };
        let applied = apply(Verdict::pass(), &splats.concat(), known, BUSY);
        assert_eq!((applied.verdict.reason, applied.allowed.len()), (reason, count));
        let titles = applied.allowed.iter().map(|splat| splat.title.as_str());
        assert!(titles.eq(vec!["WARNING in ex_handler_uaccess"; count]));
    }

    /// A third of a busy host is what a stuck guest gets of one with three times as much to do.
    #[rstest]
    #[case::busy_host(10.0, Reason::KernelWarned)]
    #[case::a_little_more(6.1, Reason::KernelWarned)]
    #[case::stopped_guest(5.9, Reason::GuestStarved)]
    fn a_guest_that_ran_is_blamed(#[case] seconds: f64, #[case] expected: Reason) {
        let (passed, processor) = (Duration::from_secs(30), Duration::from_secs_f64(seconds));
        let policy = SplatPolicy { expected: None, allow: &AllowList::default() };
        let applied = apply(Verdict::pass(), STUCK, policy, CpuTime { passed, processor });
        assert_eq!(applied.verdict.reason, Some(expected));
    }

    /// What kernels.toml expects is a warning.
    #[test]
    fn no_crash_is_expected() {
        let policy = SplatPolicy { expected: Some("divide"), allow: &AllowList::default() };
        let applied = apply(Verdict::pass(), CRASH, policy, BUSY);
        assert_eq!(applied.verdict.outcome, Outcome::KernelCrash);
    }

    #[rstest]
    #[case::stuck(&[STUCK], Outcome::Infra, Reason::GuestStarved)]
    #[case::a_bug_too(&[STUCK, OTHER], Outcome::KernelWarning, Reason::KernelWarned)]
    #[case::a_crash_too(&[STUCK, CRASH], Outcome::KernelCrash, Reason::KernelPanicked)]
    fn a_guest_that_did_not_run_is_not_blamed_for_the_time(
        #[case] splats: &[&str],
        #[case] outcome: Outcome,
        #[case] reason: Reason,
    ) {
        let known = SplatPolicy { expected: None, allow: &AllowList::default() };
        let failed = Verdict::because(Outcome::Fail, Reason::EventsDiffer, "they differ");
        for verdict in [Verdict::pass(), failed] {
            let applied = apply(verdict, &splats.concat(), known, STARVED);
            let Verdict { outcome: observed, reason: why, message } = applied.verdict;
            assert_eq!((observed, why), (outcome, Some(reason)), "{message}");
            let is_explained = message.contains("the host ran the guest for only 0.9 of 31.0 s");
            assert_eq!(is_explained, reason == Reason::GuestStarved, "{message}");
        }
    }
}
