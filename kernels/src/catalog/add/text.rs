//! Writes an entry in the layout of a hand-written one.

use std::fmt::Write as _;

use crate::catalog::matrix::{Entry, Release, RpmDir, Source};

/// The first line of an entry.
const HEADER: &str = "[[kernel]]";

/// Inserts an entry into the text of a matrix: before the first entry of a later release, or else
/// after the last entry that has a release. The rest of the text stays unchanged.
pub(super) fn insert(text: &str, new: &Entry) -> String {
    let releases = releases(text);
    let later = |release: &Option<Release>| match (release, &new.release) {
        (Some(release), Some(new)) => release > new,
        _ => false,
    };
    let behind_the_last = || {
        let known = new.release.as_ref().and(releases.iter().rposition(Option::is_some));
        known.map_or(releases.len(), |last| last + 1)
    };
    let position = releases.iter().position(later).unwrap_or_else(behind_the_last);
    let added = entry(new);
    match start_of(text, position) {
        Some(start) => {
            let (before, after) = text.split_at(start);
            format!("{before}{added}\n{after}")
        }
        None => format!("{}\n\n{added}", text.trim_end()),
    }
}

/// The release of each entry, where the entry has one.
fn releases(text: &str) -> Vec<Option<Release>> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let entries = table.get("kernel").and_then(|entries| entries.as_array());
    let release = |entry: &toml::Value| entry.get("release")?.as_str()?.parse().ok();
    entries.into_iter().flatten().map(release).collect()
}

/// The start of an entry, including the comment above it.
fn start_of(text: &str, position: usize) -> Option<usize> {
    let mut start = 0;
    let mut seen = 0;
    // The first line of the comment directly above.
    let mut comment = None;
    for line in text.split_inclusive('\n') {
        if line.trim_end() == HEADER {
            if seen == position {
                return Some(comment.unwrap_or(start));
            }
            seen += 1;
        }
        comment = if line.starts_with('#') { comment.or(Some(start)) } else { None };
        start += line.len();
    }
    None
}

/// The text of an entry without deviations.
pub(super) fn entry(entry: &Entry) -> String {
    let mut text = String::from("[[kernel]]\n");
    let mut add = |key: &str, value: toml::Value| {
        let _ = writeln!(text, "{key} = {value}");
    };
    add("id", entry.id.as_str().into());
    if let Some(release) = &entry.release {
        add("release", release.to_string().into());
    }
    let arch = entry.arch.name();
    add("arch", arch.into());
    add("tier", entry.tier.name().into());
    let modes: Vec<toml::Value> = entry.btf.iter().map(|mode| mode.name().into()).collect();
    add("btf", modes.into());
    add("why", entry.why.as_str().into());
    text.push_str("[kernel.source]\n");
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {}", toml::Value::from(value));
    };
    match &entry.source {
        Source::Deb(deb) => {
            line("kind", "deb");
            line("repository", &deb.repository);
            line("suite", &deb.suite);
            line("component", &deb.component);
            line("package", &deb.package);
            if let Some(date) = deb.snapshot {
                line("snapshot", &date.to_string());
            }
        }
        Source::Rpm(rpm) => {
            line("kind", "rpm");
            line("repository", &rpm.repository);
            match &rpm.dir {
                RpmDir::Path(path) => line("path", path),
                RpmDir::NamedBy(list) => line("mirror_list", list),
            }
            line("package", &rpm.package);
        }
        Source::Url(url) => {
            line("kind", "url");
            line("url", &url.url);
            line("sha256", &url.sha256.to_string());
        }
        Source::File(file) => {
            line("kind", "file");
            line("image", &file.image.to_string_lossy());
        }
        Source::Build(_) | Source::Host => unreachable!("no request resolves to such a source"),
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::blank, *};
    use crate::catalog::matrix::Origin;

    const TEXT: &str = "schema = 1\n\n[[kernel]]\nrelease = \"5.10\"\n\n# Oddly\n# old\n[[kernel]]\n\
                        release = \"6.12\"\n\n[[kernel]]\nid = \"newest\"\n";

    #[rstest]
    #[case::before_a_later_one("6.1", "5.10", "# Oddly")]
    #[case::behind_the_last_that_is_known("7.1", "6.12", "id = \"newest\"")]
    #[case::first("4.18", "schema", "5.10")]
    fn entries_are_in_the_order_of_releases(
        #[case] release: &str,
        #[case] after: &str,
        #[case] before: &str,
    ) {
        let new = Entry { release: release.parse().ok(), ..blank(Source::Host, Origin::Shared) };
        let new = Entry { source: url(), ..new };
        let text = insert(TEXT, &new);
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
        let place = at(&format!("release = \"{release}\""));
        assert!(at(after) < place && place < at(before), "{text}");
        assert_eq!(text.replacen(&format!("{}\n", entry(&new)), "", 1), TEXT);
    }

    #[test]
    fn what_has_no_release_comes_last() {
        let new = Entry { source: url(), ..blank(Source::Host, Origin::Shared) };
        assert_eq!(insert(TEXT, &new), format!("{TEXT}\n{}", entry(&new)));
    }

    fn url() -> Source {
        Source::Url(crate::UrlSource {
            url: "https://example.org/bzImage".to_owned(),
            sha256: crate::Digest::of(b""),
        })
    }
}
