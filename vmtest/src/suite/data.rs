//! The data files of a project, which its tests may read: all but what version control ignores and
//! what tools build, up to a limit.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use ignore::{DirEntry, WalkBuilder, overrides::OverrideBuilder};

/// The bytes of data that a guest gets, unless the user says otherwise.
pub const DEFAULT_LIMIT: u64 = 16 << 20;

/// The most files that a guest gets: each of them costs every guest some time.
const MOST_FILES: usize = 10_000;

/// Directories that no test reads: version control, what is built, and the lab's own runs.
const NEVER: [&str; 6] = [".git", ".hg", ".jj", ".svn", "target", ".kernlab"];

/// How many files a notice names.
const NAMED: usize = 4;

/// The data files can't be found.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// `--exclude` is no glob.
    #[error("--exclude {glob:?} is not a valid glob")]
    Glob {
        /// As given.
        glob: String,
        /// What is wrong with it.
        source: ignore::Error,
    },
}

/// Where data files are, and which of them a guest gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataRule {
    /// Globs of files that are left out, as in a `.gitignore`.
    pub exclude: Vec<String>,
    /// The bytes of all files together.
    pub limit: u64,
}

impl Default for DataRule {
    fn default() -> Self {
        DataRule { exclude: Vec::new(), limit: DEFAULT_LIMIT }
    }
}

/// The data files of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// What the guest gets: files, links and empty directories, by their absolute paths.
    pub files: Vec<PathBuf>,
    /// What it does not get, for users: a sentence for each directory.
    pub notices: Vec<String>,
}

/// A file, and its size in bytes.
type Found = (PathBuf, u64);

impl DataRule {
    /// The data files of a project, without those that version control ignores.
    pub fn of_project(&self, root: &Path) -> Result<Data, DataError> {
        self.found_in(root, true)
    }

    /// The files in a directory.
    pub fn of_dir(&self, root: &Path) -> Result<Data, DataError> {
        self.found_in(root, false)
    }

    fn found_in(&self, root: &Path, is_project: bool) -> Result<Data, DataError> {
        let mut overrides = OverrideBuilder::new(root);
        for glob in &self.exclude {
            let invalid = |source| DataError::Glob { glob: glob.clone(), source };
            overrides.add(&format!("!{glob}")).map_err(invalid)?;
        }
        let invalid = |source| DataError::Glob { glob: self.exclude.join(" "), source };
        let overrides = overrides.build().map_err(invalid)?;
        let walk = WalkBuilder::new(root)
            .standard_filters(false)
            .git_ignore(is_project)
            .git_exclude(is_project)
            .parents(is_project)
            .require_git(false)
            .overrides(overrides)
            .filter_entry(is_wanted)
            .build();
        let mut found = Vec::new();
        // What can't be read is missed by the test that needs it.
        for entry in walk.flatten() {
            let kind = entry.file_type();
            let is_link = kind.is_some_and(|kind| kind.is_symlink());
            if !is_link && !kind.is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let size = if is_link { 0 } else { entry.metadata().map_or(0, |file| file.len()) };
            found.push((entry.into_path(), size));
            if found.len() > MOST_FILES {
                let notice = format!(
                    "the files of {} are left out: there are more than {MOST_FILES}",
                    root.display()
                );
                return Ok(Data { files: Vec::new(), notices: vec![notice] });
            }
        }
        Ok(choose(root, found, self.limit))
    }
}

fn is_wanted(entry: &DirEntry) -> bool {
    let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
    if !is_dir || entry.depth() == 0 {
        // Paths of a guest are text.
        return entry.path().to_str().is_some();
    }
    let is_never = NEVER.iter().any(|name| entry.file_name() == OsStr::new(name));
    // https://bford.info/cachedir/: what can be made again.
    !is_never && !entry.path().join("CACHEDIR.TAG").is_file()
}

/// The smallest files, as many as the limit allows.
fn choose(root: &Path, mut found: Vec<Found>, limit: u64) -> Data {
    found.sort_by(|(a, small), (b, large)| (small, a).cmp(&(large, b)));
    let mut total: u64 = 0;
    let fits = found.iter().take_while(|(_, size)| {
        total = total.saturating_add(*size);
        total <= limit
    });
    let left_out = found.split_off(fits.count());
    let mut files: Vec<PathBuf> = found.into_iter().map(|(path, _)| path).collect();
    files.sort();
    Data { files, notices: notice(root, &left_out, limit).into_iter().collect() }
}

fn notice(root: &Path, left_out: &[Found], limit: u64) -> Option<String> {
    if left_out.is_empty() {
        return None;
    }
    let mut text = format!("files of {} exceed {}; left out: ", root.display(), shown(limit));
    for (at, (path, size)) in left_out.iter().rev().take(NAMED).enumerate() {
        let path = path.strip_prefix(root).unwrap_or(path).display();
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{path} ({})", shown(*size));
    }
    if left_out.len() > NAMED {
        let _ = write!(text, ", and {} more", left_out.len() - NAMED);
    }
    Some(text)
}

fn shown(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::ffi::OsStrExt as _};

    use super::*;

    fn write(root: &Path, file: &str, content: &[u8]) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn names(root: &Path, data: &Data) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        data.files.iter().map(name).collect()
    }

    #[test]
    fn what_is_built_or_ignored_is_no_data() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for file in [
            "tests/data/a.json",
            ".hidden/b",
            "target/debug/deps/test",
            "sub/target/x",
            ".git/config",
            ".kernlab/run/report.json",
            "out/cache/big",
            "logs/one.log",
            "dist/bundle",
            "kept.log",
            "skipped/c",
        ] {
            write(root, file, b"content");
        }
        write(root, "out/cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");
        write(root, ".gitignore", b"*.log\n!kept.log\n/dist/\n");
        std::os::unix::fs::symlink("tests/data", root.join("link")).unwrap();
        fs::write(root.join(OsStr::from_bytes(b"not\xfftext")), "").unwrap();
        let rule = DataRule { exclude: vec!["skipped/".to_owned()], ..DataRule::default() };
        let data = rule.of_project(root).unwrap();
        let expected = [".gitignore", ".hidden/b", "kept.log", "link", "tests/data/a.json"];
        assert_eq!(names(root, &data), expected);
        assert_eq!(data.notices, [""; 0]);
        assert_eq!(rule.of_dir(&root.join("dist")).unwrap().files, [root.join("dist/bundle")]);
    }

    #[test]
    fn the_largest_files_are_left_out_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (file, size) in [("a", 3), ("b", 2000), ("c", 5), ("d", 4000)] {
            write(root, file, &vec![0; size]);
        }
        let rule = DataRule { limit: 2007, ..DataRule::default() };
        let data = rule.of_project(root).unwrap();
        assert_eq!(names(root, &data), ["a", "c"]);
        let notice = &data.notices[0];
        assert!(notice.ends_with(" exceed 1 KiB; left out: d (3 KiB), b (1 KiB)"), "{notice}");
        let rule = DataRule { limit: 0, ..DataRule::default() };
        assert!(rule.of_project(root).unwrap().files.is_empty());
    }

    #[test]
    fn a_glob_that_is_none_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let rule = DataRule { exclude: vec!["a[".to_owned()], ..DataRule::default() };
        let error = rule.of_project(dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "--exclude \"a[\" is not a valid glob");
    }
}
