//! Links from page to page lead somewhere, also those to headings.

use std::{
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// The pages that people read: those at the top, and those in `docs`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = [root.to_owned(), root.join("docs")]
        .into_iter()
        .flat_map(|dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()));
    let mut pages: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|extension| extension == "md")).collect();
    pages.sort();
    pages
}

/// The text without fenced blocks.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    // Every second part is between two fences.
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The names of a page's headings, as GitHub makes them.
fn anchors(page: &Path) -> Vec<String> {
    let text = prose(page);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// What is wrong with a link in a page.
fn fault(page: &Path, link: &str) -> Option<String> {
    let (file, heading) = link.split_once('#').map_or((link, None), |(f, h)| (f, Some(h)));
    let target = match file {
        "" => page.to_owned(),
        file => page.parent()?.join(file),
    };
    if !target.exists() {
        return Some(format!("{}: no file {link}", page.display()));
    }
    let heading = heading.filter(|heading| !anchors(&target).iter().any(|name| name == heading))?;
    Some(format!("{}: {link}: no heading {heading}", page.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let pages = pages();
    assert!(pages.len() > 10, "{pages:?}");
    let mut faults = Vec::new();
    for page in &pages {
        let text = prose(page);
        let links = link.captures_iter(&text).map(|groups| groups.get(1).unwrap().as_str());
        let own = links.filter(|link| !link.contains("://"));
        faults.extend(own.filter_map(|link| fault(page, link)));
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn headings_have_names() {
    assert_eq!(anchor("A project's own matrix"), "a-projects-own-matrix");
    assert_eq!(anchor("A suite: `[[suite]]`"), "a-suite-suite");
    assert_eq!(anchor("`suite.ready`"), "suiteready");
}
