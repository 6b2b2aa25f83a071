//! `cargo xtask pages`: whether the HTML reports do what they should in a real browser.

use std::{env, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    build::{self, HostTool},
    exit::Exit,
    invocation::Invocation,
    workspace,
};

/// What Chromium is called.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Used in the page by the browser.
const PROBE: &str = include_str!("pages/probe.js");
/// A screen, and a telephone, in CSS pixels.
const WIDTHS: [u32; 2] = [1400, 420];
/// A browser starts in a second or two.
const DEADLINE: Duration = Duration::from_secs(90);

/// Open the HTML reports in Chromium without a window, wide and narrow, and use them.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<Exit> {
    let Some(browser) = browser() else {
        eprintln!("error: {}", explain());
        return Ok(Exit::Infrastructure);
    };
    let tool = build::host_tool()?;
    // Not in /tmp: a browser that is packed in a container sees its own.
    let target = workspace::root().join("target");
    let dir = tempfile::Builder::new()
        .prefix("pages-")
        .tempdir_in(&target)
        .with_context(|| format!("failed to make a directory in {}", target.display()))?;
    let mut exit = Exit::Success;
    for (name, page) in pages(&tool, dir.path())? {
        write(dir.path(), "page.html", &with_probe(&page)?)?;
        for width in WIDTHS {
            let frame = write(dir.path(), "frame.html", &frame_of("page.html", width))?;
            let found = open(&browser, &frame)?;
            let told = problems(&found).unwrap_or("it did not get to the end of the probe");
            println!("{name}, {width} pixels wide: {}", if told == "none" { "ok" } else { told });
            if told != "none" {
                exit = Exit::Failure;
            }
        }
    }
    Ok(exit)
}

/// What is not here, and how to get it; none if it is.
pub(crate) fn missing() -> Option<String> {
    browser().is_none().then(explain)
}

fn explain() -> String {
    "no Chromium here; Debian has it as `apt-get install chromium`".to_owned()
}

fn browser() -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = env::split_paths(&path).collect();
    let mut paths = BROWSERS.iter().flat_map(|name| dirs.iter().map(move |f| f.join(name)));
    paths.find(|path| path.is_file())?.into_os_string().into_string().ok()
}

/// The page of a run in which something is wrong, and that of a comparison.
fn pages(tool: &HostTool, dir: &Path) -> Result<[(&'static str, String); 2]> {
    let mut report = report();
    let run = write(dir, "run.json", &report.to_string())?;
    // What failed before and still does is shown, and is no error. What can't be told is one.
    if let Some(cells) = report["cells"].as_array_mut() {
        cells.retain(|cell| cell["outcome"] != "infra");
    }
    let known = write(dir, "known.json", &report.to_string())?;
    let ask = |args: &[&str]| tool.ask(&args.iter().map(Into::into).collect::<Vec<_>>());
    Ok([
        ("a run", ask(&["report", "--format", "html", &run])?),
        ("a comparison", ask(&["report", "diff", "--format", "html", &known, &known])?),
    ])
}

fn write(dir: &Path, name: &str, content: &str) -> Result<String> {
    let path = dir.join(name);
    fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
    path.into_os_string().into_string().ok().context("the repository's path is not in UTF-8")
}

/// A run with names and texts that are as long as they get, and with every kind of verdict.
fn report() -> Value {
    let kernels = ["debian-5.10", "debian-6.1", "debian-6.12", "linux-5.15-nobtf", "fedora-44"];
    let scenarios =
        ["sys_write/files_and_pipes", "socket_write/dup_and_passed_fd", "filelife/mknod"];
    let mut cells = Vec::new();
    for (kernel, scenario) in kernels.iter().flat_map(|k| scenarios.map(|scenario| (k, scenario))) {
        for (btf, backend) in [("embedded", "libbpf"), ("embedded", "aya"), ("masked", "aya")] {
            let (outcome, reason, message) = match (*kernel, scenario) {
                ("fedora-44", "filelife/mknod") => ("fail", "events-differ", "x".repeat(200)),
                ("linux-5.15-nobtf", _) => ("infra", "qemu-failed", "no QEMU ".repeat(60)),
                (_, "sys_write/files_and_pipes") => {
                    ("unsupported", "missing-symbol", "no f".into())
                }
                _ => ("pass", "", String::new()),
            };
            let line = "pid=<workload> comm=workload name=\"node\" ".repeat(8);
            cells.push(json!({
                "kernel": kernel, "btf": btf, "backend": backend, "scenario": scenario,
                "outcome": outcome, "reason": (!reason.is_empty()).then_some(reason),
                "message": message, "duration_ms": 500, "stages_ms": {}, "release": null,
                "predicted": null, "plan": null, "snapshot": null, "evidence": "",
                "diff": (outcome == "fail").then(|| format!("--- expected\n+++ observed\n-{line}\n")),
            }));
        }
    }
    let kernel =
        |id| json!({"id": id, "release": format!("{id}+deb13-cloud-amd64"), "unavailable": null});
    json!({
        "schema": 1,
        "run": {
            "id": "20260101T000000", "started": "2026-01-01T00:00:00Z", "duration_ms": 60_000,
            "selectors": [], "jobs": 2, "exit_code": 1,
        },
        "kernels": kernels.map(kernel),
        "cells": cells,
    })
}

/// The probe comes first, so that it hears of every error.
fn with_probe(page: &str) -> Result<String> {
    let (before, after) = page.split_once("<meta ").context("the page has no head")?;
    Ok(format!("{before}<script>\n{PROBE}</script>\n<meta {after}"))
}

/// A page around the page, which keeps what the probe tells: no window is as narrow as a telephone.
fn frame_of(page: &str, width: u32) -> String {
    format!(
        "<!doctype html>\n<html>\n<script>\n\
         addEventListener('message', (event) => {{\n  \
           document.documentElement.dataset.probe = event.data;\n\
         }});\n</script>\n\
         <iframe src=\"{page}?width={width}\" style=\"width: {width}px; height: 900px; border: 0\">\
         </iframe>\n</html>\n"
    )
}

/// What the document is in the end.
fn open(browser: &str, page: &str) -> Result<String> {
    Invocation::new(browser)
        // The page is ours; root can't have a sandbox.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .args(["--window-size=1500,1000", "--virtual-time-budget=20000"])
        .args(["--dump-dom".to_owned(), format!("file://{page}")])
        .read(DEADLINE)
}

/// What the probe left.
fn problems(document: &str) -> Option<&str> {
    let (_, rest) = document.split_once("data-probe=\"")?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_probe_left_is_found() {
        let document = "<html lang=\"en\" data-probe=\"a; b\"><head>";
        assert_eq!(problems(document), Some("a; b"));
        assert_eq!(problems("<html lang=\"en\">"), None);
    }

    #[test]
    fn a_probe_goes_before_all_else() {
        let page =
            with_probe("<html lang=\"en\">\n<meta charset=\"utf-8\">\n<script>x</script>").unwrap();
        assert!(page.starts_with("<html lang=\"en\">\n<script>\n// Put at"), "{page}");
        assert!(
            page.ends_with("</script>\n<meta charset=\"utf-8\">\n<script>x</script>"),
            "{page}"
        );
        assert!(with_probe("nothing").is_err());
    }
}
