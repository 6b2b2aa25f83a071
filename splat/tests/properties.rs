//! What holds for every text.

use kernlab_splat::{Kind, scan};
use proptest::prelude::*;

/// Logs with one splat whose title must survive what happens to a recording.
const LOGS: [(&str, &str); 5] = [
    ("WARNING in acme_bind", include_str!("cases/recording/time.txt")),
    (
        "KASAN: slab-use-after-free Read in acme_poll",
        include_str!("cases/kasan/use_after_free.txt"),
    ),
    (
        "BUG: unable to handle kernel NULL pointer dereference in acme_open",
        include_str!("cases/page-fault/null_pointer.txt"),
    ),
    ("INFO: task hung in acme_open", include_str!("cases/hung-task/mutex.txt")),
    ("possible deadlock in acme_flush", include_str!("cases/lockdep/circular.txt")),
];

fn log(case: &str) -> &str {
    case.split_once("\n\n").expect("a case has a head").1
}

/// Pieces that logs are made of, so that random texts reach further than random bytes do.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "[   12.345678] ",
        "[   12.345678][  T314] ",
        "<4>",
        "Mar  3 12:34:56 host kernel: ",
        "4,100,12345678,-;",
        "BUG: ",
        "BUG: KASAN: ",
        "WARNING: ",
        "CPU: 0 PID: 1 ",
        "at ",
        "mm/slub.c:12 ",
        "do_it+0x1/0x2",
        "INFO: task ",
        "blocked for more than 120 seconds.",
        "rcu: INFO: rcu_sched ",
        "self-detected stall on CPU",
        "Kernel panic - not syncing: ",
        "RIP: 0010:",
        "Call Trace:",
        "[<ffffffff81234567>]",
        " from ",
        "general protection fault",
        ": 0000 [#1]",
        "Unable to handle kernel ",
        "UBSAN: ",
        " in ",
        "[inline]",
        "\n",
        "\r",
        "\0",
        "\u{1b}[31m",
        "kernel: ",
        "é",
        "]",
        "[",
        "<IRQ>",
        "</IRQ>",
        "which became x at:",
        "+0x",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => ".{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        scan(bytes);
    }

    #[test]
    fn no_text_makes_it_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        let lines = text.matches('\n').count() + 1;
        for splat in scan(&text) {
            prop_assert!((1..=lines).contains(&splat.line), "{splat:?}");
            prop_assert!(splat.last_line >= splat.line && splat.last_line <= lines, "{splat:?}");
            prop_assert!(!splat.title.is_empty());
        }
    }

    /// A read of a serial port can end anywhere, and so can a recording.
    #[test]
    fn no_tear_names_another_kind(case in 0..LOGS.len(), at in 0.0..1.0, how in 0..3) {
        let (title, log) = (LOGS[case].0, log(LOGS[case].1));
        let at = log.floor_char_boundary((log.len() as f64 * at) as usize);
        let (before, after) = log.split_at(at);
        let torn = match how {
            0 => format!("{before}\n{after}"),
            1 => format!("{before}\r\n{after}"),
            _ => before.to_owned(),
        };
        let subject = title.split(" in ").next().unwrap_or(title);
        let subject = subject.strip_suffix(" Read").unwrap_or(subject);
        let (whole, found) = (scan(log), scan(&torn));
        prop_assert_eq!(&whole[0].title, title);
        prop_assert!(found.len() <= 1, "{:?}", found);
        for splat in &found {
            // Where the page fault's own line is cut off, the line of the oops below it is left.
            let beheaded = splat.kind == Kind::Oops && whole[0].kind == Kind::PageFault;
            let generic = matches!(splat.kind, Kind::Bug | Kind::Warning);
            let cut_off = how == 2 && subject.starts_with(&splat.title);
            prop_assert!(
                splat.title.starts_with(subject) || cut_off || beheaded || generic,
                "{:?} of {:?}", splat, title
            );
        }
    }

    #[test]
    fn other_prefixes_give_the_same_titles(
        case in 0..LOGS.len(),
        seconds in 0u32..10_000_000,
        form in 0..7,
        end in prop::sample::select(vec!["\n", "\r\n", "\r\r\n"]),
    ) {
        let (title, log) = (LOGS[case].0, log(LOGS[case].1));
        let prefixed = log.lines().map(|line| {
            let text = line.split_once("] ").map_or("", |(_, text)| text);
            let stamp = format!("[{seconds:5}.000123]");
            match form {
                0 => format!("{stamp} {text}{end}"),
                1 => format!("<4>{stamp} {text}{end}"),
                2 => format!("{stamp}[  T314] {text}{end}"),
                3 => format!("Mar  3 12:34:56 host kernel: {stamp} {text}{end}"),
                4 => format!("2025-03-03T12:34:56.123456+00:00 host kernel: {text}{end}"),
                5 => format!("4,100,{seconds},-;{text}{end}"),
                _ => format!("{text}{end}"),
            }
        });
        let found = scan(prefixed.collect::<String>());
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        prop_assert_eq!(&found[0].title, title);
    }

    /// Whatever a program prints under its own tag, and whatever it writes to /dev/kmsg.
    #[test]
    fn programs_never_splat(case in 0..LOGS.len(), form in 0..3) {
        let text = log(LOGS[case].1).lines().map(|line| {
            let text = line.split_once("] ").map_or("", |(_, text)| text);
            match form {
                0 => format!("Mar  3 12:34:56 host acmed[411]: {text}\n"),
                1 => format!("<14>[   12.345678] {text}\n"),
                _ => format!("[   12.345678] acmed[411]: {text}\n"),
            }
        });
        prop_assert_eq!(scan(text.collect::<String>()), []);
    }
}
