//! `kernlab site` from a user's view.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

const REPORT: &str = r#"{
  "schema": 1,
  "run": {"id": "r", "started": "2026-01-01T00:00:00Z", "duration_ms": 5, "selectors": [], "jobs": 1, "exit_code": 1},
  "kernels": [{"id": "debian-6.1", "release": "6.1.0", "unavailable": null}],
  "cells": [{
    "kernel": "debian-6.1", "btf": "embedded", "backend": "suite", "scenario": "opens", "outcome": "fail",
    "reason": "events-differ", "message": "they differ", "duration_ms": 3, "stages_ms": {},
    "release": "6.1.0", "predicted": null, "plan": null, "diff": "-a\n+b\n", "snapshot": null, "evidence": ""
  }]
}"#;

/// The exit code, standard output and standard error of `kernlab site ...` in a directory.
fn site(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .arg("site")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A project with one run.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join(".kernlab/r");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("report.json"), REPORT).unwrap();
    fs::write(dir.path().join("kernlab.toml"), "").unwrap();
    dir
}

#[test]
fn runs_are_named_by_directory_name_or_file() {
    let dir = project();
    for (number, run) in [".kernlab/r", "r", ".kernlab/r/report.json"].iter().enumerate() {
        let into = format!("site{number}");
        let (code, stdout, stderr) = site(dir.path(), &["--into", &into, run]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{run}");
        assert!(stdout.starts_with(&format!("{into}/index.html: 1 cell of 1 run, ")), "{stdout}");
        let read = |into: &str| fs::read(dir.path().join(into).join("index.html")).unwrap();
        assert_eq!(read(&into), read("site0"), "{run}");
    }
}

#[test]
fn mistakes_of_the_user_are_told() {
    let dir = project();
    fs::write(dir.path().join("broken.json"), "{").unwrap();
    for (arguments, expected) in [
        (&["--into", "site", "nothing"][..], "there is no run \"nothing\""),
        (&["--into", "site", "broken.json"], "broken.json is not a report of schema 1"),
        (&["--into", ".", "r"], ". is neither empty nor a site of kernlab"),
        (&["--into", "site", "--url", "ftp://x", "r"], "is not an address such as https://"),
        (&["--into", "site"], "required"),
    ] {
        let (code, stdout, stderr) = site(dir.path(), arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(!dir.path().join("site/index.html").exists(), "{arguments:?}");
    }
}

#[test]
fn a_closed_output_is_no_error() {
    let dir = project();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(["site", "--into", "site", "r"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(dir.path().join("site/index.html").exists());
}
