//! Links of Markdown pages to other files of the repository.

/// The files that a page links, as paths from the repository's root, without headings.
pub(super) fn links(page: &str, path: &str) -> Vec<String> {
    let targets = prose(page).flat_map(|line| targets(line).collect::<Vec<_>>());
    targets.filter_map(|target| from_root(target, path)).collect()
}

/// A page as it reads in the repository's root.
pub(super) fn moved_up(page: &str, path: &str) -> String {
    let mut moved = String::new();
    for line in page.lines() {
        let mut line = line.to_owned();
        for target in targets(&line.clone()) {
            if let Some(at_root) = from_root(target, path) {
                line = line.replace(&format!("]({target})"), &format!("]({at_root})"));
            }
        }
        moved.push_str(&line);
        moved.push('\n');
    }
    moved
}

/// The same text, where the README is `index.md`: mdBook calls it that, and does not rename links to it.
pub(super) fn with_index(text: &str) -> String {
    let mut text = text.to_owned();
    for end in [")", "#"] {
        text = text.replace(&format!("README.md{end}"), &format!("index.md{end}"));
    }
    if text == "README.md" { "index.md".to_owned() } else { text }
}

/// The lines outside of fenced blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// The path from the root that a link in the page at `path` means; none for other addresses and for
/// headings of the same page.
fn from_root(target: &str, path: &str) -> Option<String> {
    let file = target.split('#').next().unwrap_or_default();
    if file.is_empty() || file.contains("://") || file.contains(' ') {
        return None;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_root() {
        let page =
            "[a](b.md#c) ![d](../e/f.png) [g](#h) [i](https://x/y.md)\n```\n[j](k.md)\n```\n";
        assert_eq!(links(page, "docs/a.md"), ["docs/b.md", "e/f.png"]);
        assert_eq!(links(page, "README.md"), ["b.md", "e/f.png"]);
    }

    #[test]
    fn the_readme_is_the_first_page() {
        let page = "[a](../README.md#b), [c](README.md), README.md itself";
        assert_eq!(with_index(page), "[a](../index.md#b), [c](index.md), README.md itself");
        assert_eq!(with_index("README.md"), "index.md");
    }

    #[test]
    fn a_table_of_contents_moves() {
        let contents = "- [a](a.md)\n[b](../B.md)\n\n# Part\n";
        let moved = "- [a](docs/a.md)\n[b](B.md)\n\n# Part\n";
        assert_eq!(moved_up(contents, "docs/SUMMARY.md"), moved);
    }
}
