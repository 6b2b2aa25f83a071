//! Events as text in which nothing varies from run to run, made to be read in a diff.

use std::fmt::Write as _;

use crate::{
    event::{Action, Event},
    names::{NameClass, Names},
};

/// One line per event. Each thread's events are in their order, whatever it was called when; threads are
/// in the order of their names, because nothing orders them against each other. A thread's totals are in the
/// order of their text: they come in no order from the map that they were kept in, and the clocks of some
/// kernels stand still for so long that the times of their first calls are the same.
pub fn normalise(events: &[Event], names: &Names) -> String {
    let mut lines: Vec<(String, String)> = events
        .iter()
        .map(|event| {
            let task = |id: u32| names.show(NameClass::Task, id.into());
            let thread = format!("pid={} tid={}", task(event.pid), task(event.tid));
            (thread, format!("comm={} {}", event.comm, event.action.text(names)))
        })
        .collect();
    match events.iter().all(|event| matches!(event.action, Action::Transferred { .. })) {
        true => lines.sort(),
        false => lines.sort_by(|(left, _), (right, _)| left.cmp(right)),
    }
    if lines.is_empty() {
        return "(no events)\n".to_owned();
    }
    lines.into_iter().fold(String::new(), |mut text, (thread, action)| {
        let _ = writeln!(text, "{thread} {action}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FileKind;

    fn write(tid: u32, comm: &str, count: u64) -> Event {
        let action = Action::Write { fd: 3, count, ret: count as i64 };
        Event { pid: 10, tid, comm: comm.to_owned(), action }
    }

    #[test]
    fn threads_are_sorted_and_their_events_are_not() {
        let mut names = Names::default();
        for (tid, name) in [(10, "workload"), (11, "second"), (12, "first")] {
            names.add(NameClass::Task, tid, name).unwrap();
        }
        let events = [write(11, "w", 9), write(12, "w", 5), write(11, "w", 1), write(12, "w", 6)];
        assert_eq!(
            normalise(&events, &names),
            "pid=<workload> tid=<first> comm=w write fd=3 count=5 ret=5\n\
             pid=<workload> tid=<first> comm=w write fd=3 count=6 ret=6\n\
             pid=<workload> tid=<second> comm=w write fd=3 count=9 ret=9\n\
             pid=<workload> tid=<second> comm=w write fd=3 count=1 ret=1\n"
        );
    }

    #[test]
    fn a_thread_that_takes_another_name_keeps_its_order() {
        let names = Names::default();
        let events = [write(11, "z", 1), write(11, "a", 2), write(11, "z", 3)];
        let text = normalise(&events, &names);
        let counts: Vec<_> = text.lines().map(|line| line.rsplit('=').next().unwrap()).collect();
        assert_eq!(counts, ["1", "2", "3"]);
    }

    #[test]
    fn totals_have_no_order() {
        let total = |name: &str| {
            let action = Action::Transferred {
                kind: FileKind::Regular,
                name: name.to_owned(),
                reads: 1,
                bytes_read: 5,
                writes: 0,
                bytes_written: 0,
            };
            Event { pid: 10, tid: 10, comm: "w".to_owned(), action }
        };
        let names = Names::default();
        let text = normalise(&[total("b"), total("a")], &names);
        assert_eq!(text, normalise(&[total("a"), total("b")], &names));
        assert!(text.starts_with(
            "pid=10 tid=10 comm=w file kind=regular name=\"a\" reads=1 bytes_read=5 writes=0 \
             bytes_written=0\n"
        ));
    }

    #[test]
    fn silence_is_visible() {
        assert_eq!(normalise(&[], &Names::default()), "(no events)\n");
    }
}
