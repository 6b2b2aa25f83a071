//! From what a guest recorded to a verdict. Pure.

use kernlab_core::{
    normalise::normalise,
    outcome::{Outcome, Reason, Verdict},
    record::{Decision, Observation, Record},
};
use similar::TextDiff;

/// A verdict with what explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What became of the cell.
    pub verdict: Verdict,
    /// The events as text, if there were any to judge.
    pub events: Option<String>,
    /// Expected against observed, as a unified diff, if they differ.
    pub diff: Option<String>,
    /// The events are what the workload says that it did, whatever a snapshot says.
    pub confirmed: bool,
    /// What the verifier said.
    pub verifier_log: Option<String>,
}

impl Judgement {
    fn of(verdict: Verdict) -> Self {
        Judgement { verdict, events: None, diff: None, confirmed: false, verifier_log: None }
    }
}

/// The snapshots that a cell is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Golden<'a> {
    /// The scenario's own, shared by all kernels and both backends.
    pub shared: Option<&'a str>,
    /// The one of a named deviation, which holds instead.
    pub deviation: Option<&'a str>,
}

/// Judges one record.
pub fn judge(record: &Record, golden: Golden<'_>) -> Judgement {
    match (&record.decision, &record.observation) {
        (Decision::Unsupported(unsupported), None) => Judgement::of(Verdict::because(
            Outcome::Unsupported,
            unsupported.reason,
            unsupported.message.clone(),
        )),
        (Decision::Unsupported(_), Some(_)) | (Decision::Plan { .. }, None) => {
            Judgement::of(Verdict::because(
                Outcome::Fail,
                Reason::TracerDied,
                "the tracer's record contradicts itself: its plan and its observation don't match",
            ))
        }
        (_, Some(Observation::Failed { reason, message, verifier_log })) => {
            // A workload that could not do its deeds says nothing about the tracer.
            let outcome = match reason {
                Reason::WorkloadFailed => Outcome::Infra,
                _ => Outcome::Fail,
            };
            Judgement {
                verifier_log: verifier_log.clone(),
                ..Judgement::of(Verdict::because(outcome, *reason, message.clone()))
            }
        }
        (_, Some(Observation::Traced { events, lost, left_behind, account })) => {
            if let Err(clash) = account.names.check() {
                return Judgement::of(Verdict::because(
                    Outcome::Infra,
                    Reason::WorkloadFailed,
                    format!("the workload's account is ambiguous: {clash}"),
                ));
            }
            let observed = normalise(events, &account.names);
            let done = normalise(&account.did, &account.names);
            let (verdict, diff) = compare(&observed, &done, *lost, *left_behind, golden);
            let confirmed = *lost == 0 && done == observed;
            Judgement { events: Some(observed), diff, confirmed, ..Judgement::of(verdict) }
        }
    }
}

fn compare(
    observed: &str,
    done: &str,
    lost: u64,
    left_behind: u64,
    golden: Golden<'_>,
) -> (Verdict, Option<String>) {
    let fail = |reason, message: String| Verdict::because(Outcome::Fail, reason, message);
    if lost > 0 {
        let message = format!("the kernel dropped {lost} events for which the buffer had no room");
        return (fail(Reason::EventsLost, message), None);
    }
    if done != observed {
        let message = "the events are not what the workload says that it did".to_owned();
        return (fail(Reason::EventsDiffer, message), Some(unified_diff(done, observed)));
    }
    let Some(expected) = golden.deviation.or(golden.shared) else {
        let message = "there is no golden snapshot of this scenario: read the events, then run the \
                       same command with --update-snapshots";
        return (fail(Reason::SnapshotMissing, message.to_owned()), None);
    };
    if golden.deviation.is_some() && golden.shared == Some(observed) {
        let message = "the events equal the shared snapshot, so the deviation that kernels.toml \
                       names no longer occurs: remove it";
        return (fail(Reason::DeviationStale, message.to_owned()), None);
    }
    if expected != observed {
        let (verdict, diff) = differs_from_snapshot(expected, observed);
        return (verdict, Some(diff));
    }
    if left_behind > 0 {
        let message = format!("the tracer left {left_behind} entries behind for calls that ended");
        return (fail(Reason::StateLeftBehind, message), None);
    }
    (Verdict::pass(), None)
}

/// The verdict on events that the workload confirms and the snapshot doesn't, with their diff.
pub fn differs_from_snapshot(expected: &str, observed: &str) -> (Verdict, String) {
    let message = "tracer and workload agree with each other, but not with the golden snapshot: if \
                   the new events are right, run the same command with --update-snapshots";
    let verdict = Verdict::because(Outcome::Fail, Reason::EventsDiffer, message);
    (verdict, unified_diff(expected, observed))
}

fn unified_diff(expected: &str, observed: &str) -> String {
    TextDiff::from_lines(expected, observed)
        .unified_diff()
        .context_radius(3)
        .header("expected", "observed")
        .to_string()
}

#[cfg(test)]
mod tests {
    use kernlab_core::{
        account::{Account, NameClass},
        event::{Action, Event},
        facts::Trial,
        plan::{BufferKind, ReadHelper, TypeSource, Unsupported},
    };
    use rstest::rstest;

    use super::*;

    fn write(fd: i32) -> Event {
        let action = Action::Write { fd, count: 5, ret: 5 };
        Event { pid: 7, tid: 7, comm: "workload".into(), action }
    }

    fn plan() -> Decision {
        Decision::Plan {
            attach: vec![],
            buffer: BufferKind::Ring,
            read: ReadHelper::Split,
            types: TypeSource::Core,
            ring_buffer: Trial::Yes,
        }
    }

    fn traced(events: Vec<Event>, did: Vec<Event>, lost: u64, left_behind: u64) -> Record {
        let mut account = Account { did, ..Account::default() };
        account.names.add(NameClass::Task, 7, "workload").unwrap();
        Record {
            release: "6.1.0".into(),
            decision: plan(),
            observation: Some(Observation::Traced { events, lost, left_behind, account }),
        }
    }

    const GOLDEN: &str = "pid=<workload> tid=<workload> comm=workload write fd=3 count=5 ret=5\n";

    #[rstest]
    #[case::as_it_should_be(3, 3, 0, 0, Some(GOLDEN), None)]
    #[case::not_what_was_done(4, 3, 0, 0, Some(GOLDEN), Some(Reason::EventsDiffer))]
    #[case::not_what_was_expected(4, 4, 0, 0, Some(GOLDEN), Some(Reason::EventsDiffer))]
    #[case::lost(3, 3, 1, 0, Some(GOLDEN), Some(Reason::EventsLost))]
    #[case::left_behind(3, 3, 0, 2, Some(GOLDEN), Some(Reason::StateLeftBehind))]
    #[case::no_snapshot(3, 3, 0, 0, None, Some(Reason::SnapshotMissing))]
    fn events_are_judged(
        #[case] observed: i32,
        #[case] did: i32,
        #[case] lost: u64,
        #[case] left_behind: u64,
        #[case] shared: Option<&str>,
        #[case] expected: Option<Reason>,
    ) {
        let record = traced(vec![write(observed)], vec![write(did)], lost, left_behind);
        let judgement = judge(&record, Golden { shared, deviation: None });
        assert_eq!(judgement.verdict.reason, expected, "{judgement:?}");
        assert_eq!(judgement.diff.is_some(), expected == Some(Reason::EventsDiffer));
    }

    #[test]
    fn a_deviation_holds_until_it_no_longer_occurs() {
        let deviation = GOLDEN.replace("fd=3", "fd=4");
        let golden = Golden { shared: Some(GOLDEN), deviation: Some(&deviation) };
        let deviates = traced(vec![write(4)], vec![write(4)], 0, 0);
        assert_eq!(judge(&deviates, golden).verdict, Verdict::pass());
        let stale = traced(vec![write(3)], vec![write(3)], 0, 0);
        assert_eq!(judge(&stale, golden).verdict.reason, Some(Reason::DeviationStale));
    }

    #[test]
    fn two_tasks_of_one_name_are_never_a_pass() {
        let mut record = traced(vec![write(3)], vec![write(3)], 0, 0);
        let Some(Observation::Traced { account, .. }) = &mut record.observation else {
            unreachable!("made above")
        };
        account.names =
            serde_json::from_str(r#"{"task": {"7": "workload", "8": "workload"}}"#).unwrap();
        let verdict = judge(&record, Golden::default()).verdict;
        assert_eq!(
            (verdict.outcome, verdict.reason),
            (Outcome::Infra, Some(Reason::WorkloadFailed))
        );
    }

    #[test]
    fn what_the_plan_says_is_repeated_and_never_guessed() {
        let unsupported = Unsupported { reason: Reason::MissingSymbol, message: "no f".into() };
        let mut record = Record {
            release: String::new(),
            decision: Decision::Unsupported(unsupported),
            observation: None,
        };
        let verdict = judge(&record, Golden::default()).verdict;
        assert_eq!(verdict.outcome, Outcome::Unsupported);
        record.decision = plan();
        let verdict = judge(&record, Golden::default()).verdict;
        assert_eq!((verdict.outcome, verdict.reason), (Outcome::Fail, Some(Reason::TracerDied)));
    }
}
