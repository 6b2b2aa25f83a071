//! A verdict on events is `pass` exactly if tracer, workload and snapshot mean the same.
//!
//! Events are made up in terms of the workload ("the second thread renames, with the first cookie"), and
//! told three times: as the workload's ground truth, as the tracer's events, both with the numbers of one
//! run, and as a snapshot, which this file writes itself. What each of them means is compared before
//! there are any numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kernlab_core::{
    burst::Burst,
    event::{Action, Event, FileKind, ReadOutcome, RenameHalf, SyncCall, Value},
    ground_truth::{GroundTruth, NameClass},
    outcome::{Outcome, Reason},
    record::{Leftover, Observation, Record},
    scenario::Scenario,
    socket::{Family, Protocol, SocketType},
};
use proptest::{prelude::*, sample::Index};

use super::{
    super::test_support::{plan, record, traced_beside as traced},
    Golden, judge,
};

const THREADS: [&str; 3] = ["workload", "writer-1", "writer-2"];
const COMMS: [&str; 3] = ["workload", "w", "a b"];
const NAMES: [&str; 3] = ["a", "b", "a\\\"b"];

/// What a thread does, before anything has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// In [`THREADS`]; a stranger, if it is behind them.
    thread: usize,
    /// In [`COMMS`].
    comm: usize,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Write { fd: i32, count: u64, ret: i64 },
    Allocated { socket_type: u16 },
    Sent { bytes: i64, from: Endpoint, to: Option<Endpoint> },
    Called { address: usize, symbol: bool },
    Total { regular: bool, reads: u64, bytes_read: u64, writes: u64, bytes_written: u64 },
    UserCalled { argument: i128, ret: i128 },
    Read { address: usize, outcome: usize },
    Synced { data_only: bool },
    Rename { half: bool, directory: bool, cookie: usize, name: usize },
    Unlinked { name: usize, lifetime: usize },
    Open { name: usize, flags: u32, ret: i32 },
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint {
    address: IpAddr,
    port: usize,
}

/// What may come of reading memory, and how it is told.
const OUTCOMES: [&str; 3] = ["\"bytes\"", "refused by the guard", "refused by the kernel"];

/// The numbers of one run.
#[derive(Clone, Copy, Debug)]
struct Run {
    first_task: u32,
    first_port: u16,
    first_address: u64,
    first_cookie: u32,
    first_time: u64,
    /// Where within the range of a lifetime the tracer is.
    within: u64,
}

impl Run {
    fn task(self, thread: usize) -> u32 {
        self.first_task + 3 * thread as u32
    }

    fn cookie(self, cookie: usize) -> u32 {
        self.first_cookie.wrapping_add(cookie as u32)
    }

    fn lifetime(self, lifetime: usize) -> u64 {
        self.first_time + 100 * lifetime as u64
    }

    fn port(self, port: usize) -> u16 {
        self.first_port + port as u16
    }

    fn address(self, address: usize) -> u64 {
        self.first_address + 8 * address as u64
    }

    fn endpoint(self, of: Endpoint) -> SocketAddr {
        SocketAddr::new(of.address, self.port(of.port))
    }

    fn names(self) -> GroundTruth {
        let mut truth = GroundTruth::default();
        let mut add = |class, value, name: &str| truth.names.add(class, value, name).unwrap();
        for (thread, name) in THREADS.iter().enumerate() {
            add(NameClass::Task, self.task(thread).into(), name);
        }
        for number in 0..2 {
            add(NameClass::Port, self.port(number).into(), &format!("port-{number}"));
            add(NameClass::Address, self.address(number), &format!("address-{number}"));
        }
        for cookie in 0..2 {
            add(NameClass::Cookie, self.cookie(cookie).into(), &format!("cookie-{cookie}"));
        }
        for lifetime in 0..2 {
            let first = self.lifetime(lifetime);
            let name = format!("lifetime-{lifetime}");
            truth.names.add_range(NameClass::Lifetime, first..=first + 99, &name).unwrap();
        }
        truth
    }

    fn events(self, steps: &[Step]) -> Vec<Event> {
        let event = |step: &Step| {
            let action = match step.what {
                What::Write { fd, count, ret } => Action::Write { fd, count, ret },
                What::Allocated { socket_type } => Action::SocketAllocated {
                    family: Family::INET,
                    socket_type: SocketType(socket_type),
                },
                What::Sent { bytes, from, to } => Action::SocketWrite {
                    fd: 3,
                    bytes,
                    family: Family::INET6,
                    protocol: Protocol(6),
                    local: Some(self.endpoint(from)),
                    remote: to.map(|to| self.endpoint(to)),
                },
                What::Called { address, symbol } => Action::Call {
                    function: "f".to_owned(),
                    arguments: vec![
                        ("a".to_owned(), Value::User(self.address(address))),
                        (
                            "b".to_owned(),
                            if symbol { Value::Symbol("s".to_owned()) } else { Value::Kernel },
                        ),
                    ],
                },
                What::Total { regular, reads, bytes_read, writes, bytes_written } => {
                    let kind = if regular { FileKind::Regular } else { FileKind::Other };
                    let name = "n".to_owned();
                    Action::Transferred { kind, name, reads, bytes_read, writes, bytes_written }
                }
                What::UserCalled { argument, ret } => {
                    Action::UserCall { function: "g".to_owned(), arguments: vec![argument, 1], ret }
                }
                What::Read { address, outcome } => Action::Read {
                    address: self.address(address),
                    outcome: match outcome {
                        0 => ReadOutcome::Read("bytes".to_owned()),
                        1 => ReadOutcome::RefusedByGuard,
                        _ => ReadOutcome::RefusedByKernel,
                    },
                },
                What::Synced { data_only } => {
                    let call = if data_only { SyncCall::Fdatasync } else { SyncCall::Fsync };
                    Action::Sync { call }
                }
                What::Rename { half, directory, cookie, name } => Action::Rename {
                    half: if half { RenameHalf::MovedFrom } else { RenameHalf::MovedTo },
                    directory,
                    cookie: self.cookie(cookie),
                    name: NAMES[name].to_owned(),
                },
                What::Unlinked { name, lifetime } => Action::Unlinked {
                    name: NAMES[name].to_owned(),
                    lifetime: self.lifetime(lifetime) + self.within,
                },
                What::Open { name, flags, ret } => {
                    Action::Open { name: NAMES[name].to_owned(), flags, ret }
                }
            };
            let comm = COMMS[step.comm].to_owned();
            Event { pid: self.task(0), tid: self.task(step.thread), comm, action }
        };
        steps.iter().map(event).collect()
    }
}

/// What a person would have agreed to.
fn snapshot(steps: &[Step]) -> String {
    let endpoint = |of: Endpoint| match of.address {
        IpAddr::V4(address) => format!("{address}:<port-{}>", of.port),
        IpAddr::V6(address) => format!("[{address}]:<port-{}>", of.port),
    };
    let mut text = String::new();
    for (thread, name) in THREADS.iter().enumerate() {
        let mut lines = Vec::new();
        for step in steps.iter().filter(|step| step.thread == thread) {
            let comm = COMMS[step.comm];
            let action = match step.what {
                What::Write { fd, count, ret } => format!("write fd={fd} count={count} ret={ret}"),
                What::Allocated { socket_type } => {
                    let name = if socket_type == 1 { "stream" } else { "dgram" };
                    format!("socket family=inet type={name}")
                }
                What::Sent { bytes, from, to } => format!(
                    "write fd=3 bytes={bytes} family=inet6 protocol=tcp local={} remote={}",
                    endpoint(from),
                    to.map_or("none".to_owned(), endpoint)
                ),
                What::Called { address, symbol } => format!(
                    "f(a=<address-{address}>, b={})",
                    if symbol { "&s" } else { "<kernel>" }
                ),
                What::Total { regular, reads, bytes_read, writes, bytes_written } => format!(
                    "file kind={} name=\"n\" reads={reads} bytes_read={bytes_read} writes={writes} \
                     bytes_written={bytes_written}",
                    if regular { "regular" } else { "other" }
                ),
                What::UserCalled { argument, ret } => format!("g({argument}, 1) = {ret}"),
                What::Read { address, outcome } => {
                    format!("read(<address-{address}>) = {}", OUTCOMES[outcome])
                }
                What::Synced { data_only } => {
                    format!("sync call={}", if data_only { "fdatasync" } else { "fsync" })
                }
                What::Rename { half, directory, cookie, name } => format!(
                    "{}{} cookie=<cookie-{cookie}> name=\"{}\"",
                    if half { RenameHalf::MovedFrom } else { RenameHalf::MovedTo },
                    if directory { " directory" } else { "" },
                    NAMES[name]
                ),
                What::Unlinked { name, lifetime } => {
                    format!("unlinked name=\"{}\" lifetime=<lifetime-{lifetime}>", NAMES[name])
                }
                What::Open { name, flags, ret } => {
                    format!("open name=\"{}\" flags={flags:#o} ret={ret}", NAMES[name])
                }
            };
            lines.push(format!("pid=<workload> tid=<{name}> comm={comm} {action}\n"));
        }
        if are_totals(steps) {
            lines.sort();
        }
        text += &lines.concat();
    }
    if text.is_empty() { "(no events)\n".to_owned() } else { text }
}

/// Totals are of a whole session, and have no order.
fn are_totals(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step.what, What::Total { .. }))
}

/// Do both mean the same? Nothing orders threads against each other.
fn mean_the_same(one: &[Step], other: &[Step]) -> bool {
    let of = |steps: &[Step], thread: usize| -> Vec<Step> {
        let of_thread = steps.iter().filter(|step| step.thread == thread);
        let mut of_thread: Vec<_> = of_thread.cloned().collect();
        if are_totals(steps) {
            of_thread.sort_by_key(|step| format!("{step:?}"));
        }
        of_thread
    };
    (0..=THREADS.len()).all(|thread| of(one, thread) == of(other, thread))
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        (3..5_i32, 0..3_u64, 0..3_i64).prop_map(|(fd, count, ret)| What::Write { fd, count, ret }),
        (1..3_u16).prop_map(|socket_type| What::Allocated { socket_type }),
        (0..2_i64, endpoint(), prop::option::of(endpoint()))
            .prop_map(|(bytes, from, to)| What::Sent { bytes, from, to }),
        (0..2_usize, any::<bool>()).prop_map(|(address, symbol)| What::Called { address, symbol }),
        total(),
        (-2..2_i128, -2..2_i128).prop_map(|(argument, ret)| What::UserCalled { argument, ret }),
        (0..2_usize, 0..OUTCOMES.len())
            .prop_map(|(address, outcome)| What::Read { address, outcome }),
        any::<bool>().prop_map(|data_only| What::Synced { data_only }),
        (any::<bool>(), any::<bool>(), 0..2_usize, 0..NAMES.len()).prop_map(
            |(half, directory, cookie, name)| What::Rename { half, directory, cookie, name }
        ),
        (0..NAMES.len(), 0..2_usize).prop_map(|(name, lifetime)| What::Unlinked { name, lifetime }),
        (0..NAMES.len(), 0..2_u32, -2..2_i32).prop_map(|(name, flags, ret)| What::Open {
            name,
            flags,
            ret
        }),
    ]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    (prop::sample::select(addresses.to_vec()), 0..2_usize)
        .prop_map(|(address, port)| Endpoint { address, port })
}

fn total() -> impl Strategy<Value = What> {
    (any::<bool>(), [0..2_u64, 0..2, 0..2, 0..2]).prop_map(
        |(regular, [reads, bytes_read, writes, bytes_written])| What::Total {
            regular,
            reads,
            bytes_read,
            writes,
            bytes_written,
        },
    )
}

fn step_of(what: impl Strategy<Value = What>) -> impl Strategy<Value = Step> {
    (0..THREADS.len(), 0..COMMS.len(), what).prop_map(|(thread, comm, what)| Step {
        thread,
        comm,
        what,
    })
}

fn step() -> impl Strategy<Value = Step> {
    step_of(what())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        4 => prop::collection::vec(step(), 0..7),
        1 => prop::collection::vec(step_of(total()), 0..7),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    let task_and_port = (2..40_000_u32, 1..u16::MAX);
    (task_and_port, 0x1000..1_u64 << 46, any::<u32>(), 0..1_u64 << 40, 0..100_u64).prop_map(
        |((first_task, first_port), first_address, first_cookie, first_time, within)| Run {
            first_task,
            first_port,
            first_address,
            first_cookie,
            first_time,
            within,
        },
    )
}

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

/// What a snapshot can tell: strangers have no name.
fn known(steps: Vec<Step>) -> Vec<Step> {
    steps.into_iter().filter(|step| step.thread < THREADS.len()).collect()
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
        prop_assert!(Burst::of(scenario).is_some());
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
