//! A verdict on events is `pass` exactly if tracer, workload and snapshot mean the same.
//!
//! Events are made up in terms of the workload ("the second thread renames, with the first cookie"), and
//! told three times: as the workload's ground truth, as the tracer's events, both with the numbers of one
//! run, and as a snapshot, which this module writes itself. What each of them means is compared before
//! there are any numbers.

mod steps;

use kernlab_core::{
    event::{Action, Event},
    ground_truth::GroundTruth,
    outcome::{Outcome, Reason},
    record::{Leftover, Observation, Record},
    scenario::Scenario,
};
use proptest::{prelude::*, sample::Index};

use self::steps::{
    COMMS, Run, Step, THREADS, What, known, mean_the_same, run, snapshot, step, steps, what,
};
use super::{
    super::test_support::{plan, record, traced_beside as traced},
    Golden, judge,
};

/// What may become of events on the way to the judge.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Extra(Index, Step),
    ExtraAtTheEnd(Step),
    Twice(Index),
    Missing(Index),
    MissingAtTheEnd,
    Swapped(Index, Index),
    /// Two writes of one thread are told as one.
    Merged(Index),
    Renamed(Index, usize),
    ByAnother(Index, usize),
    ByAStranger(Index),
    Instead(Index, What),
    /// Threads are told one after the other: they mean the same.
    Sorted,
    Reversed,
}

impl Change {
    fn of(&self, steps: &[Step]) -> Vec<Step> {
        let mut steps = steps.to_vec();
        let len = steps.len();
        match self {
            Change::Nothing => {}
            Change::Extra(at, step) => steps.insert(at.index(len + 1), step.clone()),
            Change::ExtraAtTheEnd(step) => steps.push(step.clone()),
            Change::MissingAtTheEnd => drop(steps.pop()),
            Change::Sorted => steps.sort_by_key(|step| step.thread),
            Change::Reversed => steps.reverse(),
            _ if len == 0 => {}
            Change::Twice(at) => steps.insert(at.index(len), steps[at.index(len)].clone()),
            Change::Missing(at) => drop(steps.remove(at.index(len))),
            Change::Swapped(one, other) => steps.swap(one.index(len), other.index(len)),
            Change::Merged(at) => {
                let at = at.index(len);
                let next = steps.get(at + 1).cloned();
                if let (
                    What::Write { count, ret, .. },
                    Some(Step { what: What::Write { count: more, ret: more_done, .. }, .. }),
                ) = (&mut steps[at].what, next)
                {
                    *count += more;
                    *ret += more_done;
                    steps.remove(at + 1);
                }
            }
            Change::Renamed(at, comm) => steps[at.index(len)].comm = *comm,
            Change::ByAnother(at, thread) => steps[at.index(len)].thread = *thread,
            Change::ByAStranger(at) => steps[at.index(len)].thread = THREADS.len(),
            Change::Instead(at, what) => steps[at.index(len)].what = what.clone(),
        }
        steps
    }
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        3 => Just(Change::Nothing),
        1 => (index(), step()).prop_map(|(at, step)| Change::Extra(at, step)),
        1 => step().prop_map(Change::ExtraAtTheEnd),
        1 => index().prop_map(Change::Twice),
        1 => index().prop_map(Change::Missing),
        1 => Just(Change::MissingAtTheEnd),
        2 => (index(), index()).prop_map(|(one, other)| Change::Swapped(one, other)),
        1 => index().prop_map(Change::Merged),
        1 => (index(), 0..COMMS.len()).prop_map(|(at, comm)| Change::Renamed(at, comm)),
        1 => (index(), 0..THREADS.len()).prop_map(|(at, to)| Change::ByAnother(at, to)),
        1 => index().prop_map(Change::ByAStranger),
        1 => (index(), what()).prop_map(|(at, what)| Change::Instead(at, what)),
        1 => Just(Change::Sorted),
        1 => Just(Change::Reversed),
    ]
}

/// Up to two of them, one after the other: what one breaks, the other may mend.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 0..3)
}

fn changed(steps: &[Step], changes: &[Change]) -> Vec<Step> {
    changes.iter().fold(steps.to_vec(), |steps, change| change.of(&steps))
}

fn threads() -> &'static Scenario {
    Scenario::by_id("sys_write/threads").unwrap()
}

fn of(observation: Observation) -> Record {
    record(plan(), Some(observation))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_pass_means_the_same(
        did in steps(),
        numbers in run(),
        on_the_way in changes(),
        agreed in changes(),
    ) {
        let (observed, golden) = (changed(&did, &on_the_way), known(changed(&did, &agreed)));
        let mut truth = numbers.names();
        truth.events = numbers.events(&did);
        // The workload does not know exactly how long a file lived.
        let tracer = Run { within: 99 - numbers.within, ..numbers };
        let record = of(traced(tracer.events(&observed), truth));
        let golden_text = snapshot(&golden);
        let golden_text = Golden { shared: Some(&golden_text), deviation: None };
        let judgement = judge(threads(), &record, golden_text);

        let same = mean_the_same(&observed, &did) && mean_the_same(&did, &golden);
        let passes = judgement.verdict.outcome == Outcome::Pass;
        prop_assert_eq!(passes, same, "{:?}", judgement);
        prop_assert_eq!(judgement.confirmed, mean_the_same(&observed, &did));
        if !passes {
            prop_assert_eq!(judgement.verdict.reason, Some(Reason::EventsDiffer));
            let diff = judgement.diff.unwrap();
            prop_assert!(diff.lines().skip(2).any(|line| line.starts_with(['+', '-'])), "{}", diff);
        }
    }

    /// A deviation replaces the snapshot, which must say something else then.
    #[test]
    fn a_pass_means_what_the_deviation_says(
        did in steps(),
        numbers in run(),
        on_the_way in changes(),
        shared in changes(),
        deviation in changes(),
    ) {
        let observed = changed(&did, &on_the_way);
        let [shared, deviation] = [shared, deviation].map(|it| known(changed(&did, &it)));
        let mut truth = numbers.names();
        truth.events = numbers.events(&did);
        let record = of(traced(numbers.events(&observed), truth));
        let (shared_text, deviation_text) = (snapshot(&shared), snapshot(&deviation));
        let golden = Golden { shared: Some(&shared_text), deviation: Some(&deviation_text) };
        let verdict = judge(threads(), &record, golden).verdict;

        let confirmed = mean_the_same(&observed, &did);
        let expected = confirmed && mean_the_same(&did, &deviation) && !mean_the_same(&did, &shared);
        prop_assert_eq!(verdict.outcome == Outcome::Pass, expected, "{}", verdict.message);
        let is_stale = verdict.reason == Some(Reason::DeviationStale);
        prop_assert_eq!(is_stale, confirmed && mean_the_same(&did, &shared), "{}", verdict.message);
    }

    /// One name for two values, or two for one, or ranges of two that share a value: whatever was seen, it
    /// means nothing.
    #[test]
    fn ambiguous_names_are_never_a_pass(
        did in steps(),
        numbers in run(),
        class in prop::sample::select(vec!["task", "cookie", "lifetime", "port", "address"]),
        one in 0..2_usize,
        ambiguity in 0..3_usize,
    ) {
        let mut truth = numbers.names();
        truth.events = numbers.events(&did);
        let mut names = serde_json::to_value(&truth.names).unwrap();
        let known = names[class][one].clone();
        let mut other = known.clone();
        match ambiguity {
            0 => {
                other["first"] = (1_u64 << 60).into();
                other["last"] = (1_u64 << 60).into();
            }
            1 => other["name"] = "another".into(),
            _ => {
                other["name"] = "another".into();
                other["first"] = known["last"].clone();
                other["last"] = (known["last"].as_u64().unwrap() + 50).into();
            }
        }
        names[class].as_array_mut().unwrap().push(other);
        truth.names = serde_json::from_value(names).unwrap();
        let record = of(traced(numbers.events(&did), truth));
        let golden = snapshot(&did);
        let verdict = judge(threads(), &record, Golden { shared: Some(&golden), deviation: None });
        prop_assert_eq!(verdict.verdict.outcome, Outcome::Infra);
    }

    /// Whatever was missed, or stayed, is told even if the events are right.
    #[test]
    fn what_was_missed_is_never_a_pass(
        did in steps(),
        numbers in run(),
        missed in prop::array::uniform5(prop_oneof![3 => Just(0_u64), 1 => any::<u64>()]),
    ) {
        let mut truth = numbers.names();
        truth.events = numbers.events(&did);
        let mut observation = traced(numbers.events(&did), truth);
        let Observation::Traced { lost, losses, skipped, left_behind, still_loaded, .. } =
            &mut observation
        else { unreachable!("made above") };
        let places = [lost, skipped, still_loaded, &mut losses.births];
        for (place, value) in places.into_iter().zip(missed) {
            *place = value;
        }
        if missed[4] != 0 {
            let leftover = Leftover { entries: missed[4], expected: 0 };
            left_behind.insert("pending".to_owned(), leftover);
        }
        let golden = snapshot(&did);
        let golden = Golden { shared: Some(&golden), deviation: None };
        let verdict = judge(threads(), &of(observation), golden).verdict;
        prop_assert_eq!(verdict.outcome == Outcome::Pass, missed == [0; 5], "{}", verdict.message);
    }

    /// Each write of a burst arrived once, or is told to be lost.
    #[test]
    fn a_burst_passes_if_it_adds_up(
        captured in prop::collection::vec((0..3_u32, 1..6_u64, 0..3_u64, 0..6_u64), 0..4),
        lost in 0..12_u64,
        overflows in any::<bool>(),
    ) {
        const CALLS: u64 = 5;
        let id = if overflows { "sys_write/overflow_perf" } else { "sys_write/burst_ring" };
        let scenario = Scenario::by_id(id).unwrap();
        prop_assert!(scenario.burst().is_some());
        let writes = |thread: u32, calls, shortest, longest| {
            let action = Action::Writes { fd: 3, calls, shortest, longest };
            Event { pid: 7, tid: 7 + thread, comm: "w".to_owned(), action }
        };
        let did: Vec<_> = (0..2).map(|thread| writes(thread, CALLS, 1, CALLS)).collect();
        let observed: Vec<_> = captured
            .iter()
            .map(|&(thread, shortest, more, calls)| writes(thread, calls, shortest, shortest + more))
            .collect();

        // The third thread is a stranger. No thread makes more calls than lengths, nor is told twice.
        let fits = captured.iter().all(|&(thread, shortest, more, calls)| {
            thread < 2 && shortest + more <= CALLS && calls <= more + 1
        });
        let mut tellers: Vec<u32> = captured.iter().map(|&(thread, ..)| thread).collect();
        tellers.sort_unstable();
        let once = tellers.windows(2).all(|pair| pair[0] != pair[1]);
        let sum: u64 = captured.iter().map(|&(.., calls)| calls).sum();
        let expected = fits && once && sum + lost == 2 * CALLS && (lost > 0) == overflows;

        let mut observation =
            traced(observed, GroundTruth { events: did, ..GroundTruth::default() });
        let Observation::Traced { lost: told, .. } = &mut observation else {
            unreachable!("made above")
        };
        *told = lost;
        let state = if overflows { "some" } else { "none" };
        let golden = format!("captured + lost = {}\nlost: {state}\n", 2 * CALLS);
        let golden = Golden { shared: Some(&golden), deviation: None };
        let verdict = judge(scenario, &of(observation), golden).verdict;
        prop_assert_eq!(verdict.outcome == Outcome::Pass, expected, "{}", verdict.message);
    }
}
