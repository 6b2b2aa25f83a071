//! `cargo xtask pages`: checks the HTML reports and the site in a real browser.

mod axe;

use std::{
    env, fs, path,
    path::{Path, PathBuf},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use kernlab_cli::Exit;

use crate::{
    build::{self, HostTool},
    invocation::Invocation,
    workspace,
};

/// Names of Chromium's program.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// The script that uses a page and collects problems.
const PROBE: &str = include_str!("pages/probe.js");
/// A screen in the dark, and a telephone, in CSS pixels.
const VIEWS: [(u32, Scheme); 2] = [(1400, Scheme::Dark), (420, Scheme::Light)];
/// The pages of a site that are checked.
const SITE_PAGES: [&str; 5] = [
    "index.html",
    "runs.html",
    "tools/filelife.html",
    "kernels/fedora-44.html",
    "kernels/debian-6.1.html",
];
/// The run in the README's picture, in which one tracer is wrong on one kernel.
const EXAMPLE: &str = "docs/images/report.json";
/// Dossiers of that run's kernels, from which the page explains what changed.
const DOSSIERS: &str = "core/tests/dossiers";
/// The size of the picture, in CSS pixels.
const PICTURE_SIZE: &str = "--window-size=1120,1000";
/// A browser starts in a second or two.
const DEADLINE: Duration = Duration::from_secs(90);

/// The colours that the reader prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Light,
    Dark,
}

/// A page to check.
struct Page {
    name: String,
    /// Relative to the directory of all pages.
    path: String,
}

/// Open HTML reports and the pages of a site in headless Chromium, wide and dark, narrow and light, and
/// check that they work and are accessible.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Instead, write a picture (PNG) of the README's example of a report to this file.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
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
    if let Some(picture) = &args.picture {
        let page = write(dir.path(), "page.html", &example(&tool, dir.path())?)?;
        take_picture(&browser, &page, &path::absolute(picture)?)?;
        return Ok(Exit::Success);
    }
    write(dir.path(), "axe.js", &axe::script()?)?;
    let mut exit = Exit::Success;
    for Page { name, path } in pages(&tool, dir.path())? {
        let place = dir.path().join(&path);
        let page = fs::read_to_string(&place)
            .with_context(|| format!("failed to read {}", place.display()))?;
        let up = "../".repeat(path.matches('/').count());
        write(dir.path(), &path, &with_probe(&page, &up)?)?;
        for ((width, scheme), found) in VIEWS.iter().zip(views(&browser, dir.path(), &path)?) {
            let told = problems(&found).unwrap_or("it did not get to the end of the probe");
            let result = if told == "none" { "ok" } else { told };
            println!("{name}, {width} pixels wide, {scheme:?}: {result}");
            if told != "none" {
                exit = Exit::Failure;
            }
        }
    }
    Ok(exit)
}

/// Says how to get Chromium or npm, if one of them is missing.
pub(crate) fn missing() -> Option<String> {
    let no_npm = || !axe::is_here() && program(&["npm"]).is_none();
    let npm = "no npm here; Debian has it as `apt-get install npm`";
    browser().is_none().then(explain).or_else(|| no_npm().then(|| npm.to_owned()))
}

fn explain() -> String {
    "no Chromium here; Debian has it as `apt-get install chromium`".to_owned()
}

fn browser() -> Option<String> {
    program(&BROWSERS)
}

fn program(names: &[&str]) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = env::split_paths(&path).collect();
    let mut paths = names.iter().flat_map(|name| dirs.iter().map(move |f| f.join(name)));
    paths.find(|path| path.is_file())?.into_os_string().into_string().ok()
}

/// The page of a run in which something is wrong, that of a comparison, the README's example, and pages
/// of a site of these runs.
fn pages(tool: &HostTool, dir: &Path) -> Result<Vec<Page>> {
    let mut report = report();
    let run = write(dir, "run.json", &report.to_string())?;
    // Comparing a report with itself shows its failures as known. `infra` cells would make it an error.
    if let Some(cells) = report["cells"].as_array_mut() {
        cells.retain(|cell| cell["outcome"] != "infra");
    }
    let known = write(dir, "known.json", &report.to_string())?;
    let ask = |args: &[&str]| tool.ask(&args.iter().map(Into::into).collect::<Vec<_>>());
    let reports = [
        ("a run", "run.html", ask(&["report", "--format", "html", &run])?),
        (
            "a comparison",
            "comparison.html",
            ask(&["report", "diff", "--format", "html", &known, &known])?,
        ),
        ("the example", "example.html", example(tool, dir)?),
    ];
    let mut pages = Vec::new();
    for (name, path, page) in reports {
        write(dir, path, &page)?;
        pages.push(Page { name: name.to_owned(), path: path.to_owned() });
    }
    let site = dir.join("site").display().to_string();
    let example = dir.join("example/report.json").display().to_string();
    ask(&["site", "--into", &site, &example, &run])?;
    let of_site = |page: &str| Page { name: format!("site: {page}"), path: format!("site/{page}") };
    pages.extend(SITE_PAGES.map(of_site));
    Ok(pages)
}

fn write(dir: &Path, name: &str, content: &str) -> Result<String> {
    let path = dir.join(name);
    fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
    path.into_os_string().into_string().ok().context("the repository's path is not in UTF-8")
}

/// A made-up run with the longest names and texts there are, and all kinds of verdicts.
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

/// Puts the probe before everything else, so that it sees every error. `up` leads to the directory of all
/// pages.
fn with_probe(page: &str, up: &str) -> Result<String> {
    let (before, after) = page.split_once("<meta ").context("the page has no head")?;
    let axe = format!("<script src=\"{up}axe.js\"></script>");
    Ok(format!("{before}<script>\n{PROBE}</script>\n{axe}\n<meta {after}"))
}

/// A page with a frame of this width around the page: no window is as narrow as a telephone's. It keeps
/// the probe's message.
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

/// The documents of a page's [`VIEWS`], which are opened side by side.
fn views(browser: &str, dir: &Path, path: &str) -> Result<Vec<String>> {
    thread::scope(|scope| {
        let view = |(width, scheme)| {
            let name = format!("{width}-{scheme:?}");
            scope.spawn(move || {
                let frame = write(dir, &format!("{name}.html"), &frame_of(path, width))?;
                open(browser, &frame, scheme, &dir.join(name))
            })
        };
        let join = |view: ScopedJoinHandle<'_, _>| {
            view.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        VIEWS.map(view).into_iter().map(join).collect()
    })
}

/// The document after the probe has run, in a browser that keeps what it has in a directory of its own.
fn open(browser: &str, page: &str, scheme: Scheme, profile: &Path) -> Result<String> {
    let scheme = match scheme {
        Scheme::Dark => "--blink-settings=preferredColorScheme=0",
        Scheme::Light => "--blink-settings=preferredColorScheme=1",
    };
    without_window(browser)
        .args(["--window-size=1500,1000", "--virtual-time-budget=20000", scheme])
        .args([format!("--user-data-dir={}", profile.display())])
        .args(["--dump-dom".to_owned(), format!("file://{page}")])
        .read(DEADLINE)
}

fn without_window(browser: &str) -> Invocation {
    // The page is ours; root can't have a sandbox.
    Invocation::new(browser).args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
    ])
}

/// The page of the README's example.
fn example(tool: &HostTool, dir: &Path) -> Result<String> {
    let root = workspace::root();
    let read = |path: &str| {
        let path = root.join(path);
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let text = read(EXAMPLE)?;
    let report: Value = serde_json::from_str(&text).context("the example is not JSON")?;
    let run = dir.join("example");
    let dossiers = run.join("dossiers");
    fs::create_dir_all(&dossiers)?;
    for kernel in report["kernels"].as_array().into_iter().flatten() {
        let name = format!("{}.json", kernel["id"].as_str().context("a kernel has no id")?);
        write(&dossiers, &name, &read(&format!("{DOSSIERS}/{name}"))?)?;
    }
    let run = write(&run, "report.json", &text)?;
    tool.ask(&["report".into(), "--format".into(), "html".into(), run.into()])
}

/// Takes a picture of the beginning of a page.
fn take_picture(browser: &str, page: &str, picture: &Path) -> Result<()> {
    without_window(browser)
        .args([PICTURE_SIZE.to_owned(), format!("--screenshot={}", picture.display())])
        .args([format!("file://{page}")])
        .read(DEADLINE)?;
    println!("{}", picture.display());
    Ok(())
}

/// The probe's message.
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
    fn the_example_has_a_dossier_of_each_kernel() {
        let root = workspace::root();
        let text = fs::read_to_string(root.join(EXAMPLE)).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        let kernels = report["kernels"].as_array().unwrap();
        assert!(!kernels.is_empty());
        for kernel in kernels {
            let id = kernel["id"].as_str().unwrap();
            assert!(root.join(DOSSIERS).join(format!("{id}.json")).is_file(), "{id}");
        }
    }

    #[test]
    fn a_probe_goes_before_all_else() {
        let page =
            with_probe("<html lang=\"en\">\n<meta charset=\"utf-8\">\n<script>x</script>", "../")
                .unwrap();
        assert!(page.starts_with("<html lang=\"en\">\n<script>\n// Put at"), "{page}");
        assert!(
            page.ends_with(
                "<script src=\"../axe.js\"></script>\n<meta charset=\"utf-8\">\n<script>x</script>"
            ),
            "{page}"
        );
        assert!(with_probe("nothing", "").is_err());
    }
}
