use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::suite::{
    condition::Condition,
    manifest::{FieldRule, Pattern, Replacement},
};

/// A suite with rules for fields: `pid` and `args.pid` get names, `parent` shares those of `pid`,
/// `ts` is dropped.
fn suite(order: Order) -> Suite {
    let alias = |class: &str| FieldRule::Alias { class: class.to_owned() };
    let mut suite = Suite::command(vec!["tracer".to_owned()]);
    suite.normalise.fields = [
        ("pid", alias("pid")),
        ("parent", alias("pid")),
        ("args.pid", alias("args.pid")),
        ("ts", FieldRule::Drop),
        ("args.ts", FieldRule::Drop),
    ]
    .map(|(name, rule)| (name.to_owned(), rule))
    .into();
    suite.order = order;
    suite
}

/// A rule is for the field of that whole name, and for no field inside of others.
#[rstest]
#[case::outer("ts", "{\"args\": {\"ts\": 1}}\n")]
#[case::inner("args.ts", "{\"args\": {}, \"ts\": 2}\n")]
fn what_is_dropped_has_the_whole_name(#[case] dropped: &str, #[case] expected: &str) {
    let mut suite = Suite::command(vec!["tracer".to_owned()]);
    suite.normalise.fields = [(dropped.to_owned(), FieldRule::Drop)].into();
    let text = normalise(br#"{"args":{"ts":1},"ts":2}"#, &suite).unwrap();
    assert_eq!(text, expected);
}

fn per_pid() -> Order {
    Order::PerField("pid".to_owned())
}

#[rstest]
#[case::keys_are_sorted(
    r#"{"b":1,"a":[true,null,1.5,"x"]}"#,
    "{\"a\": [true, null, 1.5, \"x\"], \"b\": 1}\n"
)]
#[case::names(
    "{\"pid\":17,\"ts\":5}\n{\"pid\":4}\n{\"pid\":17}\n",
    "{\"pid\": \"<pid1>\"}\n{\"pid\": \"<pid2>\"}\n{\"pid\": \"<pid1>\"}\n"
)]
#[case::shared_names(
    "{\"pid\":17,\"parent\":4}\n{\"pid\":4}\n",
    "{\"parent\": \"<pid1>\", \"pid\": \"<pid2>\"}\n{\"pid\": \"<pid1>\"}\n"
)]
#[case::nested(
    r#"{"args":{"pid":17,"ts":1,"fd":3},"pid":17}"#,
    "{\"args\": {\"fd\": 3, \"pid\": \"<args.pid1>\"}, \"pid\": \"<pid1>\"}\n"
)]
#[case::lists(
    r#"{"args":[{"pid":1},{"pid":2,"ts":0}],"pid":[7,8,7]}"#,
    "{\"args\": [{\"pid\": \"<args.pid1>\"}, {\"pid\": \"<args.pid2>\"}], \
     \"pid\": [\"<pid1>\", \"<pid2>\", \"<pid1>\"]}\n"
)]
#[case::texts_and_numbers_differ(
    "{\"pid\":\"1\"}\n{\"pid\":1}\n{\"pid\":null}\n",
    "{\"pid\": \"<pid1>\"}\n{\"pid\": \"<pid2>\"}\n{\"pid\": null}\n"
)]
#[case::large(
    r#"{"pid":18446744073709551615,"n":18446744073709551615}"#,
    "{\"n\": 18446744073709551615, \"pid\": \"<pid1>\"}\n"
)]
#[case::no_events("", "")]
#[case::other_lines("a\tb\n\n[1,2]\n", "a\tb\n\n[1,2]\n")]
#[case::not_quite_json("{\"pid\":17\n", "{\"pid\":17\n")]
fn fields_are_normalised(#[case] stdout: &str, #[case] expected: &str) {
    assert_eq!(normalise(stdout.as_bytes(), &suite(Order::Strict)).unwrap(), expected);
}

#[rstest]
#[case(b"\xff\xfe ok\n", "\\xff\\xfe ok\n")]
#[case(b"\\xff\n", "\\\\xff\n")]
#[case(b"\x1b[0m\r\x00\n", "\\u{1b}[0m\\u{d}\\u{0}\n")]
#[case(b"windows\r\n", "windows\n")]
fn different_lines_stay_different(#[case] stdout: &[u8], #[case] expected: &str) {
    assert_eq!(normalise(stdout, &suite(Order::Strict)).unwrap(), expected);
}

#[test]
fn lines_that_are_no_events_have_replacements() {
    let mut suite = suite(Order::Strict);
    let replace = |pattern, with: &str| Replacement {
        pattern: Pattern::new(pattern).unwrap(),
        with: with.to_owned(),
    };
    suite.normalise.replace = vec![
        replace(r"pid (\d)\d*", "pid $1.."),
        replace(r"(?-u)\xff", "?"),
        replace(r"\.\.", "<n>"),
    ];
    let text = normalise(b"pid 4711 pid 58 \xff\n{\"a\":\"pid 47\"}\n", &suite).unwrap();
    assert_eq!(text, "pid 4<n> pid 5<n> ?\n{\"a\": \"pid 47\"}\n");
}

#[test]
fn only_events_that_fulfil_the_condition_count() {
    let mut suite = suite(Order::Strict);
    suite.events = Some(Condition::parse("comm == 'victim'").unwrap());
    let stdout = b"attached\n{\"comm\":\"cron\",\"pid\":3}\n{\"comm\":\"victim\",\"pid\":4}\n";
    let expected = "{\"comm\": \"victim\", \"pid\": \"<pid1>\"}\n";
    assert_eq!(normalise(stdout, &suite).unwrap(), expected);
}

#[test]
fn a_class_that_ends_with_a_digit_shares_no_name() {
    let mut suite = suite(Order::Strict);
    let class = "pid1".to_owned();
    suite.normalise.fields.insert("other".to_owned(), FieldRule::Alias { class });
    let pids = (1..=11).map(|pid| format!("{{\"pid\":{pid}}}\n"));
    let stdout: String = pids.chain(["{\"other\":1}\n".to_owned()]).collect();
    let text = normalise(stdout.as_bytes(), &suite).unwrap();
    assert!(text.ends_with("{\"pid\": \"<pid11>\"}\n{\"other\": \"<pid1#1>\"}\n"), "{text}");
}

#[rstest]
#[case::strict(Order::Strict, ["b 7", "a 8", "b 8"], ["b <pid1>", "a <pid2>", "b <pid2>"])]
#[case::unordered(Order::Unordered, ["b 7", "a 8", "b 8"], ["a <pid1>", "b <pid1>", "b <pid2>"])]
#[case::per_field(per_pid(), ["b 7", "a 8", "b 8"], ["a <pid1>", "b <pid1>", "b <pid2>"])]
#[case::per_field_in_order(per_pid(), ["b 8", "b 7", "a 8"], ["b <pid1>", "b <pid2>", "a <pid2>"])]
fn the_order_is_the_suites(
    #[case] order: Order,
    #[case] events: [&str; 3],
    #[case] expected: [&str; 3],
) {
    let split = |event: &str| {
        let (call, pid) = event.split_once(' ').unwrap();
        (call.to_owned(), pid.to_owned())
    };
    let stdout: String = events
        .map(split)
        .map(|(call, pid)| format!("{{\"call\":\"{call}\",\"pid\":{pid}}}\n"))
        .concat();
    let expected: Vec<String> = expected
        .map(split)
        .map(|(call, pid)| format!("{{\"call\": \"{call}\", \"pid\": \"{pid}\"}}"))
        .into();
    let observed = normalise(stdout.as_bytes(), &suite(order)).unwrap();
    let observed: Vec<&str> = observed.lines().collect();
    assert_eq!(observed, expected);
}

/// Each value occurs in events that look alike, so only who belongs to whom tells them apart: a cycle
/// of six processes, or two of three.
#[test]
fn structures_are_told_apart() {
    let ring = |pids: &[u32]| -> String {
        let next = pids.iter().cycle().skip(1);
        pids.iter()
            .zip(next)
            .map(|(pid, other)| format!("{{\"pid\":{pid},\"parent\":{other}}}\n"))
            .collect()
    };
    let text = |stdout: String| normalise(stdout.as_bytes(), &suite(Order::Unordered)).unwrap();
    let six = text(ring(&[1, 2, 3, 4, 5, 6]));
    assert_eq!(six, text(ring(&[6, 2, 4, 1, 5, 3])));
    let threes = text(ring(&[1, 2, 3]) + &ring(&[4, 5, 6]));
    assert_eq!(threes, text(ring(&[6, 1, 4]) + &ring(&[3, 5, 2])));
    assert_ne!(six, threes);
    let both = text(ring(&[1, 2, 3]) + &ring(&[7, 8, 9, 10, 11, 12]) + &ring(&[4, 5, 6]));
    assert_eq!(both, text(ring(&[3, 5, 4, 9, 8, 1]) + &ring(&[2, 6, 12]) + &ring(&[7, 11, 10])));
}

/// Each process has another value of its own: nothing tells them apart, and they must stay together.
#[test]
fn many_processes_that_do_the_same_take_no_time() {
    let events = |pids: &mut dyn Iterator<Item = u32>| -> String {
        let event = |pid| {
            format!(
                "{{\"pid\":{pid},\"parent\":1}}\n{{\"pid\":{pid},\"args\":{{\"pid\":{pid}}}}}\n"
            )
        };
        pids.map(event).collect()
    };
    let text = |stdout: String| normalise(stdout.as_bytes(), &suite(Order::Unordered)).unwrap();
    assert_eq!(text(events(&mut (2..1000))), text(events(&mut (2..1000).rev())));
}

/// All know all: whichever is told apart first, the others are still alike.
#[test]
fn a_dense_structure_takes_no_time() {
    let events = |pids: &[u32]| -> String {
        let pairs = pids.iter().flat_map(|pid| pids.iter().map(move |other| (pid, other)));
        pairs.map(|(pid, other)| format!("{{\"pid\":{pid},\"parent\":{other}}}\n")).collect()
    };
    let text = |pids: &[u32]| normalise(events(pids).as_bytes(), &suite(Order::Unordered)).unwrap();
    let pids: Vec<u32> = (0..25).collect();
    let reversed: Vec<u32> = (0..25).rev().collect();
    assert_eq!(text(&pids), text(&reversed));
}

#[rstest]
#[case::integers(r#"{"a":18446744073709551616}"#, r#"{"a": 18446744073709551616}"#)]
#[case::neighbours(r#"{"a":-18446744073709551617}"#, r#"{"a": -18446744073709551617}"#)]
#[case::names(
    r#"{"pid":18446744073709551616,"parent":18446744073709551617}"#,
    r#"{"parent": "<pid1>", "pid": "<pid2>"}"#
)]
#[case::names_of_objects(
    r#"{"pid":{"b":[18446744073709551616,1.50],"a":"\u0041"},"parent":{"a":"A","b":[18446744073709551617,1.5]}}"#,
    r#"{"parent": "<pid1>", "pid": "<pid2>"}"#
)]
#[case::the_same_object(
    r#"{"pid":{"b":[18446744073709551616,1.50],"a":"\u0041"},"parent":{"a":"A","b":[18446744073709551616,1.5]}}"#,
    r#"{"parent": "<pid1>", "pid": "<pid1>"}"#
)]
#[case::other_numbers(
    r#"{"a":[1.50, 1.8446744073709551616e19, -0, -0.0, 1E2, 7]}"#,
    r#"{"a": [1.5, 1.8446744073709552e+19, -0.0, -0.0, 100.0, 7]}"#
)]
#[case::the_last_of_a_name(r#"{"a":1,"a":{"c":2,"b":[]}}"#, r#"{"a": {"b": [], "c": 2}}"#)]
fn numbers_of_any_size_are_exact(#[case] line: &str, #[case] expected: &str) {
    let text = normalise(line.as_bytes(), &suite(Order::Strict)).unwrap();
    assert_eq!(text, format!("{expected}\n"));
}

#[test]
fn fields_of_any_size_tell_units_apart() {
    let lines =
        ["{\"pid\":18446744073709551616,\"n\":1}", "{\"pid\":18446744073709551617,\"n\":2}"];
    let text = |lines: &[&str]| normalise(lines.join("\n").as_bytes(), &suite(per_pid())).unwrap();
    assert_eq!(text(&lines), text(&[lines[1], lines[0]]));
}

#[test]
fn what_can_t_be_compared_is_an_error() {
    let error =
        |stdout: &str, order| normalise(stdout.as_bytes(), &suite(order)).unwrap_err().to_string();
    assert_eq!(
        error("{\"tid\":1}\nx\n", per_pid()),
        "the order is `per-pid`, but none of the 1 events has the field `pid`"
    );
    assert_eq!(normalise(b"x\n", &suite(per_pid())).unwrap(), "x\n");
}

#[rstest]
#[case(r"lost (\d+)", "lost 3\nfound 4\nlost 40, lost 5", 48)]
#[case(r"lost (\d+)", "none", 0)]
#[case(r"lost (\d+)", "lost 18446744073709551615 lost 1", u64::MAX)]
#[case(r"lost (\d+)", "lost 99999999999999999999", u64::MAX)]
fn lost_events_are_added_up(#[case] pattern: &str, #[case] output: &str, #[case] expected: u64) {
    let pattern = Pattern::new(pattern).unwrap();
    let of = |stream| Lost { stream, pattern: pattern.clone(), max: 0 };
    assert_eq!(lost(output.as_bytes(), b"lost 1", &of(Stream::Stdout)), Ok(expected));
    assert_eq!(lost(b"lost 1", output.as_bytes(), &of(Stream::Stderr)), Ok(expected));
}

#[rstest]
#[case(r"lost (\w+)", "lost some of them", "lost some", "some")]
#[case(r"lost (\S+)", "lost 1,024", "lost 1,024", "1,024")]
#[case(r"lost(?: (\d+))?", "lost", "lost", "")]
fn what_is_no_number_is_named(
    #[case] pattern: &str,
    #[case] output: &str,
    #[case] matched: &str,
    #[case] group: &str,
) {
    let pattern = Pattern::new(pattern).unwrap();
    let rule = Lost { stream: Stream::Stdout, pattern, max: 0 };
    let error = lost(output.as_bytes(), b"", &rule).unwrap_err().to_string();
    let expected = format!(
        "the pattern of `lost` matches `{matched}`, where its group is `{group}`, which is not a number: \
         write the group as `(\\d+)`"
    );
    assert_eq!(error, expected);
}

#[test]
fn equal_texts_have_no_diff() {
    assert_eq!(diff("a\n", "a\n"), None);
    let diff = diff("a\nb\n", "a\nc\n").unwrap();
    assert_eq!(diff, "--- expected\n+++ observed\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
}

#[derive(Debug, Clone)]
struct Event {
    call: u8,
    pid: u8,
    parent: Option<u8>,
    other: Option<u8>,
}

fn event() -> impl Strategy<Value = Event> {
    (0..2_u8, 0..4_u8, proptest::option::of(0..4_u8), proptest::option::of(0..3_u8))
        .prop_map(|(call, pid, parent, other)| Event { call, pid, parent, other })
}

fn printed(events: &[Event], rename: impl Fn(u8) -> u32) -> String {
    let print = |event: &Event| {
        let mut value = serde_json::json!({ "call": event.call, "pid": rename(event.pid) });
        if let Some(parent) = event.parent {
            value["parent"] = rename(parent).into();
        }
        if let Some(other) = event.other {
            value["args"] = serde_json::json!({ "pid": rename(other) });
        }
        format!("{value}\n")
    };
    events.iter().map(print).collect()
}

#[test]
fn control_characters_are_escaped_in_events_too() {
    let stdout = "{\"a\u{7f}\": \"\u{9b}31m\\u001b\"}\n".as_bytes();
    let text = normalise(stdout, &suite(Order::Strict)).unwrap();
    assert_eq!(text, "{\"a\\u007f\": \"\\u009b31m\\u001b\"}\n");
}

proptest! {
    /// Neither the order of events nor the values of names matter.
    #[test]
    fn a_multiset_has_one_text(
        (events, shuffled) in prop::collection::vec(event(), 0..12)
            .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
        factor in prop::sample::select(vec![1_u32, 7, 1000]),
    ) {
        let suite = suite(Order::Unordered);
        let text = normalise(printed(&events, u32::from).as_bytes(), &suite).unwrap();
        let renamed = printed(&shuffled, |pid| (100 - u32::from(pid)) * factor);
        prop_assert_eq!(text, normalise(renamed.as_bytes(), &suite).unwrap());
    }

    /// Only the order among events of one process matters.
    #[test]
    fn threads_may_interleave_as_they_like(
        events in prop::collection::vec(event(), 0..12),
        priorities in prop::sample::subsequence(vec![0_usize, 1, 2, 3], 4).prop_shuffle(),
    ) {
        let suite = suite(per_pid());
        let text = normalise(printed(&events, u32::from).as_bytes(), &suite).unwrap();
        let mut sorted = events.clone();
        sorted.sort_by_key(|event| priorities[usize::from(event.pid)]);
        prop_assert_eq!(text, normalise(printed(&sorted, |pid| 50 - u32::from(pid)).as_bytes(), &suite).unwrap());
    }

    /// Two values never share a name, and one never has two: with the names put back, the text is what
    /// was printed.
    #[test]
    fn names_are_as_different_as_values(events in prop::collection::vec(event(), 0..12)) {
        let text = normalise(printed(&events, u32::from).as_bytes(), &suite(Order::Strict)).unwrap();
        let mut names = std::collections::BTreeMap::new();
        for (event, line) in events.iter().zip(text.lines()) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = [
                ("pid", Some(event.pid), line.get("pid")),
                ("pid", event.parent, line.get("parent")),
                ("args.pid", event.other, line.pointer("/args/pid")),
            ];
            for (class, value, name) in fields {
                prop_assert_eq!(value.is_some(), name.is_some());
                if let (Some(value), Some(name)) = (value, name) {
                    let known = names.entry((class, value)).or_insert_with(|| name.clone());
                    prop_assert_eq!(&*known, name);
                }
            }
        }
        let mut given: Vec<_> = names.values().map(ToString::to_string).collect();
        given.sort();
        given.dedup();
        prop_assert_eq!(given.len(), names.len());
    }

    /// Different multisets have different texts, as long as no values are exchanged.
    #[test]
    fn different_events_differ(
        left in prop::collection::vec(event(), 0..6),
        right in prop::collection::vec(event(), 0..6),
    ) {
        let suite = suite(Order::Unordered);
        let calls = |events: &[Event]| {
            let mut calls: Vec<_> = events
                .iter()
                .map(|event| (event.call, event.parent.is_some(), event.parent == Some(event.pid)))
                .collect();
            calls.sort();
            calls
        };
        prop_assume!(calls(&left) != calls(&right));
        let text = |events: &[Event]| normalise(printed(events, u32::from).as_bytes(), &suite).unwrap();
        prop_assert_ne!(text(&left), text(&right));
    }

    #[test]
    fn no_output_makes_it_panic(stdout in prop::collection::vec(any::<u8>(), 0..60)) {
        normalise(&stdout, &suite(Order::Unordered)).unwrap();
    }
}
