//! The directories of the checkout or the project, of the store, and of what outlives the store.

use std::{
    env, io,
    path::{Path, PathBuf},
};

/// The matrix: in the root of a checkout, or of a project with kernels of its own.
pub const MATRIX_FILE: &str = "kernels.toml";

/// The file that makes a directory with a matrix a checkout of kernlab: no other project has it.
pub const CHECKOUT_FILE: &str = "vmtest/proto/Cargo.toml";

/// The suites of a project.
pub const SUITES_FILE: &str = "kernlab.toml";

/// Names the store's directory.
pub const STORE_VARIABLE: &str = "KERNLAB_STORE";

/// Names the directory of a different matrix than the checkout's: `kernels.toml`, its locks and
/// keys.
pub const MATRIX_VARIABLE: &str = "KERNLAB_MATRIX";

/// A directory that could not be determined.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The environment names neither a store nor a home directory.
    #[error("no directory for the kernel store: set {STORE_VARIABLE}, XDG_CACHE_HOME or HOME")]
    NoStore,
    /// The environment names a store with an empty path.
    #[error(
        "{STORE_VARIABLE} is empty: set it to the directory of the kernel store, or unset it for the \
         one in your cache directory"
    )]
    EmptyStore,
    /// The current directory was deleted.
    #[error("the current directory no longer exists")]
    NoCurrentDir(#[source] io::Error),
}

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Inside a checkout of kernlab with this root.
    Checkout(PathBuf),
    /// Inside a project that uses kernlab, with this root: it has its own suites or kernels.
    Project(PathBuf),
    /// In this directory, which belongs to neither.
    Elsewhere(PathBuf),
}

impl Location {
    /// The location of the current directory.
    pub fn current() -> Result<Self, PathError> {
        let dir = env::current_dir().map_err(PathError::NoCurrentDir)?;
        Ok(Location::of(&dir))
    }

    /// The location of a directory. A project inside a checkout is part of the checkout.
    fn of(dir: &Path) -> Self {
        let has = |dir: &Path, file: &str| dir.join(file).is_file();
        let is_checkout = |dir: &&Path| has(dir, MATRIX_FILE) && has(dir, CHECKOUT_FILE);
        let is_project = |dir: &&Path| has(dir, MATRIX_FILE) || has(dir, SUITES_FILE);
        if let Some(root) = dir.ancestors().find(is_checkout) {
            return Location::Checkout(root.to_owned());
        }
        match dir.ancestors().find(is_project) {
            Some(root) => Location::Project(root.to_owned()),
            None => Location::Elsewhere(dir.to_owned()),
        }
    }

    /// The root of the checkout or of the project, or else the current directory.
    pub fn root(&self) -> &Path {
        let (Location::Checkout(root) | Location::Project(root) | Location::Elsewhere(root)) = self;
        root
    }

    /// The directory with the directories of runs.
    pub fn runs_dir(&self) -> PathBuf {
        self.root().join(match self {
            Location::Checkout(_) => "target/kernlab",
            Location::Project(_) | Location::Elsewhere(_) => ".kernlab",
        })
    }
}

/// What a user types here before the name of a command: `cargo xtask` in a checkout, `kernlab`
/// elsewhere.
pub fn program() -> &'static str {
    match Location::current() {
        Ok(Location::Checkout(_)) => "cargo xtask",
        Ok(Location::Project(_) | Location::Elsewhere(_)) | Err(_) => "kernlab",
    }
}

/// The directory of the matrix, if the environment names one.
pub fn matrix_dir() -> Option<PathBuf> {
    env::var_os(MATRIX_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// The directory of the store: `$KERNLAB_STORE`, else `$XDG_CACHE_HOME/kernlab`, else
/// `$HOME/.cache/kernlab`.
pub fn store_dir() -> Result<PathBuf, PathError> {
    store_dir_from(|name| env::var_os(name).map(PathBuf::from))
}

fn store_dir_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf, PathError> {
    let set = |name: &str| variable(name).filter(|value| !value.as_os_str().is_empty());
    match variable(STORE_VARIABLE) {
        // A variable that a script failed to set: the user meant another directory than the default.
        Some(dir) if dir.as_os_str().is_empty() => return Err(PathError::EmptyStore),
        Some(dir) => return Ok(std::path::absolute(&dir).unwrap_or(dir)),
        None => {}
    }
    set("XDG_CACHE_HOME")
        // The XDG base directory specification: a relative path is invalid and ignored.
        .filter(|path| path.is_absolute())
        .map(|path| path.join("kernlab"))
        .or_else(|| set("HOME").map(|home| home.join(".cache/kernlab")))
        .ok_or(PathError::NoStore)
}

/// The directory of the lock of commands that run outside of any project: `$XDG_STATE_HOME/kernlab`,
/// else `$HOME/.local/state/kernlab`.
pub(crate) fn state_dir() -> Option<PathBuf> {
    state_dir_from(|name| env::var_os(name).map(PathBuf::from))
}

fn state_dir_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("kernlab"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing(&[], Location::Elsewhere("a/b".into()))]
    #[case::own_suites(&["a/kernlab.toml"], Location::Project("a".into()))]
    #[case::own_kernels(&["a/b/kernels.toml", "kernlab.toml"], Location::Project("a/b".into()))]
    #[case::both(&["a/kernels.toml", "a/kernlab.toml"], Location::Project("a".into()))]
    #[case::a_checkout(&["kernels.toml", CHECKOUT_FILE], Location::Checkout("".into()))]
    #[case::in_a_checkout(
        &["kernels.toml", CHECKOUT_FILE, "a/kernlab.toml"],
        Location::Checkout("".into())
    )]
    #[case::a_checkout_below(
        &["a/kernlab.toml", "a/b/vendor/kernels.toml", "a/b/vendor/vmtest/proto/Cargo.toml"],
        Location::Project("a".into())
    )]
    fn files_tell_where_a_command_runs(#[case] files: &[&str], #[case] expected: Location) {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &Path| {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        };
        files.iter().for_each(|file| write(&root.path().join(file)));
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        let found = Location::of(&root.path().join("a/b"));
        assert_eq!(found.root(), root.path().join(expected.root()), "{found:?}");
        assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(&expected), "{found:?}");
    }

    #[rstest]
    #[case(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")], Some("/s/kernlab"))]
    #[case(&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")], Some("/h/.local/state/kernlab"))]
    #[case(&[], None)]
    fn the_state_follows_the_environment(
        #[case] environment: &[(&str, &str)],
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(state_dir_from(variables(environment)), expected.map(PathBuf::from));
    }

    fn variables(environment: &[(&str, &str)]) -> impl Fn(&str) -> Option<PathBuf> {
        |name| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
    }

    #[rstest]
    #[case(&[("KERNLAB_STORE", "/s"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")], "/s")]
    #[case(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")], "/c/kernlab")]
    #[case(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")], "/h/.cache/kernlab")]
    #[case::set_to_nothing(&[("KERNLAB_STORE", ""), ("HOME", "/h")], "KERNLAB_STORE is empty")]
    #[case(&[], "no directory for the kernel store")]
    fn the_store_follows_the_environment(
        #[case] environment: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        let found = match store_dir_from(variables(environment)) {
            Ok(dir) => dir.display().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(found.starts_with(expected), "{found}");
    }
}
