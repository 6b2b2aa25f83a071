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
};

/// More than a tracer may have room for: threads that write as fast as they can, or more at a time than a
/// map of its state has entries. Or a call whose end goes unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
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

/// How many threads write as fast as they can.
const WRITERS: u64 = 4;

/// How often each of them writes to overflow a buffer.
const OVERFLOW: u64 = 5000;

impl Burst {
    /// Through the ring buffer: the events of a round fit into it, and those of all rounds go beyond its end.
    pub(crate) const RING: Burst =
        Burst::of_writes(BufferKind::Ring, Drain::AsTheyCome, Lost::None, 5000, 4);

    /// Through perf buffers: the events of a round fit into the buffer of one processor, and those of all rounds
    /// go beyond its end, even if they are those of two.
    pub(crate) const PERF: Burst =
        Burst::of_writes(BufferKind::Perf, Drain::AsTheyCome, Lost::None, 2000, 4);

    /// More than fit into the ring buffer. It loses the same number on every kernel: those that find no room in
    /// [`RING_BYTES`], of which one byte always stays free.
    pub(crate) const OVERFLOW_RING: Burst = {
        let lost = WRITERS * OVERFLOW - (RING_BYTES as u64 - 1) / RING_RECORD;
        Burst::of_writes(BufferKind::Ring, Drain::AtTheEnd, Lost::InBuffer(lost), OVERFLOW, 1)
    };

    /// More than fit into the perf buffers of a few processors.
    pub(crate) const OVERFLOW_PERF: Burst =
        Burst::of_writes(BufferKind::Perf, Drain::AtTheEnd, Lost::Some, OVERFLOW, 1);

    /// One more call at a time than the map of calls under way has entries.
    pub(crate) const FULL_PENDING: Burst =
        Burst::full(MAX_PENDING, Losses { pending: 1, ..Losses::NONE });

    /// One more file than the map of what is read and written has entries.
    pub(crate) const FULL_TOTALS: Burst =
        Burst::full(MAX_TOTALS, Losses { totals: 1, ..Losses::NONE });

    /// One more file that lives than the map of births has entries.
    pub(crate) const FULL_BIRTHS: Burst =
        Burst::full(MAX_BIRTHS, Losses { births: 1, ..Losses::NONE });

    /// One call whose end goes unseen: a return probe has no instance left, or two calls end with one return.
    pub(crate) const UNSEEN_END: Burst = Burst::full(0, Losses { unseen: 1, ..Losses::NONE });

    const fn of_writes(
        buffer: BufferKind,
        drain: Drain,
        lost: Lost,
        calls: u64,
        rounds: u64,
    ) -> Self {
        Burst { buffer: Some(buffer), drain, writers: WRITERS, calls, rounds, lost }
    }

    /// One more at a time than fit into a map.
    const fn full(entries: u32, losses: Losses) -> Self {
        let (drain, lost) = (Drain::AsTheyCome, Lost::Counted(losses));
        Burst { buffer: None, drain, writers: entries as u64 + 1, calls: 1, rounds: 1, lost }
    }

    /// Does it fill the map of calls under way?
    pub(crate) fn fills_pending(&self) -> bool {
        matches!(self.lost, Lost::Counted(losses) if losses.pending > 0)
    }

    /// Does the end of a call go unseen?
    pub(crate) fn has_unseen_end(&self) -> bool {
        matches!(self.lost, Lost::Counted(losses) if losses.unseen > 0)
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
    use crate::{names::NameClass, scenario::Scenario};

    /// Bytes that an event of `sys_write` takes in a perf buffer: header, size and padding beside it.
    const PERF_RECORD: u64 = 72;

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
    fn a_full_map_is_named_as_its_scenario() {
        let full = |scenario: &'static Scenario| {
            Some((scenario.burst()?, scenario.name.strip_prefix("full_")?))
        };
        let full: Vec<_> = Scenario::ALL.iter().filter_map(full).collect();
        assert_eq!(full.len(), 8);
        for (burst, map) in full {
            let expected = burst.expected(&GroundTruth::default());
            assert_eq!(expected, balance(0, &format!("1 found no room in the map `{map}`")));
        }
    }

    #[test]
    fn a_round_fits_into_a_buffer_and_all_of_them_do_not() {
        let of_perf = u64::from(kernlab_abi::PERF_PAGES) * 4096;
        for Burst { buffer, drain, writers, calls, rounds, .. } in [Burst::RING, Burst::PERF] {
            assert_eq!(drain, Drain::AsTheyCome);
            let (bytes, event, shares) = match buffer.unwrap() {
                BufferKind::Ring => (u64::from(RING_BYTES), RING_RECORD, 1),
                // Its events may be those of two processors, with a buffer each.
                BufferKind::Perf => (of_perf, PERF_RECORD, 2),
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
            let burst = Burst::full(2, pending(1));
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
        assert_eq!(in_ring(&Burst::RING, &events, &ground_truth, lost), expected);
        // How many an overflow of perf buffers loses is left to chance.
        let overflow = in_ring(&Burst::OVERFLOW_PERF, &events, &ground_truth, lost);
        assert_eq!(overflow, if lost == 7 { SOME } else { expected });
        assert_eq!(
            (Burst::RING.expected(&ground_truth), Burst::OVERFLOW_PERF.expected(&ground_truth)),
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
        let observed = in_ring(&Burst::OVERFLOW_RING, &events, &ground_truth, lost);
        assert_eq!(
            observed == Burst::OVERFLOW_RING.expected(&ground_truth),
            expected,
            "{observed}"
        );
    }

    #[test]
    fn an_overflow_is_of_the_buffer() {
        let ground_truth =
            GroundTruth { events: vec![writes_of(2, 10, 1, 10)], ..GroundTruth::default() };
        let losses = Losses { pending: 7, ..Losses::NONE };
        let events = [writes_of(2, 3, 1, 3)];
        let text =
            Burst::OVERFLOW_RING.observed(&events, &ground_truth, 7, losses, BufferKind::Ring);
        assert_eq!(text, "captured + lost = 10\nlost: 7 found no room in the map `pending`\n");
    }

    #[test]
    fn counts_of_any_size_are_added() {
        let ground_truth =
            GroundTruth { events: vec![writes_of(2, 10, 1, 10)], ..GroundTruth::default() };
        let events = [writes_of(2, u64::MAX, 1, 10), writes_of(2, u64::MAX, 1, 10)];
        let text = in_ring(&Burst::RING, &events, &ground_truth, u64::MAX);
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
        let text = in_ring(&Burst::RING, &[stray], &ground_truth, 0);
        assert!(text.ends_with(&format!("never done:\npid=1 {shown}\n")), "{text}");
    }
}
