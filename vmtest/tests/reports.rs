//! `kernlab report` as a user meets it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

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

/// A checkout with the report of one run, which is the newest.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let checkout = Checkout(tempfile::tempdir().unwrap());
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
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_kernlab"))
            .arg("report")
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
    assert!(text.starts_with("# Before\n### kernlab: 1 cells on 1 kernels"), "{text}");
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

/// Exit codes for CI, from the files of two runs.
#[test]
fn two_runs_are_compared() {
    let checkout = Checkout::new();
    let verdict = r#""outcome": "fail",
    "reason": "events-differ", "message": "they differ""#;
    let with = |file: &str, outcome: &str| {
        let text = REPORT.replace(verdict, &format!(r#""message": "", "outcome": {outcome}"#));
        assert_ne!(text, REPORT);
        fs::write(checkout.path(file), text.replace("\"id\": \"r\"", "\"id\": \"other\"")).unwrap();
    };
    with("passes.json", r#""pass", "reason": null"#);
    with("unknown.json", r#""infra", "reason": "qemu-failed""#);
    for (base, head, expected, told) in [
        ("passes.json", "latest", 1, "r beside other: 0 of 1 cells are the same, new failure: 1"),
        ("latest", "passes.json", 0, "fixed"),
        ("latest", "latest", 0, "still failing"),
        ("passes.json", "unknown.json", 3, "inconclusive"),
        ("passes.json", "passes.json", 0, "the events of 1 that pass are not at hand"),
    ] {
        let (code, stdout, stderr) = checkout.report(&["diff", base, head], "");
        assert_eq!(code, Some(expected), "{base} {head}: {stdout}{stderr}");
        assert!(stdout.contains(told), "{stdout}");
    }
    for format in ["markdown", "github", "html", "json"] {
        let arguments = ["diff", "passes.json", "latest", "--format", format];
        let (code, stdout, _) = checkout.report(&arguments, "");
        assert_eq!(code, Some(1));
        assert!(stdout.contains("k/masked/aya/t/s"), "{stdout}");
    }
    let summary = checkout.path("summary.md");
    let arguments = ["diff", "passes.json", "latest", "--format", "github"];
    let (code, stdout, _) = checkout.report(&arguments, summary.to_str().unwrap());
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(fs::read_to_string(summary).unwrap().contains("k/masked/aya/t/s"));
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
        (Some(0), Some("k beside k: 0 of 1 cells are the same, still failing: 1"))
    );
}
