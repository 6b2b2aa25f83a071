use kernlab_core::event::{Action, Event};
use rstest::rstest;

use super::{
    super::test_support::{self, SCENARIO, plan, record, write},
    *,
};

fn traced(events: Vec<Event>, expected: Vec<Event>, missed: Missed<'_>) -> Record {
    let mut observation = test_support::traced(events, expected);
    if let Observation::Traced { lost, losses, skipped, left_behind, still_loaded, .. } =
        &mut observation
    {
        *lost = missed.lost;
        *losses = missed.losses;
        *skipped = missed.skipped;
        left_behind.clone_from(missed.left_behind);
        *still_loaded = missed.still_loaded;
    }
    record(plan(), Some(observation))
}

fn scenario() -> &'static Scenario {
    Scenario::by_id(SCENARIO).unwrap()
}

static NO_MAP: BTreeMap<String, Leftover> = BTreeMap::new();

const NOTHING: Missed<'_> = Missed {
    lost: 0,
    losses: Losses::NONE,
    excess: 0,
    buffer: BufferKind::Ring,
    skipped: 0,
    left_behind: &NO_MAP,
    still_loaded: 0,
};

const GOLDEN: &str = "pid=<workload> tid=<workload> comm=workload write fd=3 count=5 ret=5\n";

#[rstest]
#[case::as_it_should_be(3, 3, NOTHING, Some(GOLDEN), None)]
#[case::not_what_was_done(4, 3, NOTHING, Some(GOLDEN), Some(Reason::EventsDiffer))]
#[case::not_what_was_expected(4, 4, NOTHING, Some(GOLDEN), Some(Reason::EventsDiffer))]
#[case::lost(3, 3, Missed { lost: 1, ..NOTHING }, Some(GOLDEN), Some(Reason::EventsLost))]
#[case::skipped(3, 3, Missed { skipped: 1, ..NOTHING }, Some(GOLDEN), Some(Reason::EventsLost))]
#[case::never_detached(
    3,
    3,
    Missed { still_loaded: 2, ..NOTHING },
    Some(GOLDEN),
    Some(Reason::StateLeftBehind)
)]
#[case::no_snapshot(3, 3, NOTHING, None, Some(Reason::SnapshotMissing))]
fn events_are_judged(
    #[case] observed: i32,
    #[case] did: i32,
    #[case] missed: Missed<'_>,
    #[case] shared: Option<&str>,
    #[case] expected: Option<Reason>,
) {
    let record = traced(vec![write(observed)], vec![write(did)], missed);
    let judgement = judge(scenario(), &record, Golden { shared, deviation: None });
    assert_eq!(judgement.verdict.reason, expected, "{judgement:?}");
    assert_eq!(judgement.diff.is_some(), expected == Some(Reason::EventsDiffer));
}

#[test]
fn what_explains_a_verdict_is_kept() {
    let golden = Golden { shared: Some(GOLDEN), deviation: None };
    let same = judge(scenario(), &traced(vec![write(3)], vec![write(3)], NOTHING), golden);
    assert_eq!((same.events.as_deref(), same.new_snapshot()), (Some(GOLDEN), Some(GOLDEN)));
    let observed = GOLDEN.replace("fd=3", "fd=4");
    let other = judge(scenario(), &traced(vec![write(4)], vec![write(3)], NOTHING), golden);
    assert_eq!((other.new_snapshot(), &other.events), (None, &Some(observed)));
    let refused = Observation::Failed {
        reason: Reason::VerifierRejected,
        message: "no".to_owned(),
        verifier_log: Some("0: (85) call".to_owned()),
    };
    let judgement = judge(scenario(), &record(plan(), Some(refused)), golden);
    assert_eq!(judgement.verdict.reason, Some(Reason::VerifierRejected));
    assert_eq!(judgement.verifier_log.as_deref(), Some("0: (85) call"));
}

#[rstest]
#[case::its_own(Outcome::Pass, Some("events"), GOLDEN, None)]
#[case::that_of_another_cell(Outcome::Pass, Some("events"), "", Some(Reason::EventsDiffer))]
#[case::of_a_cell_that_does_not_pass(Outcome::Unsupported, Some("events"), "", None)]
#[case::of_no_name(Outcome::Pass, None, "", None)]
fn a_cell_passes_with_the_snapshot_that_is_there_in_the_end(
    #[case] outcome: Outcome,
    #[case] name: Option<&str>,
    #[case] written: &str,
    #[case] expected: Option<Reason>,
) {
    let verdict = Verdict { outcome, ..Verdict::pass() };
    let mut cell = CellReport::of_verdict("k/masked/aya/sys_write/threads", verdict);
    cell.snapshot = name.map(str::to_owned);
    let mut cells = [cell];
    let events = |_: &CellReport| Ok(Some(GOLDEN.to_owned()));
    let snapshot = |_: &str| Ok(Some(written.to_owned()));
    compare_with_new_snapshots(&mut cells, &events, &snapshot).unwrap();
    assert_eq!(cells[0].reason, expected, "{}", cells[0].message);
    assert_eq!(cells[0].diff.is_some(), expected.is_some());
}

/// The descriptors of the writes: what a tracer may make of 3, 4, 5.
#[rstest]
#[case::the_same(&[3, 4, 5], None)]
#[case::one_more_at_the_end(&[3, 4, 5, 6], Some("+pid=<workload> tid=<workload> comm=workload write fd=6"))]
#[case::the_last_one_twice(&[3, 4, 5, 5], Some("+pid=<workload> tid=<workload> comm=workload write fd=5"))]
#[case::one_more_at_the_beginning(&[6, 3, 4, 5], Some("+pid=<workload> tid=<workload> comm=workload write fd=6"))]
#[case::the_last_one_missing(&[3, 4], Some("-pid=<workload> tid=<workload> comm=workload write fd=5"))]
#[case::the_first_one_missing(&[4, 5], Some("-pid=<workload> tid=<workload> comm=workload write fd=3"))]
#[case::swapped(&[4, 3, 5], Some("-pid=<workload> tid=<workload> comm=workload write fd=4"))]
#[case::another_one(&[3, 7, 5], Some("+pid=<workload> tid=<workload> comm=workload write fd=7"))]
#[case::none(&[], Some("+(no events)"))]
fn every_difference_is_shown(#[case] observed: &[i32], #[case] shows: Option<&str>) {
    let writes = |fds: &[i32]| fds.iter().map(|&fd| write(fd)).collect();
    let record = traced(writes(observed), writes(&[3, 4, 5]), NOTHING);
    let golden: String = [3, 4, 5].map(|fd| GOLDEN.replace("fd=3", &format!("fd={fd}"))).concat();
    let judgement = judge(scenario(), &record, Golden { shared: Some(&golden), deviation: None });
    let expected = shows.map(|_| Reason::EventsDiffer);
    assert_eq!(judgement.verdict.reason, expected, "{judgement:?}");
    let diff = judgement.diff.unwrap_or_default();
    assert!(diff.contains(shows.unwrap_or_default()), "{diff}");
}

#[test]
fn a_record_that_no_program_writes_differs_from_what_was_done() {
    let why = "mask 0xc0 is not one half of a rename".to_owned();
    let undecodable = Event { action: Action::Undecodable { why }, ..write(3) };
    let record = traced(vec![undecodable], vec![write(3)], NOTHING);
    let judgement = judge(scenario(), &record, Golden { shared: Some(GOLDEN), deviation: None });
    assert_eq!(judgement.verdict.reason, Some(Reason::EventsDiffer));
    assert!(
        judgement
            .diff
            .unwrap()
            .contains("+pid=<workload> tid=<workload> comm=workload undecodable: mask 0xc0")
    );
}

#[test]
fn a_loss_names_its_place_and_shows_what_is_missing() {
    let losses = Losses { pending: 1, ..Losses::default() };
    let missed = Missed { lost: 3, losses, ..NOTHING };
    let record = traced(vec![write(3)], vec![write(3), write(4)], missed);
    let judgement = judge(scenario(), &record, Golden { shared: Some(GOLDEN), deviation: None });
    let message = judgement.verdict.message;
    assert!(message.contains("2 found no room in the ring buffer `events`"), "{message}");
    assert!(message.contains("1 found no room in the map `pending`"), "{message}");
    let diff = judgement.diff.unwrap();
    assert!(diff.contains("-pid=<workload> tid=<workload> comm=workload write fd=4"), "{diff}");
}

#[rstest]
#[case::though_none_is_missing(SCENARIO, 0, 1)]
#[case::of_a_burst("sys_write/burst_ring", 0, 1)]
#[case::more_than_are_missing("sys_write/overflow_perf", 1, 2)]
fn more_events_are_counted_as_lost_than_are_missing(
    #[case] id: &str,
    #[case] lost: u64,
    #[case] totals: u64,
) {
    let losses = Losses { totals, ..Losses::NONE };
    let record = traced(vec![write(3)], vec![write(3)], Missed { lost, losses, ..NOTHING });
    let golden = Golden { shared: Some(GOLDEN), deviation: None };
    let verdict = judge(Scenario::by_id(id).unwrap(), &record, golden).verdict;
    assert_eq!(verdict.reason, Some(Reason::EventsLost));
    let expected = format!(
        "the programs count 1 more events as lost than are missing: {totals} found no room in the \
         map `totals`"
    );
    assert_eq!(verdict.message, expected);
}

#[test]
fn a_map_with_a_leftover_is_named() {
    let found = Leftover { entries: 2, expected: 0 };
    let left_behind = BTreeMap::from([("births".to_owned(), found)]);
    let missed = Missed { left_behind: &left_behind, ..NOTHING };
    let record = traced(vec![write(3)], vec![write(3)], missed);
    let golden = Golden { shared: Some(GOLDEN), deviation: None };
    let verdict = judge(scenario(), &record, golden).verdict;
    assert_eq!(verdict.reason, Some(Reason::StateLeftBehind));
    assert!(verdict.message.ends_with("the map births has 2 entries at the end, not 0"));
}

#[rstest]
#[case::some_lost("sys_write/overflow_perf", 3, 2, 0, None)]
#[case::none_lost("sys_write/overflow_perf", 5, 0, 0, Some(Reason::EventsDiffer))]
#[case::none_lost("sys_write/burst_ring", 5, 0, 0, None)]
#[case::some_lost("sys_write/burst_ring", 3, 2, 0, Some(Reason::EventsDiffer))]
#[case::missing("sys_write/overflow_perf", 2, 2, 0, Some(Reason::EventsDiffer))]
#[case::skipped("sys_write/burst_ring", 5, 0, 1, Some(Reason::EventsLost))]
fn a_burst_is_judged_by_its_balance(
    #[case] id: &str,
    #[case] captured: u64,
    #[case] lost: u64,
    #[case] skipped: u64,
    #[case] expected: Option<Reason>,
) {
    let writes = |calls| {
        let action = Action::Writes { fd: 3, calls, shortest: 1, longest: calls };
        Event { action, ..write(3) }
    };
    let missed = Missed { lost, skipped, ..NOTHING };
    let record = traced(vec![writes(captured)], vec![writes(5)], missed);
    let scenario = Scenario::by_id(id).unwrap();
    let state = if id.contains("overflow") { "some" } else { "none" };
    let golden = format!("captured + lost = 5\nlost: {state}\n");
    let golden = Golden { shared: Some(&golden), deviation: None };
    assert_eq!(judge(scenario, &record, golden).verdict.reason, expected);
}

#[test]
fn a_deviation_holds_until_it_no_longer_occurs() {
    let deviation = GOLDEN.replace("fd=3", "fd=4");
    let golden = Golden { shared: Some(GOLDEN), deviation: Some(&deviation) };
    let deviates = traced(vec![write(4)], vec![write(4)], NOTHING);
    assert_eq!(judge(scenario(), &deviates, golden).verdict, Verdict::pass());
    let stale = traced(vec![write(3)], vec![write(3)], NOTHING);
    assert_eq!(judge(scenario(), &stale, golden).verdict.reason, Some(Reason::DeviationStale));
}

#[test]
fn the_shared_snapshot_is_no_substitute_for_that_of_a_deviation() {
    let record = traced(vec![write(3)], vec![write(3)], NOTHING);
    let golden = Golden::of_deviation(Some(GOLDEN), None);
    let verdict = judge(scenario(), &record, golden).verdict;
    assert_eq!(verdict.reason, Some(Reason::SnapshotMissing));
}

#[test]
fn two_tasks_of_one_name_are_never_a_pass() {
    let mut record = traced(vec![write(3)], vec![write(3)], NOTHING);
    let Some(Observation::Traced { ground_truth, .. }) = &mut record.observation else {
        unreachable!("made above")
    };
    let named = |id| format!(r#"{{"first": {id}, "last": {id}, "name": "workload"}}"#);
    let names = format!(r#"{{"task": [{}, {}]}}"#, named(7), named(8));
    ground_truth.names = serde_json::from_str(&names).unwrap();
    let verdict = judge(scenario(), &record, Golden::default()).verdict;
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::Infra, Some(Reason::WorkloadFailed)));
}

#[rstest]
#[case::nobody_looked(Reason::FactNotGathered)]
#[case::nobody_could_tell(Reason::TrialInconclusive)]
fn what_is_not_known_is_not_missing(#[case] reason: Reason) {
    let refused = Unsupported { reason, message: "of the tracepoint sys_exit_read".to_owned() };
    let record = record(Decision::Unsupported(refused), None);
    let verdict = judge(scenario(), &record, Golden::default()).verdict;
    assert_eq!(verdict.outcome, Outcome::Infra, "{}", verdict.message);
}

#[test]
fn what_the_plan_says_is_repeated_and_never_guessed() {
    let unsupported = Unsupported { reason: Reason::MissingSymbol, message: "no f".into() };
    let mut record = record(Decision::Unsupported(unsupported), None);
    let verdict = judge(scenario(), &record, Golden::default()).verdict;
    assert_eq!(verdict.outcome, Outcome::Unsupported);
    record.decision = plan();
    let verdict = judge(scenario(), &record, Golden::default()).verdict;
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::Fail, Some(Reason::TracerDied)));
}
