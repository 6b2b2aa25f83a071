//! Events as text in which nothing varies from run to run, made to be read in a diff.

use std::{fmt::Write as _, net::SocketAddr};

use crate::{
    event::{Action, Event, Value},
    ground_truth::{NameClass, Names},
};

/// One line per event. Each thread's events are in their order; threads are in the order of their
/// names, because nothing orders them against each other. A thread's totals are in the order of their
/// text: they are of the whole session, and come in no order from the map that they were kept in.
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
    match events.iter().all(|event| matches!(event.action, Action::Transferred { .. })) {
        true => lines.sort(),
        false => lines.sort_by(|(left, _), (right, _)| left.cmp(right)),
    }
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
        Action::SocketAllocated { family, socket_type } => {
            format!("socket family={family} type={socket_type}")
        }
        Action::SocketWrite { fd, bytes, family, protocol, local, remote } => format!(
            "write fd={fd} bytes={bytes} family={family} protocol={} local={} remote={}",
            family.show(*protocol),
            endpoint(*local, names),
            endpoint(*remote, names)
        ),
        Action::Writes { fd, calls, shortest, longest } => {
            format!("writes fd={fd} calls={calls} counts={shortest}..={longest}")
        }
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
        Action::Transferred { kind, name, reads, bytes_read, writes, bytes_written } => format!(
            "file kind={kind} name=\"{name}\" reads={reads} bytes_read={bytes_read} \
             writes={writes} bytes_written={bytes_written}"
        ),
        Action::Unlinked { name, lifetime } => {
            let lifetime = names.show(NameClass::Lifetime, *lifetime);
            format!("unlinked name=\"{name}\" lifetime={lifetime}")
        }
        Action::Sync { call } => format!("sync call={call}"),
        Action::UserCall { function, arguments, ret } => {
            let arguments: Vec<_> = arguments.iter().map(i32::to_string).collect();
            format!("{function}({}) = {ret}", arguments.join(", "))
        }
        Action::Read { address, outcome } => {
            format!("read({}) = {outcome}", names.show(NameClass::Address, *address))
        }
    }
}

/// `127.0.0.1:<server>`, `[::1]:<server>`, or `none`.
fn endpoint(address: Option<SocketAddr>, names: &Names) -> String {
    let Some(address) = address else { return "none".to_owned() };
    let port = names.show(NameClass::Port, address.port().into());
    match address {
        SocketAddr::V4(address) => format!("{}:{port}", address.ip()),
        SocketAddr::V6(address) => format!("[{}]:{port}", address.ip()),
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
    use rstest::rstest;

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

    #[rstest]
    #[case(Some("127.0.0.1:7000"), "127.0.0.1:<server>")]
    #[case(Some("[::1]:7000"), "[::1]:<server>")]
    #[case(Some("[::ffff:127.0.0.1]:7001"), "[::ffff:127.0.0.1]:7001")]
    #[case(None, "none")]
    fn ports_have_names(#[case] address: Option<&str>, #[case] expected: &str) {
        let mut names = Names::default();
        names.add(NameClass::Port, 7000, "server").unwrap();
        assert_eq!(endpoint(address.map(|text| text.parse().unwrap()), &names), expected);
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
