//! Scenarios with more events than are worth listing: nothing may be missing without being
//! accounted for.

use std::fmt::Write as _;

use kernlab_abi::{MAX_BIRTHS, MAX_PENDING, MAX_TOTALS, RING_BYTES, SysWriteEvent};

use crate::{
    buffer::BufferKind,
    event::{Action, Event},
    ground_truth::GroundTruth,
    losses::Losses,
    normalise::normalise,
    scenario::Scenario,
};

/// More than a tracer may have room for: threads that write as fast as they can, or more at a time than a
/// map of its state has entries. Or a call whose end goes unseen.
#[derive(Debug, PartialEq, Eq)]
pub struct Burst {
    /// The scenario's tracer, and its name.
    tracer: &'static str,
    name: &'static str,
    /// The buffer that it is about.
    pub buffer: Option<BufferKind>,
    /// When the tracer empties the buffer.
    pub drain: Drain,
    /// Threads.
    pub writers: u64,
    /// Writes of each thread; the first has one byte, and each is a byte longer than the one before.
    pub calls: u64,
    /// Equal parts of the calls. Between two of them the workload stands still until the tracer has
    /// emptied the buffer.
    pub rounds: u64,
    /// How many events are lost.
    lost: Lost,
}

/// How many events are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// None.
    None,
    /// At least one, in the buffer: how many is left to chance.
    Some,
    /// So many, in the buffer.
    InBuffer(u64),
    /// So many, counted by the programs.
    Counted(Losses),
}

/// When a buffer is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// As events come. The buffer has room for all of a round anyway, so none is lost.
    AsTheyCome,
    /// Only when all is over. The buffer has no room for so many, so some are lost.
    AtTheEnd,
}

/// Bytes that an event of `sys_write` takes in the ring buffer, with the eight before each:
/// `BPF_RINGBUF_HDR_SZ`, include/uapi/linux/bpf.h.
const RING_RECORD: u64 = size_of::<SysWriteEvent>() as u64 + 8;

/// An event takes 64 bytes in the ring buffer and 72 in a perf buffer. So the 2000 events of a round
/// fit into the perf buffer of one CPU, and those of all rounds go beyond the end of it, even on two; the
/// 5000 of a round fit into the ring, and those of all go beyond its end.
/// 20000 fit into neither the ring nor the perf buffers of a few CPUs. The ring loses as many on every kernel:
/// those that find no room in [`RING_BYTES`], of which one byte always stays free.
///
/// Maps of state are filled to their last entry, and one more. In the last ones a return probe has no instance
/// left, and misses the end of one call.
static BURSTS: [Burst; 17] = [
    Burst::new("burst_ring", BufferKind::Ring, Drain::AsTheyCome, 5000, 4),
    Burst::new("burst_perf", BufferKind::Perf, Drain::AsTheyCome, 2000, 4),
    Burst::new("overflow_ring", BufferKind::Ring, Drain::AtTheEnd, 5000, 1),
    Burst::new("overflow_perf", BufferKind::Perf, Drain::AtTheEnd, 5000, 1),
    Burst::full("sys_write", "full_pending", MAX_PENDING, Losses { pending: 1, ..Losses::NONE }),
    Burst::full("socket_write", "full_pending", MAX_PENDING, Losses { pending: 1, ..Losses::NONE }),
    Burst::full("opensnoop", "full_pending", MAX_PENDING, Losses { pending: 1, ..Losses::NONE }),
    Burst::full("user_args", "full_pending", MAX_PENDING, Losses { pending: 1, ..Losses::NONE }),
    Burst::full("filetop", "full_pending", MAX_PENDING, Losses { pending: 1, ..Losses::NONE }),
    Burst::full("filelife", "full_pending", MAX_PENDING, Losses { pending: 1, ..Losses::NONE }),
    Burst::full("filetop", "full_totals", MAX_TOTALS, Losses { totals: 1, ..Losses::NONE }),
    Burst::full("filelife", "full_births", MAX_BIRTHS, Losses { births: 1, ..Losses::NONE }),
    Burst::unseen("sys_write"),
    Burst::unseen("socket_write"),
    Burst::unseen("opensnoop"),
    Burst::unseen("filetop"),
    Burst::unseen("filelife"),
];

impl Burst {
    const fn new(
        name: &'static str,
        buffer: BufferKind,
        drain: Drain,
        calls: u64,
        rounds: u64,
    ) -> Self {
        let writers = 4;
        let lost = match (drain, buffer) {
            (Drain::AsTheyCome, _) => Lost::None,
            (Drain::AtTheEnd, BufferKind::Perf) => Lost::Some,
            (Drain::AtTheEnd, BufferKind::Ring) => {
                Lost::InBuffer(writers * calls - (RING_BYTES as u64 - 1) / RING_RECORD)
            }
        };
        let (tracer, buffer) = ("sys_write", Some(buffer));
        Burst { tracer, name, buffer, drain, writers, calls, rounds, lost }
    }

    /// One more at a time than fit into a map.
    const fn full(tracer: &'static str, name: &'static str, entries: u32, losses: Losses) -> Self {
        let (drain, lost) = (Drain::AsTheyCome, Lost::Counted(losses));
        let writers = entries as u64 + 1;
        Burst { tracer, name, buffer: None, drain, writers, calls: 1, rounds: 1, lost }
    }

    /// One call whose end goes unseen.
    const fn unseen(tracer: &'static str) -> Self {
        Burst::full(tracer, "unseen_end", 0, Losses { unseen: 1, ..Losses::NONE })
    }

    /// What a scenario is, if it is a burst.
    pub fn of(scenario: &Scenario) -> Option<&'static Burst> {
        let named =
            |burst: &&Burst| (burst.tracer, burst.name) == (scenario.tracer.name(), scenario.name);
        BURSTS.iter().find(named)
    }

    /// What must come of the burst, as text.
    pub fn expected(&self, ground_truth: &GroundTruth) -> String {
        let lost = match self.lost {
            Lost::None => "none".to_owned(),
            Lost::Some => "some".to_owned(),
            Lost::InBuffer(lost) => Losses::NONE.describe(lost, BufferKind::Ring),
            // All of it is lost before the buffer, whichever that is.
            Lost::Counted(losses) => losses.describe(losses.counted(), BufferKind::Ring),
        };
        balance(writes(&ground_truth.events), &lost)
    }

    /// What came of it, in the words of [`Burst::expected`] if all is well: every write arrived or was
    /// reported lost, for reasons that the programs counted.
    pub fn observed(
        &self,
        events: &[Event],
        ground_truth: &GroundTruth,
        lost: u64,
        losses: Losses,
        buffer: BufferKind,
    ) -> String {
        let (captured, done) = (writes(events), writes(&ground_truth.events));
        let mut text = if captured.checked_add(lost) == Some(done) {
            let lost = match self.lost {
                _ if lost == 0 => "none".to_owned(),
                Lost::Some if losses.is_none() => "some".to_owned(),
                _ => losses.describe(lost, buffer),
            };
            balance(done, &lost)
        } else {
            format!("captured {captured} + lost {lost} is not {done}\n")
        };
        // What came twice is no part of what was done once, even if the sum is right.
        let mut matched = vec![false; ground_truth.events.len()];
        let mut is_stray = |event: &&Event| {
            let of = ground_truth.events.iter().position(|did| part_of(event, did));
            of.is_none_or(|of| std::mem::replace(&mut matched[of], true))
        };
        let strays: Vec<Event> = events.iter().filter(|event| is_stray(event)).cloned().collect();
        if !strays.is_empty() {
            let _ = write!(text, "never done:\n{}", normalise(&strays, &ground_truth.names));
        }
        text
    }
}

fn balance(done: u64, lost: &str) -> String {
    format!("captured + lost = {done}\nlost: {lost}\n")
}

fn writes(events: &[Event]) -> u64 {
    let calls = |event: &Event| match event.action {
        Action::Writes { calls, .. } => calls,
        _ => 1,
    };
    // The guest's numbers can be anything.
    events.iter().map(calls).fold(0, u64::saturating_add)
}

/// Are these writes among those of `did`, or is this what was done?
fn part_of(event: &Event, did: &Event) -> bool {
    if let (
        Action::Unlinked { name, lifetime },
        Action::Unlinked { name: did_name, lifetime: longest },
    ) = (&event.action, &did.action)
    {
        return (event.pid, event.tid, &event.comm, name)
            == (did.pid, did.tid, &did.comm, did_name)
            && lifetime <= longest;
    }
    let (
        Action::Writes { fd, calls, shortest, longest },
        Action::Writes { fd: did_fd, calls: _, shortest: first, longest: last },
    ) = (&event.action, &did.action)
    else {
        return event == did;
    };
    (event.pid, event.tid, &event.comm, fd) == (did.pid, did.tid, &did.comm, did_fd)
        && first <= shortest
        && longest <= last
        // Each is longer than the one before.
        && longest.checked_sub(*shortest).is_some_and(|more| *calls <= more.saturating_add(1))
}

/// Each thread's writes to one place as one event, as long as each is whole and longer than the one
/// before: then none came twice. Other events stay what they are.
pub fn condense(events: Vec<Event>) -> Vec<Event> {
    let mut condensed: Vec<Event> = Vec::new();
    for event in events {
        let Action::Write { fd, count, ret } = event.action else {
            condensed.push(event);
            continue;
        };
        let whole = u64::try_from(ret) == Ok(count);
        let same_thread = |known: &&mut Event| {
            (known.pid, known.tid, &known.comm) == (event.pid, event.tid, &event.comm)
                && matches!(known.action, Action::Writes { fd: known, .. } if known == fd)
        };
        match condensed.iter_mut().find(same_thread).map(|known| &mut known.action) {
            Some(Action::Writes { calls, longest, .. }) if whole && count > *longest => {
                *calls += 1;
                *longest = count;
            }
            None if whole => {
                let action = Action::Writes { fd, calls: 1, shortest: count, longest: count };
                condensed.push(Event { action, ..event });
            }
            _ => condensed.push(event),
        }
    }
    condensed
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::names::NameClass;

    fn did(tid: u32, action: Action) -> Event {
        Event { pid: 1, tid, comm: "writer".to_owned(), action }
    }

    fn write(tid: u32, count: u64) -> Event {
        did(tid, Action::Write { fd: 3, count, ret: count as i64 })
    }

    fn writes_of(tid: u32, calls: u64, shortest: u64, longest: u64) -> Event {
        did(tid, Action::Writes { fd: 3, calls, shortest, longest })
    }

    fn in_ring(burst: &Burst, events: &[Event], ground_truth: &GroundTruth, lost: u64) -> String {
        burst.observed(events, ground_truth, lost, Losses::NONE, BufferKind::Ring)
    }

    #[test]
    fn every_burst_is_a_scenario() {
        let scenarios = Scenario::ALL.iter().filter_map(Burst::of);
        assert_eq!(scenarios.count(), BURSTS.len());
    }

    #[test]
    fn a_full_map_is_named_as_its_scenario() {
        let ground_truth = GroundTruth::default();
        let full = |burst: &'static Burst| Some((burst, burst.name.strip_prefix("full_")?));
        assert_eq!(BURSTS.iter().filter_map(full).count(), 8);
        for (burst, map) in BURSTS.iter().filter_map(full) {
            let expected = burst.expected(&ground_truth);
            assert_eq!(expected, balance(0, &format!("1 found no room in the map `{map}`")));
        }
    }

    #[test]
    fn a_round_fits_into_a_buffer_and_all_of_them_do_not() {
        let of_perf = u64::from(kernlab_abi::PERF_PAGES) * 4096;
        for Burst { buffer, drain, writers, calls, rounds, .. } in &BURSTS {
            let (bytes, event, shares) = match (buffer, drain) {
                (Some(BufferKind::Ring), Drain::AsTheyCome) => {
                    (u64::from(RING_BYTES), RING_RECORD, 1)
                }
                // Its events may be those of two processors, with a buffer each.
                (Some(BufferKind::Perf), Drain::AsTheyCome) => (of_perf, 72, 2),
                _ => continue,
            };
            assert_eq!(calls % rounds, 0);
            assert!(writers * calls / rounds * event < bytes);
            assert!(writers * calls / shares * event > bytes, "no buffer is passed");
        }
    }

    #[test]
    fn threads_are_condensed_and_repetitions_are_not() {
        let cut = did(2, Action::Write { fd: 3, count: 9, ret: 8 });
        let events =
            vec![write(2, 1), write(3, 1), write(2, 2), write(2, 2), write(2, 5), cut.clone()];
        assert_eq!(
            condense(events),
            [writes_of(2, 3, 1, 5), writes_of(3, 1, 1, 1), write(2, 2), cut]
        );
    }

    #[test]
    fn a_full_map_has_no_room_for_exactly_one_more() {
        let pending = |pending| Losses { pending, ..Losses::NONE };
        let full = |lost, losses, captured: u32| {
            let ground_truth = GroundTruth {
                events: (1..=3).map(|tid| write(tid, 5)).collect(),
                ..GroundTruth::default()
            };
            let events: Vec<_> = (1..=captured).map(|tid| write(tid, 5)).collect();
            let burst = Burst::full("sys_write", "full_pending", 2, pending(1));
            let observed = burst.observed(&events, &ground_truth, lost, losses, BufferKind::Ring);
            (observed, burst.expected(&ground_truth))
        };
        let (observed, expected) = full(1, pending(1), 2);
        assert_eq!(observed, expected);
        let text = "captured + lost = 3\nlost: 1 found no room in the map `pending`\n";
        assert_eq!(expected, text);
        let births = Losses { births: 1, ..Losses::NONE };
        for (lost, losses, captured) in [
            (2, pending(2), 1),
            (1, Losses::NONE, 2),
            (1, births, 2),
            (0, Losses::NONE, 3),
            (0, Losses::NONE, 2),
        ] {
            let (observed, expected) = full(lost, losses, captured);
            assert_ne!(observed, expected);
        }
    }

    const ALL: &str = "captured + lost = 20\nlost: none\n";
    const SOME: &str = "captured + lost = 20\nlost: some\n";

    #[rstest]
    #[case::all(10, 0, ALL)]
    #[case::lost(
        3,
        7,
        "captured + lost = 20\nlost: 7 found no room in the ring buffer `events`, or the loader did \
         not read them\n"
    )]
    #[case::one_is_missing(3, 6, "captured 13 + lost 6 is not 20\n")]
    #[case::one_too_many(3, 8, "captured 13 + lost 8 is not 20\n")]
    fn a_balance_is_even_or_shown(
        #[case] of_second: u64,
        #[case] lost: u64,
        #[case] expected: &str,
    ) {
        let ground_truth = GroundTruth {
            events: vec![writes_of(2, 10, 1, 10), writes_of(3, 10, 1, 10)],
            ..GroundTruth::default()
        };
        let events = [writes_of(2, 10, 1, 10), writes_of(3, of_second, 1, of_second)];
        assert_eq!(in_ring(&BURSTS[0], &events, &ground_truth, lost), expected);
        // How many an overflow of perf buffers loses is left to chance.
        let overflow = in_ring(&BURSTS[3], &events, &ground_truth, lost);
        assert_eq!(overflow, if lost == 7 { SOME } else { expected });
        assert_eq!(
            (BURSTS[0].expected(&ground_truth), BURSTS[3].expected(&ground_truth)),
            (ALL.into(), SOME.into())
        );
    }

    #[rstest]
    #[case::all_that_has_no_room(3617, true)]
    #[case::a_smaller_ring(11_809, false)]
    #[case::a_larger_ring(0, false)]
    fn a_ring_loses_what_it_has_no_room_for(#[case] lost: u64, #[case] expected: bool) {
        let ground_truth =
            GroundTruth { events: vec![writes_of(2, 20_000, 1, 20_000)], ..GroundTruth::default() };
        let captured = 20_000 - lost;
        let events = [writes_of(2, captured, 1, captured)];
        let observed = in_ring(&BURSTS[2], &events, &ground_truth, lost);
        assert_eq!(observed == BURSTS[2].expected(&ground_truth), expected, "{observed}");
    }

    #[test]
    fn an_overflow_is_of_the_buffer() {
        let ground_truth =
            GroundTruth { events: vec![writes_of(2, 10, 1, 10)], ..GroundTruth::default() };
        let losses = Losses { pending: 7, ..Losses::NONE };
        let events = [writes_of(2, 3, 1, 3)];
        let text = BURSTS[2].observed(&events, &ground_truth, 7, losses, BufferKind::Ring);
        assert_eq!(text, "captured + lost = 10\nlost: 7 found no room in the map `pending`\n");
    }

    #[test]
    fn counts_of_any_size_are_added() {
        let ground_truth =
            GroundTruth { events: vec![writes_of(2, 10, 1, 10)], ..GroundTruth::default() };
        let events = [writes_of(2, u64::MAX, 1, 10), writes_of(2, u64::MAX, 1, 10)];
        let text = in_ring(&BURSTS[0], &events, &ground_truth, u64::MAX);
        assert!(text.starts_with("captured 18446744073709551615 + lost"), "{text}");
    }

    #[rstest]
    #[case::another_length(
        writes_of(2, 10, 1, 11),
        "tid=<a> comm=writer writes fd=3 calls=10 counts=1..=11"
    )]
    #[case::another_thread(
        writes_of(4, 10, 1, 10),
        "tid=4 comm=writer writes fd=3 calls=10 counts=1..=10"
    )]
    #[case::twice(write(2, 4), "tid=<a> comm=writer write fd=3 count=4 ret=4")]
    fn what_was_never_done_is_shown(#[case] stray: Event, #[case] shown: &str) {
        let mut ground_truth =
            GroundTruth { events: vec![writes_of(2, 10, 1, 10)], ..GroundTruth::default() };
        ground_truth.names.add(NameClass::Task, 2, "a").unwrap();
        let text = in_ring(&BURSTS[0], &[stray], &ground_truth, 0);
        assert!(text.ends_with(&format!("never done:\npid=1 {shown}\n")), "{text}");
    }
}
