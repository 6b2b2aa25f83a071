//! Events as text in which nothing varies from run to run, made to be read in a diff.

use std::fmt::Write as _;

use crate::{
    account::{NameClass, Names},
    event::{Action, Event, Value},
};

/// One line per event. Each thread's events are in their order; threads are in the order of their
/// names, because nothing orders them against each other.
pub fn normalise(events: &[Event], names: &Names) -> String {
    let mut lines: Vec<(String, String)> = events
        .iter()
        .map(|event| {
            let task = format!(
                "pid={} tid={} comm={}",
                names.show(NameClass::Task, event.pid.into()),
                names.show(NameClass::Task, event.tid.into()),
                event.comm
            );
            (task, action(&event.action, names))
        })
        .collect();
    lines.sort_by(|(left, _), (right, _)| left.cmp(right));
    if lines.is_empty() {
        return "(no events)\n".to_owned();
    }
    lines.into_iter().fold(String::new(), |mut text, (task, action)| {
        let _ = writeln!(text, "{task} {action}");
        text
    })
}

fn action(action: &Action, names: &Names) -> String {
    match action {
        Action::Write { fd, count, ret } => format!("write fd={fd} count={count} ret={ret}"),
        Action::Rename { half, directory, cookie, name } => {
            let cookie = names.show(NameClass::Cookie, (*cookie).into());
            let directory = if *directory { " directory" } else { "" };
            format!("{half}{directory} cookie={cookie} name=\"{name}\"")
        }
        Action::Call { function, arguments } => {
            let arguments: Vec<_> = arguments
                .iter()
                .map(|(parameter, value)| format!("{parameter}={}", show(value, names)))
                .collect();
            format!("{function}({})", arguments.join(", "))
        }
    }
}

fn show(value: &Value, names: &Names) -> String {
    match value {
        Value::Number(number) if *number < 4096 => number.to_string(),
        Value::Number(number) => format!("{number:#x}"),
        Value::Null => "null".to_owned(),
        Value::User(address) => names.show(NameClass::Address, *address),
        Value::Symbol(name) => format!("&{name}"),
        Value::Kernel => "<kernel>".to_owned(),
        Value::Text(text) => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn silence_is_visible() {
        assert_eq!(normalise(&[], &Names::default()), "(no events)\n");
    }

    #[test]
    fn arguments_are_shown_by_what_they_are() {
        let mut names = Names::default();
        names.add(NameClass::Address, 0x1000, "buffer").unwrap();
        let values = [
            ("small", Value::Number(-3)),
            ("large", Value::Number(0x3f01_0000)),
            ("null", Value::Null),
            ("named", Value::User(0x1000)),
            ("unnamed", Value::User(0x2000)),
            ("symbol", Value::Symbol("key_type_keyring".into())),
            ("kernel", Value::Kernel),
            ("text", Value::Text("_pid".into())),
        ];
        let arguments = values.map(|(name, value)| (name.to_owned(), value)).to_vec();
        assert_eq!(
            action(&Action::Call { function: "f".into(), arguments }, &names),
            "f(small=-3, large=0x3f010000, null=null, named=<buffer>, unnamed=0x2000, \
             symbol=&key_type_keyring, kernel=<kernel>, text=\"_pid\")"
        );
    }
}
