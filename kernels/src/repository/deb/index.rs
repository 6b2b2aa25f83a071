//! A package index: `Packages`.

use std::collections::HashMap;

use super::{control, version::Version};
use crate::digest::Digest;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: Version,
    /// The alternatives of each dependency. One of them must hold.
    pub(crate) depends: Vec<Vec<Dependency>>,
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
}

/// A package name, and the exact version if one is required.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) version: Option<Version>,
}

/// A malformed package index.
#[derive(Debug, thiserror::Error)]
#[error("the package index is damaged at {package:?}: {what}")]
pub struct IndexError {
    package: String,
    what: &'static str,
}

/// The packages of one suite, component and architecture whose names begin with `linux-`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    packages: HashMap<String, Vec<Package>>,
}

impl Index {
    pub(crate) fn parse(text: &str) -> Result<Self, IndexError> {
        let mut index = Index::default();
        for stanza in control::stanzas(text) {
            let Some(name) = stanza.get("Package").filter(|name| name.starts_with("linux-")) else {
                continue;
            };
            let wrong = |what| IndexError { package: name.to_string(), what };
            let field = |field, what| stanza.get(field).ok_or_else(|| wrong(what));
            let package = Package {
                name: name.to_string(),
                version: field("Version", "no version")?.parse().map_err(|_| wrong("version"))?,
                depends: parse_depends(stanza.get("Depends").as_deref().unwrap_or_default()),
                path: safe_path(&field("Filename", "no file name")?).ok_or(wrong("file name"))?,
                size: field("Size", "no size")?.parse().map_err(|_| wrong("size"))?,
                sha256: field("SHA256", "no digest")?.parse().map_err(|_| wrong("digest"))?,
            };
            index.packages.entry(name.to_string()).or_default().push(package);
        }
        Ok(index)
    }

    /// The newest package of this name, or the one of an exact version.
    pub(crate) fn find(&self, wanted: &Dependency) -> Option<&Package> {
        let of_name = self.packages.get(&wanted.name).into_iter().flatten();
        let version = wanted.version.as_ref();
        of_name
            .filter(|package| version.is_none_or(|version| package.version == *version))
            .max_by(|a, b| a.version.cmp(&b.version))
    }

    /// All packages, in no particular order.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().flatten()
    }
}

/// A path relative to a mirror's URL.
fn safe_path(path: &str) -> Option<String> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let odd = path.starts_with('/') || path.split('/').any(|part| part.is_empty() || part == "..");
    (!odd).then(|| path.to_owned())
}

/// `a (= 1) | b, c:any [amd64] <!stage1>`. Only exact versions are kept: the others relate packages
/// of different sources.
fn parse_depends(text: &str) -> Vec<Vec<Dependency>> {
    let alternative = |text: &str| {
        let name = text.split([' ', '\t', '(', '[', '<', ':']).next().unwrap_or_default();
        let constraint = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        let exact = constraint.and_then(|(constraint, _)| constraint.trim().strip_prefix('='));
        Dependency {
            name: name.to_owned(),
            version: exact.and_then(|version| version.trim().parse().ok()),
        }
    };
    text.split(',')
        .map(|clause| clause.split('|').map(|text| alternative(text.trim())).collect())
        .filter(|clause: &Vec<Dependency>| clause.iter().any(|one| !one.name.is_empty()))
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn stanza(name: &str, version: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nFilename: pool/{name}.deb\nSize: 3\nSHA256: \
             {}\n\n",
            Digest::of(version.as_bytes())
        )
    }

    fn wanted(name: &str, version: Option<&str>) -> Dependency {
        let version = version.map(|version| version.parse().unwrap());
        Dependency { name: name.to_owned(), version }
    }

    #[test]
    fn the_newest_or_the_exact_version_is_found() {
        let text = [
            stanza("linux-image-a", "6.1.9-1"),
            stanza("linux-image-a", "6.1.10-1"),
            "Package: zsh\nno: fields\n\n".to_owned(),
        ]
        .concat();
        let index = Index::parse(&text).unwrap();
        assert_eq!(index.packages().count(), 2);
        let version = |wanted: &Dependency| index.find(wanted).map(|p| p.version.to_string());
        assert_eq!(version(&wanted("linux-image-a", None)).as_deref(), Some("6.1.10-1"));
        assert_eq!(version(&wanted("linux-image-a", Some("6.1.9-1"))).as_deref(), Some("6.1.9-1"));
        assert_eq!(version(&wanted("linux-image-a", Some("6.1.11-1"))), None);
        assert_eq!(version(&wanted("linux-image-b", None)), None);
    }

    #[test]
    fn dependencies() {
        let parsed = parse_depends(
            "kmod, linux-base (>= 4.3~), linux-image-x (= 6.1-2) | linux-image-y:any,\n \
             initramfs-tools [amd64] <!nodoc>, ",
        );
        let expected = [
            vec![wanted("kmod", None)],
            vec![wanted("linux-base", None)],
            vec![wanted("linux-image-x", Some("6.1-2")), wanted("linux-image-y", None)],
            vec![wanted("initramfs-tools", None)],
        ];
        assert_eq!(parsed, expected);
        assert!(parse_depends("").is_empty());
    }

    #[rstest]
    #[case("Size: 3", "Size: many", "size")]
    #[case("Version: 1", "Version: a b", "version")]
    #[case("SHA256: ", "SHA256: x", "digest")]
    #[case("Filename: pool/", "Filename: pool/../", "file name")]
    #[case("Filename: ", "File: ", "no file name")]
    fn a_damaged_stanza_is_an_error(#[case] from: &str, #[case] to: &str, #[case] what: &str) {
        let text = stanza("linux-image-a", "1").replace(from, to);
        let error = Index::parse(&text).unwrap_err().to_string();
        assert!(error.ends_with(&format!("\"linux-image-a\": {what}")), "{error}");
    }
}
