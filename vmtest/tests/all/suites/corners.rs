//! What an attack found: suites at the edges of what a guest can be asked for.

use std::fs;

use kernlab_core::outcome::{Outcome, Reason};

use super::{Project, by_suite};

#[test]
fn every_corner_has_a_clear_outcome() {
    let project = Project::new(include_str!("corners.toml"));
    let (code, report) = project.test(&[]);
    assert_eq!(code, 1);
    let cells = by_suite(&report);
    let (pass, fail) = (Outcome::Pass, Outcome::Fail);
    for (suite, outcome, reason, message) in [
        ("imitates-the-kernel", pass, None, ""),
        ("has-idle-rules", pass, None, ""),
        (
            "loses-a-word",
            fail,
            Some(Reason::EventsLost),
            "its group is `many`, which is not a number",
        ),
        ("collects-what-has-no-end", pass, None, ""),
        ("takes-all-memory", fail, Some(Reason::OutOfMemory), "it has 256 MiB"),
        ("fills-its-file-system", fail, Some(Reason::UnexpectedExit), "it has 256 MiB"),
        ("leaves-its-group", pass, None, ""),
        ("expects-by-any-function", Outcome::Unsupported, Some(Reason::ExpectedFailure), "known"),
    ] {
        let cell = cells[suite];
        let what = format!("{suite}: {}: {}", cell.verdict(), cell.message);
        assert_eq!((cell.outcome, cell.reason), (outcome, reason), "{what}");
        assert!(cell.message.contains(message), "{what}");
        assert!(cell.duration_ms < 60_000, "{suite}: {} ms", cell.duration_ms);
    }
    let told = report.remarks.join("\n");
    for remark in [
        "imitates-the-kernel: the text \"BUG: unable to handle kernel paging request\" in line ",
        "has-idle-rules: `normalise.pidd` is about a field that no event has: did you mean `pid`?",
        "has-idle-rules: `events` compares the field `retval`, which no event has",
        "of `lost` matches nothing on stderr, where the tracer printed `dropped 3 events`",
        "collects-what-has-no-end: /tmp/pipe was not brought back",
        "collects-what-has-no-end: /dev/zero was not brought back",
        "collects-what-has-no-end: /proc/kcore was not brought back",
        "no kernel of this run has `symbol.vfs_tmpfile_opne`, which `expect` names: did you mean \
         `symbol.vfs_tmpfile_open`?",
        "all suites: `normalise.tss` is about a field that no event has: did you mean `ts`?",
    ] {
        assert!(told.contains(remark), "{remark}\nin\n{told}");
    }
    let cell = cells["collects-what-has-no-end"];
    let collected = project.path().join(".kernlab/latest").join(&cell.evidence).join("collected");
    assert_eq!(fs::read(collected.join("tmp/well")).unwrap(), b"well\n");
    assert!(!fs::read(collected.join("proc/kmsg")).unwrap().is_empty());
}
