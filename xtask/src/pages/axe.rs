//! axe-core, which finds what keeps people from using a page: pinned by version and digest in
//! `xtask/axe`, installed by npm into `target/axe`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{invocation::Invocation, workspace};

/// npm downloads one package of a megabyte.
const DEADLINE: Duration = Duration::from_secs(120);
/// What npm reads.
const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("../../axe/package.json")),
    ("package-lock.json", include_str!("../../axe/package-lock.json")),
];

/// The script, which is installed if it is missing or of another version.
pub(super) fn script() -> Result<String> {
    let dir = workspace::root().join("target/axe");
    if !is_installed(&dir) {
        fs::create_dir_all(&dir)?;
        for (name, text) in FILES {
            fs::write(dir.join(name), text)?;
        }
        // Without scripts: nothing of the package runs but in the browser.
        Invocation::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .dir(&dir)
            .read(DEADLINE)
            .context("failed to install axe-core")?;
    }
    let path = package(&dir).join("axe.min.js");
    fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}

/// Whether npm is needed.
pub(super) fn is_here() -> bool {
    is_installed(&workspace::root().join("target/axe"))
}

fn package(dir: &Path) -> PathBuf {
    dir.join("node_modules/axe-core")
}

fn is_installed(dir: &Path) -> bool {
    let found = fs::read_to_string(package(dir).join("package.json")).ok();
    found.and_then(|text| version(&text, "/version")) == wanted()
}

fn wanted() -> Option<String> {
    version(FILES[0].1, "/dependencies/axe-core")
}

fn version(json: &str, pointer: &str) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    Some(value.pointer(pointer)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_not_the_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_installed(dir.path()));
        fs::create_dir_all(package(dir.path())).unwrap();
        for (version, expected) in [(wanted().unwrap(), true), ("4.0.0".to_owned(), false)] {
            let text = format!("{{\"version\": \"{version}\"}}");
            fs::write(package(dir.path()).join("package.json"), text).unwrap();
            assert_eq!(is_installed(dir.path()), expected, "{version}");
        }
    }

    #[test]
    fn the_lock_has_the_digest_of_that_version() {
        let locked = |key| version(FILES[1].1, &format!("/packages/node_modules~1axe-core/{key}"));
        assert_eq!(locked("version"), wanted());
        assert!(locked("integrity").unwrap().starts_with("sha512-"));
    }
}
