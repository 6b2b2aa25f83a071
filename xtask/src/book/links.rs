//! Finds links of HTML pages that lead nowhere.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

/// A page for printing has all chapters in one, whose links mdBook makes.
const NOT_CHECKED: [&str; 2] = ["print.html", "404.html"];

/// What is wrong with the links of all pages below a directory.
pub(super) fn faults(dir: &Path) -> Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    collect(dir, &mut pages)?;
    ensure!(!pages.is_empty(), "there are no pages in {}", dir.display());
    let mut faults = Vec::new();
    for (path, page) in &pages {
        if path.file_name().is_some_and(|name| NOT_CHECKED.iter().any(|other| name == *other)) {
            continue;
        }
        for link in links(page) {
            if let Some(what) = fault(path, &link, &pages) {
                let page = path.strip_prefix(dir).unwrap_or(path).display();
                faults.push(format!("{page}: {link}: {what}"));
            }
        }
    }
    faults.sort();
    faults.dedup();
    Ok(faults)
}

fn collect(dir: &Path, pages: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, pages)?;
        } else if path.extension().is_some_and(|extension| extension == "html") {
            let page = fs::read_to_string(&path);
            pages.insert(path.clone(), page.with_context(|| format!("{}", path.display()))?);
        }
    }
    Ok(())
}

/// The values of `href` and `src`.
fn links(page: &str) -> Vec<String> {
    let values = [" href=\"", " src=\""].into_iter().flat_map(|start| page.split(start).skip(1));
    let values = values.filter_map(|rest| rest.split('"').next());
    values.map(|value| value.replace("&amp;", "&")).collect()
}

fn fault(page: &Path, link: &str, pages: &BTreeMap<PathBuf, String>) -> Option<&'static str> {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    // Another scheme, or a host.
    if file.starts_with("//") || file.split('/').next().is_some_and(|first| first.contains(':')) {
        return None;
    }
    let target = match file {
        "" => page.to_owned(),
        file => normal(&page.parent()?.join(file)),
    };
    // A directory without a page of its own is shown by the repository's server.
    if !target.exists() {
        return Some("no such file");
    }
    let is_there = |html: &String| {
        html.contains(&format!("id=\"{heading}\"")) || html.contains(&format!("name=\"{heading}\""))
    };
    let found = heading.is_empty() || pages.get(&target).is_none_or(is_there);
    (!found).then_some("no such heading")
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("docs")).unwrap();
        let write = |name: &str, page: &str| fs::write(dir.path().join(name), page).unwrap();
        write("index.html", "<a href=\"docs/a.html#b\">x</a> <a href=\"docs/a.html#c\">x</a>");
        write(
            "docs/a.html",
            "<h2 id=\"b\"> <img src=\"../a.png\"> <a href=\"https://x/y\"><a href=\"#b\">",
        );
        let faults = faults(dir.path()).unwrap();
        assert_eq!(
            faults,
            ["docs/a.html: ../a.png: no such file", "index.html: docs/a.html#c: no such heading"]
        );
    }
}
