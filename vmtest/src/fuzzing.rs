//! What must hold for all bytes that a project, a tracer, a guest or a report says.
//!
//! These functions are compiled for tests and for fuzzing only; `fuzz/` has a target for each. They
//! return whether the bytes were understood, so that tests can tell a seed that no longer is one.

use std::{
    io::{Seek as _, Write as _},
    path::Path,
    sync::LazyLock,
};

use kernlab_core::outcome::Severity;
use kernlab_splat::{AllowList, Kind, Splat};

use crate::{
    console::{ConsoleLog, Crash, Log},
    image::root::{archive, squashfs, tree},
    report::{
        Report, headline, html, inside, instructions, junit, markdown, predictions,
        regression::{self, NoEvidence, Regression, Side},
        repro, table, timings,
    },
    site,
    suite::{
        assertion::Assertion,
        cargo::{self, messages, name},
        condition::{Condition, Line},
        events,
        feature::FeatureCondition,
        manifest::{Order, Project, Suite},
        observed::Observed,
        payload::{elf, script},
    },
    terminal,
};

/// A project's `kernlab.toml`, or a list of known splats.
pub fn manifest(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    for line in text.lines().take(16) {
        let line = line.trim();
        expressions(line);
        if let Some((_, quoted)) = line.split_once('=') {
            expressions(quoted.trim().trim_matches(['\'', '"']));
        }
    }
    let splats = match toml::from_str::<AllowList>(text) {
        Ok(list) => {
            let written = toml::to_string(&list).expect("it is plain data");
            assert_eq!(toml::from_str(&written).as_ref(), Ok(&list));
            let splat = Splat {
                title: "WARNING in do_it".to_owned(),
                kind: Kind::Warning,
                frame: None,
                line: 1,
                last_line: 1,
            };
            assert!(list.entry(&splat).is_none_or(|entry| list.allow.contains(entry)));
            !list.allow.is_empty()
        }
        Err(_) => false,
    };
    match Project::parse(Path::new("kernlab.toml"), text) {
        Ok(project) => {
            assert_eq!(
                Project::parse(Path::new("kernlab.toml"), text).ok().as_ref(),
                Some(&project)
            );
            assert!(!project.suites.is_empty() || !project.cargo.is_empty());
            for suite in &project.suites {
                assert!(!suite.name.is_empty());
                drop(events::normalise(text.as_bytes(), suite));
            }
            true
        }
        Err(error) => {
            assert!(error.to_string().starts_with("kernlab.toml:"), "{error}");
            splats
        }
    }
}

fn expressions(text: &str) {
    if let Ok(assertion) = Assertion::parse(text) {
        assert_eq!(Assertion::parse(assertion.text()).as_ref(), Ok(&assertion));
        drop(assertion.check(b"", text.as_bytes()));
    }
    if let Ok(condition) = Condition::parse(text) {
        assert_eq!(Condition::parse(condition.text()).as_ref(), Ok(&condition));
        condition.holds(&Line::new(text.as_bytes()));
    }
    match FeatureCondition::parse(text) {
        Ok(condition) => {
            assert_eq!(FeatureCondition::parse(condition.text()).as_ref(), Ok(&condition));
        }
        Err(error) => assert!(error.character() <= text.chars().count() + 1, "{error}"),
    }
}

/// What comes out of a guest: what a tracer prints, the console, and what the conductor reports.
pub fn output(output: &[u8]) -> bool {
    printed(output) | guest(output)
}

/// What a tracer prints, as suites with different rules read it.
fn printed(stdout: &[u8]) -> bool {
    let mut understood = false;
    for suite in SUITES.iter() {
        let Ok(text) = events::normalise(stdout, suite) else { continue };
        let lines = stdout.split_inclusive(|byte| *byte == b'\n').count();
        assert!(text.lines().count() <= lines, "{text:?}");
        assert!(text.len() <= 64 * stdout.len() + 64, "{} bytes of text", text.len());
        assert!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')), "{text:?}");
        assert_eq!(events::diff(&text, &text), None);
        understood |= !text.is_empty();
        if suite.order == Order::Unordered && lines <= 3 {
            let mut reversed: Vec<_> = stdout.split(|byte| *byte == b'\n').collect();
            reversed.reverse();
            if !stdout.contains(&b'\r') && !stdout.starts_with(b"\n") && !stdout.ends_with(b"\n") {
                assert_eq!(events::normalise(&reversed.join(&b'\n'), suite).as_ref(), Ok(&text));
            }
        }
        if let Some(lost) = &suite.lost {
            drop(events::lost(stdout, stdout, lost));
        }
        for assertion in &suite.assertions {
            drop(assertion.check(stdout, stdout));
        }
    }
    understood
}

/// Suites with all kinds of rules.
static SUITES: LazyLock<Vec<Suite>> = LazyLock::new(|| {
    let text = include_str!("suite/manifest/tests/example.toml");
    let project = Project::parse(Path::new("kernlab.toml"), text).expect("it is tested");
    let mut suites = project.suites;
    let unordered = suites[0].clone();
    suites.push(Suite { order: Order::Unordered, ..unordered });
    suites
});

/// What a guest prints on its console, and what its conductor reports.
fn guest(output: &[u8]) -> bool {
    let observed = Observed::read(output);
    let collected: usize = observed.collected.values().map(Vec::len).sum();
    assert!(collected <= output.len());
    let mut log = Log::default();
    output.chunks(1000).for_each(|piece| log.append(piece));
    let text = log.text();
    assert!(!text.contains('\r') && text.len() <= 3 * output.len() + 64);
    let lines = log.last_lines(20);
    assert!(
        lines.lines().count() <= 20
            && !lines.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    );
    let console = ConsoleLog::of(&log);
    drop(Crash::find(&console));
    let shown = terminal::shown(&text);
    assert_eq!(terminal::shown(&shown), shown);
    observed != Observed::default()
}

/// A `report.json`: of another machine, or of anybody.
pub fn report(json: &[u8]) -> bool {
    texts(json) | site(json)
}

fn texts(json: &[u8]) -> bool {
    let Ok(report) = Report::parse(Path::new("report.json"), json) else { return false };
    let written = report.to_json();
    let again = Report::parse(Path::new("report.json"), written.as_bytes());
    assert_eq!(again.ok().as_ref(), Some(&report));
    let side = Side { report: &report, evidence: &NoEvidence };
    let causes = Regression::causes(side);
    assert!(causes.len() <= report.cells.len());
    let same = Regression::of_runs(side, side);
    assert!(same.findings.iter().all(|finding| finding.category.severity() != Severity::Failure));
    let texts = [
        table::matrix(&report, 80),
        table::commands(&report),
        table::findings(side),
        table::summary(&report),
        headline::verdict(&report, &causes),
        instructions::table(&report),
        predictions::unsupported(&report),
        timings::profile(&report),
        markdown::render(&report, 100),
        html::render(&report, &causes, &|_| Default::default()),
        regression::markdown::render(&same, 100),
        regression::html::render(&same),
    ];
    // Each cell is in them a few times, and pages have their styles.
    let text: usize = texts.iter().map(String::len).sum();
    assert!(text <= (1 << 20) + 1000 * json.len(), "{text} bytes of text");
    is_xml(&junit::render(&report));
    for cell in report.cells.iter().take(8) {
        drop(repro::script(&report, cell));
        if let Some(path) = inside(&cell.evidence) {
            assert!(path.is_relative() && path.components().all(|part| part.as_os_str() != ".."));
        }
        assert!(
            report.cell(&cell.id()).is_ok()
                || report.cells.iter().filter(|other| other.id() == cell.id()).count() > 1
        );
    }
    true
}

/// The same as pages.
fn site(json: &[u8]) -> bool {
    let Some(files) = site::of_report(json) else { return false };
    assert!(files.keys().all(|path| inside(path).is_some()), "{:?}", files.keys());
    for (path, content) in &files {
        if path.ends_with(".svg") || path.ends_with(".xml") || path.ends_with(".atom") {
            is_xml(str::from_utf8(content).expect("XML is UTF-8"));
        }
    }
    let text: usize = files.values().map(Vec::len).sum();
    assert!(text <= (4 << 20) + 4000 * json.len(), "{text} bytes of pages");
    true
}

fn is_xml(text: &str) {
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => return,
            Ok(_) => {}
            Err(error) => panic!("{error}: {text}"),
        }
    }
}

/// What cargo says it has built, or the tests that a harness lists; a program, or a script.
pub fn tests(bytes: &[u8]) -> bool {
    program(bytes) | listing(bytes)
}

fn listing(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    let programs = messages::test_programs(text);
    for program in &programs {
        assert!(!name::of_program(program).contains(['\n', '\t']));
        let test = name::of_test(program, text.lines().next().unwrap_or_default());
        assert!(test.split('/').all(|part| part.len() <= 255 && !part.starts_with('.')), "{test}");
    }
    let listed = match cargo::listing::names(text) {
        Ok(names) => {
            assert!(names.len() <= text.lines().count());
            assert!(names.iter().all(|name| !name.is_empty() && text.contains(name)));
            !names.is_empty()
        }
        Err(_) => false,
    };
    listed || !programs.is_empty()
}

/// A program that a suite runs, or a script.
fn program(bytes: &[u8]) -> bool {
    let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    if let Some(interpreter) = script::parse(line) {
        assert!((1..=2).contains(&interpreter.programs.len()));
        return true;
    }
    // What the dynamic linker prints of a program is about names that the program chose.
    let text = String::from_utf8_lossy(bytes);
    let listed = elf::listed(&text).unwrap_or_default();
    assert!(listed.iter().all(|path| path.is_absolute()));
    elf::linker(bytes).is_ok() || !listed.is_empty()
}

/// A tar archive that becomes a guest's root.
pub fn root_archive(bytes: &[u8]) -> bool {
    let mut archive = tempfile::tempfile().expect("there is room for a file");
    archive.write_all(bytes).and_then(|()| archive.rewind()).expect("there is room for a file");
    let Ok(tree) = archive::read(Path::new("root.tar"), &archive) else { return false };
    let total: u64 = tree
        .nodes
        .values()
        .map(|node| match &node.kind {
            tree::Kind::File(tree::Content::Archived { length, .. }) => *length,
            _ => 0,
        })
        .sum();
    assert!(tree.nodes.keys().all(|path| path.is_absolute()));
    assert!(tree.nodes.len() <= 1 + bytes.len());
    // Several names of a file are several files.
    if total > 1 << 20 {
        return true;
    }
    let mut image = tempfile::tempfile().expect("there is room for a file");
    let written = squashfs::write(&tree, Some(&archive), &mut image);
    let size = image.metadata().map(|file| file.len()).unwrap_or_default();
    assert!(written.is_err() || size > 0);
    true
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn seeds_of_manifest(
        #[files("../fuzz/seeds/manifest/*")]
        #[files("../fixtures/**/kernlab.toml")]
        #[files("tests/all/suites/*.toml")]
        #[files("src/suite/manifest/tests/example.toml")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(manifest(seed));
    }

    #[rstest]
    fn seeds_of_output(
        #[files("../fuzz/seeds/output/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(output(seed));
    }

    #[rstest]
    fn seeds_of_report(
        #[files("../docs/images/report.json")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(report(seed));
    }

    #[rstest]
    fn seeds_of_root_archive(
        #[files("../fuzz/seeds/root_archive/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(root_archive(seed));
    }

    #[rstest]
    fn seeds_of_tests(
        #[files("../fuzz/seeds/tests/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(super::tests(seed));
    }
}
