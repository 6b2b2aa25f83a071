//! Every file in `tests/cases` is a log and the splats that are in it.
//!
//! A file begins with one line for each splat, `splat: kind | title | frame | line`, in the order of
//! the log, and `note:` lines for the reader; none of the former means that there is nothing to find.
//! The log follows behind the first empty line, and lines are counted from there.

use std::{fs, path::Path};

use kernlab_splat::{Splat, scan};

/// A file of the directory.
struct Case {
    name: String,
    expected: Vec<String>,
    log: Vec<u8>,
}

/// All files of the directory, by name.
fn cases() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files = Vec::new();
    for group in fs::read_dir(dir).expect("the directory is there") {
        let group = group.expect("a directory can be listed").path();
        let of_group = fs::read_dir(&group).expect("cases are in directories");
        files.extend(of_group.map(|file| file.expect("a directory can be listed").path()));
    }
    files.sort();
    files.iter().map(|file| case(file)).collect()
}

fn case(file: &Path) -> Case {
    let content = fs::read(file).expect("a case can be read");
    let head = content.windows(2).position(|pair| pair == b"\n\n").map_or(0, |at| at + 1);
    // A case without a head begins with the empty line.
    let (head, log) = content.split_at(if content.starts_with(b"\n") { 0 } else { head });
    let head = str::from_utf8(head).expect("a head is text");
    let expected = head.lines().filter_map(|line| line.strip_prefix("splat: "));
    for line in head.lines() {
        let known = line.starts_with("splat: ") || line.starts_with("note: ");
        assert!(known, "{}: {line:?} is no line of a head", file.display());
    }
    Case {
        name: file.display().to_string(),
        expected: expected.map(ToOwned::to_owned).collect(),
        log: log[1..].to_vec(),
    }
}

/// A splat as the head of a case has it.
fn line(splat: &Splat) -> String {
    let frame = splat.frame.as_deref().unwrap_or("-");
    format!("{} | {} | {frame} | {}", splat.kind, splat.title, splat.line)
}

#[test]
fn every_log_has_its_splats_and_no_others() {
    let mut wrong = String::new();
    for case in cases() {
        let found = scan(&case.log).iter().map(line).collect::<Vec<_>>();
        if found != case.expected {
            wrong +=
                &format!("\n{}\n expected {:#?}\n found {found:#?}\n", case.name, case.expected);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_dir_has_every_kind_and_what_is_none() {
    let cases = cases();
    let negatives = cases.iter().filter(|case| case.expected.is_empty()).count();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    assert!(negatives >= 40, "{negatives} cases without a splat");
    for kind in KINDS {
        let of_kind = |case: &&Case| case.expected.iter().any(|line| line.starts_with(kind));
        assert!(cases.iter().filter(of_kind).count() >= 2, "fewer than two cases of {kind}");
    }
}

const KINDS: [&str; 24] = [
    "bug |",
    "warning |",
    "oops |",
    "general-protection-fault |",
    "page-fault |",
    "panic |",
    "kasan |",
    "kmsan |",
    "kcsan |",
    "kfence |",
    "ubsan |",
    "lockdep |",
    "atomic-sleep |",
    "rcu-stall |",
    "hung-task |",
    "soft-lockup |",
    "hard-lockup |",
    "workqueue-lockup |",
    "unregister-netdevice |",
    "list-corruption |",
    "refcount-corruption |",
    "slab-corruption |",
    "out-of-memory |",
    "memory-leak |",
];
