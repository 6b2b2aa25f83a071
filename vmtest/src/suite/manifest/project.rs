//! A repository's `kernlab.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{CargoSuite, ManifestError, Suite, read};

/// The name of the file.
pub const FILE_NAME: &str = "kernlab.toml";

/// A repository's suites.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// The file that describes it.
    pub path: PathBuf,
    /// Selectors of the kernels that suites run on; `default` is the default tier.
    pub kernels: Vec<String>,
    /// A line for `sh -c` that builds on this machine, once, before any suite runs.
    pub build: Option<String>,
    /// In the order of the file, without those of cargo's tests.
    pub suites: Vec<Suite>,
    /// Cargo's tests, in the order of the file.
    pub cargo: Vec<CargoSuite>,
}

impl Project {
    /// Reads a description; errors name `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Project, ManifestError> {
        read::project(path, text)
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Project, ManifestError> {
        match fs::read_to_string(path) {
            Ok(text) => Project::parse(path, &text),
            Err(source) => Err(ManifestError::Read { path: path.to_owned(), source }),
        }
    }

    /// The directory that relative paths start from.
    pub fn dir(&self) -> &Path {
        match self.path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        }
    }
}
