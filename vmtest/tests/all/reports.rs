//! `kernlab report` from a user's view.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use kernlab_core::{
    facts::{LayoutSource, ProbeResult},
    outcome::{Outcome, Reason},
    plan::{AttachPoint, BufferKind, ReadHelper, Target, TypeSource, Unsupported, UserFunction},
    record::Decision,
};
use kernlab_vmtest::report::{AllowedSplat, AttemptReport, LoadedObject, Report, TracerReport};

use crate::{checkout, schema};

const REPORT: &str = r#"{
  "schema": 1,
  "run": {"id": "r", "started": "2026-01-01T00:00:00Z", "duration_ms": 5, "selectors": [], "jobs": 1, "exit_code": 1},
  "kernels": [{"id": "k", "release": "6.1.0", "unavailable": null}],
  "cells": [{
    "kernel": "k", "btf": "masked", "backend": "aya", "scenario": "t/s", "outcome": "fail",
    "reason": "events-differ", "message": "they differ", "duration_ms": 3, "stages_ms": {},
    "release": "6.1.0", "predicted": null, "plan": null, "diff": "-a\n+b\n", "snapshot": "t/s", "evidence": "cells/k"
  }]
}"#;

/// The part of a cell's report with its result.
const VERDICT: &str = r#""outcome": "fail",
    "reason": "events-differ", "message": "they differ""#;

/// A checkout with the report of one run, which is the newest.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let checkout = Checkout(tempfile::tempdir().unwrap());
        checkout::mark(checkout.0.path());
        fs::write(checkout.path("kernels.toml"), "schema = 1\n").unwrap();
        let runs = checkout.path("target/kernlab");
        fs::create_dir_all(runs.join("20260101T000000")).unwrap();
        fs::write(runs.join("20260101T000000/report.json"), REPORT).unwrap();
        std::os::unix::fs::symlink("20260101T000000", runs.join("latest")).unwrap();
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The exit code, standard output and standard error of `kernlab report ...`.
    fn report(&self, arguments: &[&str], summary: &str) -> (Option<i32>, String, String) {
        self.kernlab(&[&["report"], arguments].concat(), summary)
    }

    fn kernlab(&self, arguments: &[&str], summary: &str) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_kernlab"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("GITHUB_STEP_SUMMARY", summary)
            .output()
            .unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }
}

#[test]
fn every_format_has_the_failing_cell() {
    let checkout = Checkout::new();
    for (format, expected) in [
        ("text", "k/masked/aya/t/s: fail (events-differ)\n    they differ\n    -a\n    +b\n"),
        ("markdown", "<b>k/masked/aya/t/s</b>: fail (events-differ)</summary>"),
        ("github", "```diff\n-a\n+b\n```"),
        ("html", "<del>-a</del>"),
        ("junit", "<failure message=\"fail (events-differ): they differ\" type=\"fail\">"),
        ("json", "\"outcome\": \"fail\""),
    ] {
        let (code, stdout, stderr) = checkout.report(&["--format", format], "");
        assert_eq!(code, Some(0), "{format}: {stderr}");
        assert!(stdout.contains(expected), "{format}: {stdout}");
    }
}

/// What a tracer writes gets into messages and differences, but does nothing to the user's terminal.
#[test]
fn no_text_of_others_acts_on_a_terminal() {
    let checkout = Checkout::new();
    let file = checkout.path("target/kernlab/latest/report.json");
    let text = REPORT
        .replace("they differ", "they\\u001b[2J differ\\u009b1m\\u202e")
        .replace("-a\\n", "-a\\u001b]0;title\\u0007\\n");
    fs::write(file, text).unwrap();
    let cell = "k/masked/aya/t/s";
    for arguments in [
        &["report"][..],
        &["report", "--format", "markdown"],
        &["report", "--format", "json"],
        &["why", cell],
        &["report", "\u{1b}[2J\u{202e}"],
        &["why", "\u{9b}2J"],
    ] {
        let (_, stdout, stderr) = checkout.kernlab(arguments, "");
        let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || c == '\u{202e}';
        assert!(!(stdout + &stderr).contains(acts), "{arguments:?}");
    }
    let (_, stdout, _) = checkout.report(&[], "");
    assert!(stdout.contains("they\\u001b[2J differ\\u009b1m\\u202e\n"), "{stdout}");
    let (_, json, _) = checkout.report(&["--format", "json"], "");
    let report: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(report.cells[0].message, "they\u{1b}[2J differ\u{9b}1m\u{202e}");
}

#[test]
fn what_nobody_could_read_is_no_success() {
    let checkout = Checkout::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .arg("report")
        .current_dir(checkout.0.path())
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("No space left on device"), "{stderr}");
}

#[test]
fn a_run_is_named_or_the_newest() {
    let checkout = Checkout::new();
    let expected = checkout.report(&[], "").1;
    let file = "target/kernlab/latest/report.json";
    for run in ["20260101T000000", "target/kernlab/20260101T000000", file] {
        assert_eq!(checkout.report(&[run], "").1, expected, "{run}");
    }
    let (code, _, stderr) = checkout.report(&["20250101T000000"], "");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there is no run \"20250101T000000\" in "), "{stderr}");
}

#[test]
fn the_summary_of_a_job_is_added_to() {
    let checkout = Checkout::new();
    let summary = checkout.path("summary.md");
    fs::write(&summary, "# Before\n").unwrap();
    let (code, stdout, _) =
        checkout.report(&["--format", "github"], &summary.display().to_string());
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
    let text = fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("# Before\n### kernlab: 1 cell on 1 kernel"), "{text}");
    let output = checkout.path("report.xml").display().to_string();
    assert_eq!(checkout.report(&["--format", "junit", "--output", &output], "").0, Some(0));
    assert!(fs::read_to_string(output).unwrap().starts_with("<?xml"));
}

#[test]
fn files_that_are_no_report_are_refused() {
    let checkout = Checkout::new();
    for (text, expected) in [
        ("{\"schema\": 7}", "is not a report of schema 1: its schema is 7"),
        ("{\"schema\": 1}", "is not a report of schema 1: missing field `run`"),
        ("<html>", "is not a report of schema 1: expected value at line 1"),
    ] {
        fs::write(checkout.path("other.json"), text).unwrap();
        let (code, _, stderr) = checkout.report(&["other.json"], "");
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
    fs::remove_dir_all(checkout.path("target")).unwrap();
    let (code, _, stderr) = checkout.report(&[], "");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("`cargo xtask vmtest` makes one"), "{stderr}");
}

#[test]
fn a_cell_is_explained_and_can_be_run_again() {
    let checkout = Checkout::new();
    let evidence = checkout.path("target/kernlab/20260101T000000/cells/k");
    fs::create_dir_all(evidence.join("collected")).unwrap();
    fs::write(evidence.join("stderr.txt"), "it could not attach\n").unwrap();
    fs::write(evidence.join("collected/log"), "12345").unwrap();
    let again = "cargo xtask vmtest --kernel k --btf masked --backend aya --scenario t/s\n";
    let (code, stdout, stderr) = checkout.kernlab(&["why", "k/*/s"], "");
    assert_eq!(code, Some(0), "{stderr}");
    for expected in [
        "k/masked/aya/t/s: fail (events-differ)\n  events differ from the golden snapshot\n",
        "expected and observed events\n  -a\n  +b\n",
        "standard error\n  it could not attach\n",
        "  collected/log  5 bytes\n",
        again,
    ] {
        assert!(stdout.contains(expected), "{expected:?}: {stdout}");
    }
    let words = ["repro", "k/masked/aya/t/s", "--run", "20260101T000000"];
    assert_eq!(checkout.kernlab(&words, "").1, again);
    let (_, script, _) = checkout.kernlab(&["repro", "k/masked/aya/t/s", "--script"], "");
    assert!(script.starts_with("#!/bin/sh\n") && script.contains(again), "{script}");
    for command in ["why", "repro"] {
        let (code, _, stderr) = checkout.kernlab(&[command, "k/maskd/aya/t/s"], "");
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("did you mean k/masked/aya/t/s?"), "{stderr}");
    }
}

/// The exit codes for CI, from the files of two runs.
#[test]
fn two_runs_are_compared() {
    let checkout = Checkout::new();
    let with = |file: &str, outcome: &str| {
        let text = REPORT.replace(VERDICT, &format!(r#""message": "", "outcome": {outcome}"#));
        assert_ne!(text, REPORT);
        fs::write(checkout.path(file), text.replace("\"id\": \"r\"", "\"id\": \"other\"")).unwrap();
    };
    with("passes.json", r#""pass", "reason": null"#);
    with("unknown.json", r#""infra", "reason": "qemu-failed""#);
    for (base, head, expected, line) in [
        (
            "passes.json",
            "latest",
            1,
            "r compared with other: 0 of 1 cell is the same, new failure: 1",
        ),
        ("latest", "passes.json", 0, "fixed"),
        ("latest", "latest", 0, "still failing"),
        ("passes.json", "unknown.json", 3, "inconclusive"),
        ("passes.json", "passes.json", 0, "the events of 1 that pass were not recorded"),
    ] {
        let (code, stdout, stderr) = checkout.report(&["diff", base, head], "");
        assert_eq!(code, Some(expected), "{base} {head}: {stdout}{stderr}");
        assert!(stdout.contains(line), "{stdout}");
    }
    for format in ["markdown", "github", "html", "json"] {
        let arguments = ["diff", "passes.json", "latest", "--format", format];
        let (code, stdout, _) = checkout.report(&arguments, "");
        assert_eq!(code, Some(1));
        let whole_names = stdout.replace("<wbr>", "");
        assert!(whole_names.contains("k/masked/aya/t/s"), "{stdout}");
    }
    let summary = checkout.path("summary.md");
    let arguments = ["diff", "passes.json", "latest", "--format", "github"];
    let (code, stdout, _) = checkout.report(&arguments, summary.to_str().unwrap());
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(fs::read_to_string(summary).unwrap().contains("k/masked/aya/t/s"));
}

#[test]
fn runs_are_added_up() {
    let checkout = Checkout::new();
    for (run, outcome) in [
        ("passes", r#""outcome": "pass", "reason": null"#),
        ("fails", r#""outcome": "fail", "reason": "events-differ""#),
        ("unknown", r#""outcome": "infra", "reason": "qemu-failed""#),
    ] {
        let text = REPORT.replace(VERDICT, &format!(r#""message": "", {outcome}"#));
        let text = text.replace("\"id\": \"r\"", &format!("\"id\": \"{run}\""));
        fs::write(checkout.path(run), text).unwrap();
    }
    for (runs, expected) in [
        (&["passes"][..], 0),
        (&["passes", "fails"], 1),
        (&["passes", "unknown"], 3),
        (&["passes", "fails", "unknown"], 1),
        (&["passes", "passes"], 2),
    ] {
        let (code, stdout, stderr) = checkout.report(&[&["merge"], runs].concat(), "");
        assert_eq!(code, Some(expected), "{runs:?}: {stdout}{stderr}");
    }
}

#[test]
fn what_is_compared_can_not_be_misread() {
    let checkout = Checkout::new();
    for (arguments, expected) in [
        (&["latest"][..], "<HEAD>"),
        (&["latest", "latest", "--kernels", "k", "k"], "cannot be used with"),
        (&["latest", "--kernels", "k"], "2 values required"),
        (&["latest", "--kernels", "k", "l"], "has no cells of a kernel \"l\"; its kernels are k"),
        (&["latest", "20250101T000000"], "there is no run \"20250101T000000\""),
    ] {
        let (code, _, stderr) = checkout.report(&[&["diff"], arguments].concat(), "");
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
    let (code, stdout, _) = checkout.report(&["diff", "latest", "--kernels", "k", "k"], "");
    assert_eq!(
        (code, stdout.lines().next()),
        (Some(0), Some("k compared with k: 0 of 1 cell is the same, still failing: 1"))
    );
}

#[test]
fn what_is_printed_as_json_is_as_documented() {
    let checkout = Checkout::new();
    let (_, stdout, _) = checkout.report(&["--format", "json"], "");
    assert_eq!(schema::violations(&serde_json::from_str(&stdout).unwrap()), [""; 0]);
}

/// Without this test, a schema that accepts everything would pass.
#[test]
fn the_schema_refuses_what_is_no_report() {
    for (part, instead, expected) in [
        (r#""schema": 1"#, r#""schema": 2"#, "/schema: "),
        (r#""jobs": 1"#, r#""jobs": "many""#, "/run/jobs: "),
        (r#""exit_code": 1"#, r#""exit_code": 1, "mood": "fine""#, "/run: "),
        (r#""outcome": "fail""#, r#""outcome": "failed""#, "/cells/0/outcome: "),
        (r#""outcome": "fail""#, r#""outcome": "pass""#, "/cells/0/reason: "),
        (r#""reason": "events-differ""#, r#""reason": null"#, "/cells/0/reason: "),
        (r#""plan": null"#, r#""plan": {"plan": {}}"#, "/cells/0/plan: "),
        (r#""diff": "-a\n+b\n", "#, "", "/cells/0: "),
    ] {
        let text = REPORT.replace(part, instead);
        assert_ne!(text, REPORT, "{part}");
        let violations = schema::violations(&serde_json::from_str(&text).unwrap());
        assert!(
            violations.iter().any(|violation| violation.starts_with(expected)),
            "{violations:?}"
        );
    }
}

#[test]
fn the_schema_has_every_outcome() {
    for outcome in Outcome::ALL {
        let reason = if outcome == Outcome::Pass {
            "null, \"message\": \"\""
        } else {
            "\"x\", \"message\": \"y\""
        };
        let verdict = format!(r#""outcome": "{outcome}", "reason": {reason}"#);
        let text = REPORT.replace(VERDICT, &verdict);
        assert_ne!(text, REPORT);
        let violations = schema::violations(&serde_json::from_str(&text).unwrap());
        assert_eq!(violations, [""; 0], "{outcome}");
    }
}

#[test]
fn the_schema_has_all_that_a_suite_can_say() {
    let mut report: Report = serde_json::from_str(REPORT).unwrap();
    report.remarks = vec!["opens: fail (tracer-died) on all 2 kernels".to_owned()];
    let cell = &mut report.cells[0];
    (cell.backend, cell.scenario) = ("suite".to_owned(), "opens.2".to_owned());
    cell.again = Some("kernlab test --kernel k --suite opens.2".to_owned());
    cell.remarks = vec!["`normalise.pidd` is about a field that no event has".to_owned()];
    for tracer in [
        TracerReport::default(),
        TracerReport {
            exit_code: Some(1),
            signal: Some(9),
            duration_ms: Some(7),
            ready_ms: Some(0),
            programs: vec![LoadedObject {
                name: "handle_open".to_owned(),
                kind: "tracing".to_owned(),
                verified_instructions: Some(7),
                missed_runs: Some(1),
                load_us: Some(300),
            }],
            maps: vec![LoadedObject {
                name: String::new(),
                kind: "ringbuf".to_owned(),
                verified_instructions: None,
                missed_runs: None,
                load_us: None,
            }],
            targets: vec!["vfs_open".to_owned()],
            is_object: true,
            predicted_missing: vec!["map type ringbuf: since 5.8".to_owned()],
            max_growth_percent: Some(25),
        },
    ] {
        report.cells[0].tracer = Some(tracer);
        let json = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(schema::violations(&json), [""; 0], "{json:#}");
    }
}

/// Fields that a cell's report rarely has.
#[test]
fn the_schema_has_all_that_a_cell_can_say() {
    let mut report: Report = serde_json::from_str(REPORT).unwrap();
    let cell = &mut report.cells[0];
    cell.allowed = vec![AllowedSplat {
        title: "WARNING in do_it".to_owned(),
        reason: "known".to_owned(),
        link: "https://example.org".to_owned(),
    }];
    cell.attempts = vec![AttemptReport {
        outcome: Outcome::Infra,
        reason: Some(Reason::GuestStarved),
        message: "it was not run".to_owned(),
        duration_ms: 7,
        evidence: "cells/k#2".to_owned(),
    }];
    cell.stages_ms = [("trace/open".to_owned(), 3)].into();
    let message = "there is no such function".to_owned();
    let unsupported = Unsupported { reason: Reason::MissingSymbol, message };
    cell.predicted = Some(Decision::Unsupported(unsupported));
    let [symbol, binary] = ["function", "/bin/program"].map(str::to_owned);
    let user = UserFunction { binary, symbol: symbol.clone() };
    let targets = [
        Target::Tracepoint { category: "syscalls".to_owned(), name: "sys_enter_write".to_owned() },
        Target::Kprobe { symbol: symbol.clone() },
        Target::Kretprobe { symbol },
        Target::Uprobe(user.clone()),
        Target::Uretprobe(user),
    ];
    let attach = targets.map(|target| AttachPoint { program: "program".to_owned(), target });
    for (buffer, read, types) in [
        (BufferKind::Ring, ReadHelper::Split, TypeSource::Core),
        (BufferKind::Perf, ReadHelper::Legacy, TypeSource::Layout),
    ] {
        for layout in [
            LayoutSource::Btf,
            LayoutSource::External,
            LayoutSource::Discovery,
            LayoutSource::Nowhere,
        ] {
            for ring_buffer in [ProbeResult::Yes, ProbeResult::No, ProbeResult::CouldNotTell(1)] {
                let attach = attach.to_vec();
                let plan = Decision::Plan { attach, buffer, read, types, layout, ring_buffer };
                report.cells[0].plan = Some(plan);
                let json = serde_json::from_str(&report.to_json()).unwrap();
                assert_eq!(schema::violations(&json), [""; 0], "{json:#}");
            }
        }
    }
}
