//! Finds the parts of a run that several machines shared.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Artifacts are directories of directories.
const DEPTH: usize = 3;

/// The directories with a report at or below this one, ordered by name. Links are not followed:
/// `latest` is one, and would be a part twice.
pub(super) fn find(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    collect(dir, DEPTH, &mut parts)?;
    parts.sort();
    Ok(parts)
}

fn collect(dir: &Path, depth: usize, parts: &mut Vec<PathBuf>) -> io::Result<()> {
    if dir.join("report.json").is_file() {
        parts.push(dir.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if depth > 0 && entry.file_type()?.is_dir() {
            collect(&entry.path(), depth - 1, parts)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_where_artifacts_are_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        for part in ["2", "1/20260101T000000", "1/20260101T000000/cells/a"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
            fs::write(dir.path().join(part).join("report.json"), "").unwrap();
        }
        fs::create_dir(dir.path().join("empty")).unwrap();
        std::os::unix::fs::symlink("20260101T000000", dir.path().join("1/latest")).unwrap();
        let parts = find(dir.path()).unwrap();
        assert_eq!(parts, ["1/20260101T000000", "2"].map(|part| dir.path().join(part)));
        assert!(find(&dir.path().join("nowhere")).is_err());
    }
}
