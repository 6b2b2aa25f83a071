//! The directories of the checkout and of the store.

use std::{
    env, io,
    path::{Path, PathBuf},
};

/// The file that marks the root of a checkout.
pub const MATRIX_FILE: &str = "kernels.toml";

/// Names the store's directory.
pub const STORE_VARIABLE: &str = "KERNLAB_STORE";

/// Names the directory of a different matrix than the checkout's: `kernels.toml`, its locks and
/// keys.
pub const MATRIX_VARIABLE: &str = "KERNLAB_MATRIX";

/// A directory that could not be determined.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Neither the current directory nor one above it contains the matrix.
    #[error("no {MATRIX_FILE} in {start} or above it: run this inside a checkout of kernlab")]
    NoRoot {
        /// The directory where the search started.
        start: PathBuf,
    },
    /// The environment names neither a store nor a home directory.
    #[error("no directory for the kernel store: set {STORE_VARIABLE}, XDG_CACHE_HOME or HOME")]
    NoStore,
    /// The current directory was deleted.
    #[error("the current directory no longer exists")]
    NoCurrentDir(#[source] io::Error),
}

/// The root of the checkout that contains the current directory.
pub fn repository_root() -> Result<PathBuf, PathError> {
    let start = env::current_dir().map_err(PathError::NoCurrentDir)?;
    root_above(&start).ok_or(PathError::NoRoot { start })
}

/// The directory of the matrix, if the environment names one.
pub fn matrix_dir() -> Option<PathBuf> {
    env::var_os(MATRIX_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

fn root_above(start: &Path) -> Option<PathBuf> {
    start.ancestors().find(|dir| dir.join(MATRIX_FILE).is_file()).map(Path::to_owned)
}

/// The directory of the store: `$KERNLAB_STORE`, else `$XDG_CACHE_HOME/kernlab`, else
/// `$HOME/.cache/kernlab`.
pub fn store_dir() -> Result<PathBuf, PathError> {
    store_dir_from(|name| env::var_os(name).map(PathBuf::from)).ok_or(PathError::NoStore)
}

fn store_dir_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.as_os_str().is_empty());
    set(STORE_VARIABLE)
        // The XDG base directory specification: a relative path is invalid and ignored.
        .or_else(|| set("XDG_CACHE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("kernlab")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/kernlab")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;

    #[test]
    fn the_root_is_found_from_a_dir_below_it() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("vmtest/src");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(root_above(&below), None);
        fs::write(root.path().join(MATRIX_FILE), "").unwrap();
        assert_eq!(root_above(&below).as_deref(), Some(root.path()));
    }

    #[rstest]
    #[case(&[("KERNLAB_STORE", "/s"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")], Some("/s"))]
    #[case(&[("KERNLAB_STORE", ""), ("XDG_CACHE_HOME", "/c")], Some("/c/kernlab"))]
    #[case(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")], Some("/h/.cache/kernlab"))]
    #[case(&[], None)]
    fn the_store_follows_the_environment(
        #[case] environment: &[(&str, &str)],
        #[case] expected: Option<&str>,
    ) {
        let found = store_dir_from(|name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
        });
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
