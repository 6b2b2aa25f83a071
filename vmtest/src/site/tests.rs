//! Whole sites of made-up runs.

use std::{fs, os::unix::fs::symlink};

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use quick_xml::{Reader, events::Event};
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::report::{CellReport, Report, junit::legal, sample};

fn options() -> Options {
    Options {
        title: "Our tools".to_owned(),
        url: Some("https://example.org/kernlab".parse().unwrap()),
        evidence: true,
    }
}

/// Runs in directories of their own.
struct Runs {
    root: TempDir,
    paths: Vec<PathBuf>,
}

impl Runs {
    fn new() -> Self {
        Runs { root: tempfile::tempdir().unwrap(), paths: Vec::new() }
    }

    /// Adds a run on a day of January 2026.
    fn add(&mut self, day: u32, mut report: Report) -> PathBuf {
        report.run.id = format!("202601{day:02}T000000");
        report.run.started = format!("2026-01-{day:02}T00:00:00Z");
        self.add_text(&report.run.id, &report.to_json())
    }

    fn add_text(&mut self, name: &str, text: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("report.json"), text).unwrap();
        self.paths.push(dir.clone());
        dir
    }

    fn site(&self) -> Site {
        Site::of(&self.paths, &options()).unwrap().0
    }

    fn error(&self) -> String {
        kernlab_kernels::chain(&Site::of(&self.paths, &options()).unwrap_err())
    }
}

/// A run of one suite on one kernel, with this outcome.
fn one(outcome: Outcome) -> Report {
    let verdict = match outcome {
        Outcome::Pass => Verdict::pass(),
        Outcome::Infra => Verdict::because(outcome, Reason::QemuFailed, "no QEMU"),
        _ => Verdict::because(outcome, Reason::UnexpectedExit, "it ended: exit code 1"),
    };
    let cell = CellReport::of_verdict("debian-6.1/embedded/suite/opens", verdict);
    Report { cells: vec![cell], kernels: Vec::new(), ..sample::report() }
}

fn text(site: &Site, file: &str) -> String {
    let names: Vec<_> = site.0.keys().collect();
    let bytes = site.0.get(file).unwrap_or_else(|| panic!("no {file} in {names:?}"));
    String::from_utf8(bytes.clone()).unwrap()
}

fn body(site: &Site, file: &str) -> String {
    let page = text(site, file);
    page.split_once("<main").unwrap().1.replace("><", ">\n<")
}

/// Two runs: a suite fails in the second one.
fn two() -> Runs {
    let mut runs = Runs::new();
    let mut before = sample::suites();
    for cell in &mut before.cells {
        cell.set_verdict(Verdict::pass());
    }
    runs.add(1, before);
    let dir = runs.add(2, sample::suites());
    let mut report = sample::suites();
    report.cells[0].evidence = "cells/opens".to_owned();
    report.run.id = "20260102T000000".to_owned();
    report.run.started = "2026-01-02T00:00:00Z".to_owned();
    fs::write(dir.join("report.json"), report.to_json()).unwrap();
    fs::create_dir_all(dir.join("cells/opens")).unwrap();
    fs::write(dir.join("cells/opens/stderr.txt"), "libbpf: no <BTF>\n").unwrap();
    runs
}

#[test]
fn the_first_page() {
    insta::assert_snapshot!(body(&two().site(), "index.html"));
}

#[test]
fn the_page_of_a_tool() {
    insta::assert_snapshot!(body(&two().site(), "tools/opens.html"));
}

#[test]
fn the_page_of_a_kernel() {
    insta::assert_snapshot!(body(&two().site(), "kernels/debian-6.1.html"));
}

#[test]
fn the_page_of_a_tracer_of_the_lab() {
    let mut runs = Runs::new();
    runs.add(1, sample::report());
    insta::assert_snapshot!(body(&runs.site(), "tools/inotify.html"));
}

#[test]
fn the_pages_of_all_runs() {
    insta::assert_snapshot!(body(&two().site(), "runs.html"));
}

#[test]
fn a_feed_and_badges() {
    let site = two().site();
    insta::assert_snapshot!(text(&site, "feed.xml"));
    insta::assert_snapshot!(text(&site, "badges/opens.svg"));
    insta::assert_snapshot!(text(&site, "badges/opens.json"), @r#"{"schemaVersion":1,"label":"opens","message":"fails on 2 of 2 kernels","color":"red"}"#);
    insta::assert_snapshot!(text(&site, "badges/writes.json"), @r#"{"schemaVersion":1,"label":"writes","message":"works on 5.10 to 6.1","color":"brightgreen"}"#);
}

#[test]
fn a_badge_names_no_kernel_of_which_nothing_is_known() {
    let mut runs = Runs::new();
    let mut report = sample::suites();
    for cell in report.cells.iter_mut().filter(|cell| cell.scenario == "writes") {
        let missing = Verdict::because(Outcome::Infra, Reason::QemuFailed, "no QEMU");
        let verdict = if cell.kernel == "debian-6.1" { missing } else { Verdict::pass() };
        cell.set_verdict(verdict);
    }
    runs.add(1, report);
    let badge = text(&runs.site(), "badges/writes.json");
    assert!(badge.contains("\"works on 5.10\""), "{badge}");
}

#[test]
fn the_order_in_which_runs_are_named_means_nothing() {
    let mut runs = two();
    let site = runs.site();
    runs.paths.reverse();
    // One that is named twice, by its directory and by its file, counts once.
    runs.paths.push(runs.paths[0].join("report.json"));
    assert!(runs.site() == site);
    let into = runs.root.path().join("site");
    site.write(&into).unwrap();
    assert_eq!(fs::read(into.join("index.html")).unwrap(), site.0["index.html"]);
    runs.site().write(&into).unwrap();
    assert_eq!(fs::read(into.join("feed.xml")).unwrap(), site.0["feed.xml"]);
}

#[rstest]
#[case::broke(&[Outcome::Pass, Outcome::Fail], 1)]
#[case::still_broken(&[Outcome::Pass, Outcome::Fail, Outcome::Fail], 1)]
#[case::broke_twice(&[Outcome::Pass, Outcome::Fail, Outcome::Pass, Outcome::Fail], 2)]
#[case::not_known_between(&[Outcome::Pass, Outcome::Infra, Outcome::Fail], 1)]
#[case::only_not_known(&[Outcome::Pass, Outcome::Infra], 0)]
#[case::no_longer_supported(&[Outcome::Pass, Outcome::Unsupported], 1)]
#[case::always_broken(&[Outcome::Fail, Outcome::Fail], 0)]
#[case::fixed(&[Outcome::Fail, Outcome::Pass], 0)]
fn regressions_are_in_the_feed(#[case] outcomes: &[Outcome], #[case] expected: usize) {
    let mut runs = Runs::new();
    for (outcome, day) in outcomes.iter().zip(1..) {
        runs.add(day, one(*outcome));
    }
    assert_eq!(text(&runs.site(), "feed.xml").matches("<entry>").count(), expected);
}

#[test]
fn a_kernel_that_is_new_and_broken_is_a_regression() {
    let mut runs = Runs::new();
    runs.add(1, one(Outcome::Pass));
    let mut next = one(Outcome::Fail);
    next.cells[0].kernel = "debian-6.12".to_owned();
    runs.add(2, next);
    let feed = text(&runs.site(), "feed.xml");
    assert_eq!(feed.matches("<entry>").count(), 1);
    assert!(feed.contains("<title>opens on debian-6.12: fail (unexpected-exit)</title>"), "{feed}");
}

const HOSTILE: &str =
    "\"><script>alert(1)</script><a href='javascript:x' onload=\"y\"> ../../\u{1b}\u{202e}\u{fffe}";

/// All that a report can name is hostile.
#[test]
fn nothing_that_a_report_says_becomes_part_of_a_page() {
    let mut runs = Runs::new();
    for (day, outcome) in [(1, Outcome::Pass), (2, Outcome::Fail)] {
        let mut report = sample::suites();
        report.run.selectors = vec![HOSTILE.to_owned()];
        report.remarks = vec![HOSTILE.to_owned()];
        for (number, cell) in report.cells.iter_mut().enumerate() {
            cell.set_verdict(Verdict { outcome, reason: None, message: HOSTILE.to_owned() });
            cell.kernel = HOSTILE.to_owned();
            cell.btf = HOSTILE.to_owned();
            cell.scenario = format!("{HOSTILE}{number}");
            cell.release = Some(HOSTILE.to_owned());
            cell.diff = Some(HOSTILE.to_owned());
            cell.again = Some(HOSTILE.to_owned());
            cell.evidence = HOSTILE.to_owned();
        }
        runs.add(day, report);
    }
    let (site, _) =
        Site::of(&runs.paths, &Options { title: HOSTILE.to_owned(), ..options() }).unwrap();
    for (file, bytes) in &site.0 {
        let page = String::from_utf8(bytes.clone()).unwrap();
        let own = if file.ends_with(".html") { 1 } else { 0 };
        if !file.ends_with(".json") && !file.ends_with(".txt") && !file.ends_with(".js") {
            assert_eq!(page.matches("<script").count(), own, "{file}");
            assert!(!page.contains("onload=\""), "{file}");
            assert!(!page.contains("href=\"javascript:"), "{file}");
        }
        assert!(!page.contains(['\u{1b}', '\u{202e}']), "{file}");
        let is_plain = |part: &str| !part.starts_with('.') && !part.contains(['"', '<', ' ']);
        assert!(file.split('/').all(is_plain), "{file}");
    }
    assert_eq!(events_of(&text(&site, "feed.xml")), 4, "one for each suite");
    for badge in site.0.keys().filter(|file| file.ends_with(".svg")) {
        events_of(&text(&site, badge));
    }
}

#[test]
fn a_report_that_is_a_pipe_is_refused() {
    let mut runs = Runs::new();
    let dir = runs.add(1, one(Outcome::Pass));
    fs::remove_file(dir.join("report.json")).unwrap();
    nix::unistd::mkfifo(&dir.join("report.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(runs.error().ends_with("it is not a regular file"), "{}", runs.error());
}

/// Reads XML, and counts the entries of a feed.
fn events_of(xml: &str) -> usize {
    // The reader does not look for characters that XML forbids.
    assert_eq!(xml, legal(xml));
    let mut reader = Reader::from_str(xml);
    let mut entries = 0;
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) if start.name().as_ref() == "entry" => entries += 1,
            Event::Eof => return entries,
            _ => {}
        }
    }
}

#[rstest]
#[case::absolute("/SECRET")]
#[case::above("../SECRET")]
#[case::above_later("cells/../../SECRET")]
#[case::a_linked_directory("cells/linked")]
#[case::a_linked_file("cells/files")]
#[case::a_script("javascript:alert(1)")]
#[case::a_pipe("cells/pipe")]
fn nothing_outside_of_a_run_is_read(#[case] evidence: &str) {
    let mut runs = Runs::new();
    let secret = runs.root.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("stderr.txt"), "the secret").unwrap();
    let mut report = one(Outcome::Fail);
    report.cells[0].evidence =
        evidence.replace("/SECRET", secret.to_str().unwrap()).replace("SECRET", "secret");
    let dir = runs.add(1, report);
    fs::create_dir_all(dir.join("cells/files")).unwrap();
    fs::create_dir_all(dir.join("cells/pipe")).unwrap();
    symlink(&secret, dir.join("cells/linked")).unwrap();
    symlink(secret.join("stderr.txt"), dir.join("cells/files/stderr.txt")).unwrap();
    let pipe = dir.join("cells/pipe/stderr.txt");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (file, bytes) in &runs.site().0 {
        assert!(!file.starts_with("evidence/"), "{file}");
        let page = String::from_utf8_lossy(bytes);
        assert!(!page.contains("the secret") && !page.contains("javascript:"), "{file}");
    }
}

#[test]
fn evidence_is_copied_once_and_can_be_left_out() {
    let runs = two();
    let site = runs.site();
    let files: Vec<_> = site.0.keys().filter(|file| file.starts_with("evidence/")).collect();
    let [file] = files[..] else { panic!("{files:?}") };
    assert_eq!(text(&site, file), "libbpf: no <BTF>\n");
    assert!(text(&site, "tools/opens.html").contains(&format!("href=\"../{file}\"")));
    let (without, _) = Site::of(&runs.paths, &Options { evidence: false, ..options() }).unwrap();
    assert!(!without.0.contains_key(file));
}

#[test]
fn giant_and_broken_reports_are_refused() {
    let refused = |text: &str, expected: &str| {
        let mut runs = Runs::new();
        runs.add_text("run", text);
        let error = runs.error();
        assert!(error.contains(expected), "{error}");
    };
    let mut report = one(Outcome::Pass);
    report.run.started = "yesterday".to_owned();
    refused(&report.to_json(), "has \"yesterday\" as the time at which the run started");
    let mut report = one(Outcome::Pass);
    report.cells[0].scenario = "x".repeat(10_000);
    refused(&report.to_json(), "is too large: a name has 10000 bytes");
    refused("[]", "is not a report of schema 1");
    let mut report = one(Outcome::Pass);
    let names = (0..500).map(|number| format!("k{number}/embedded/suite/s{number}"));
    report.cells = names.map(|id| CellReport::of_verdict(&id, Verdict::pass())).collect();
    refused(&report.to_json(), "500 tools on 500 kernels are too many for one site");
}

#[test]
fn architectures_are_shown_if_reports_name_them() {
    let mut runs = Runs::new();
    let mut report = sample::suites();
    report.run.started = "2026-01-01T00:00:00Z".to_owned();
    let kernel = |id: &str, arch: &str| {
        format!(r#"{{"id": "{id}", "release": null, "unavailable": null, "arch": "{arch}"}}"#)
    };
    let kernels = [kernel("debian-5.10", "x86_64"), kernel("debian-6.1", "aarch64")].join(",");
    let json = report.to_json().replace("\"kernels\": []", &format!("\"kernels\": [{kernels}]"));
    runs.add_text("run", &json);
    let site = runs.site();
    let page = text(&site, "index.html");
    assert!(
        page.contains(">aarch64</th><th scope=\"colgroup\" colspan=\"1\">x86_64</th>"),
        "{page}"
    );
    assert!(
        text(&site, "kernels/debian-6.1.html").contains("<dt>Architecture</dt><dd>aarch64</dd>")
    );
    // A kernel of another architecture is no predecessor.
    assert!(!text(&site, "kernels/debian-6.1.html").contains("What broke since"));
}

/// A hundred runs take little more room than one.
#[test]
fn old_runs_take_little_room() {
    let size = |count: u32| {
        let mut runs = Runs::new();
        for day in 1..=count {
            let mut report = sample::report();
            let cells = report.cells.clone();
            let renamed = (0..20).flat_map(|copy| {
                cells.iter().cloned().map(move |mut cell| {
                    cell.scenario = format!("{}{copy}", cell.scenario);
                    cell
                })
            });
            report.cells = renamed.collect();
            runs.add(day, report);
        }
        Site::of(&runs.paths, &options()).unwrap().1.bytes
    };
    let (one, many) = (size(1), size(20));
    assert!(many < one + one / 2, "{many} bytes for 20 runs, {one} for one");
}

#[rstest]
#[case("https://example.org", Some("https://example.org/"))]
#[case("http://localhost:8000/a/", Some("http://localhost:8000/a/"))]
#[case("javascript:alert(1)", None)]
#[case("https://", None)]
#[case("https://a/\"onload", None)]
#[case("https://a/?b", None)]
#[case("example.org", None)]
fn addresses(#[case] text: &str, #[case] expected: Option<&str>) {
    let address = text.parse::<Address>().ok().map(|Address(address)| address);
    assert_eq!(address.as_deref(), expected);
}

#[test]
fn a_site_needs_nothing_from_elsewhere() {
    for (file, bytes) in &two().site().0 {
        let page = String::from_utf8_lossy(bytes).replace("https://example.org/", "");
        if file.ends_with(".html") || file.ends_with(".css") || file.ends_with(".js") {
            for word in ["http:", "https:", "src=\"//", "@import", "url("] {
                assert!(!page.contains(word), "{file}: {word}");
            }
        }
    }
}

#[test]
fn all_links_lead_somewhere() {
    let site = two().site();
    for (file, page) in site.0.keys().filter(|f| f.ends_with(".html")).map(|f| (f, text(&site, f)))
    {
        for rest in page.split(" href=\"").chain(page.split(" src=\"")).skip(1) {
            let link = rest.split('"').next().unwrap();
            if page.starts_with(rest) || link.starts_with("https://") {
                continue;
            }
            let (path, part) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => file.clone(),
                path => match path.strip_prefix("../") {
                    Some(path) => path.to_owned(),
                    None => path.to_owned(),
                },
            };
            let found = text(&site, &target);
            assert!(part.is_empty() || found.contains(&format!("id=\"{part}\"")), "{file}: {link}");
            let is_below = file.contains('/');
            assert_eq!(path.starts_with("../"), is_below && !path.is_empty(), "{file}: {link}");
        }
    }
}

#[test]
fn a_path_that_is_no_report_is_told() {
    let error = Site::of(&["/no/such/run".into()], &options()).unwrap_err();
    assert!(error.to_string().contains("cannot read /no/such/run"), "{error}");
}
