//! What an index tells of a kernel: the packages that make it up.

use crate::catalog::lock::Role;

/// The packages of one kernel.
#[derive(Debug, PartialEq)]
pub(crate) struct Dependencies<P> {
    /// What `uname -r` prints in it.
    pub(crate) release: String,
    /// The version of the package with the image.
    pub(crate) version: String,
    /// The image first.
    pub(crate) packages: Vec<(Role, P)>,
    /// Packages that should belong to it and are not in the index.
    pub(crate) missing: Vec<String>,
}

/// A kernel that an index does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// No such package.
    #[error("there is no package {0:?} in the index")]
    NoPackage(String),
    /// A pattern that is not one.
    #[error("{0:?} is not a glob of package names")]
    BadGlob(String),
    /// Nothing with an image is reached.
    #[error("{package:?} leads to no kernel image{}", lacking(.missing))]
    NoImage {
        /// Where the search began.
        package: String,
        /// What it depends on and the index lacks.
        missing: Vec<String>,
    },
    /// A package that is not the source of a kernel.
    #[error("{0:?} is not a package linux-source-VERSION, nor one that depends on such")]
    NoSource(String),
    /// More than one image is reached.
    #[error("{package:?} leads to several kernel images: {images}")]
    SeveralImages {
        /// Where the search began.
        package: String,
        /// Their packages.
        images: String,
    },
}

fn lacking(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(": the index lacks {}", names.join(", ")),
    }
}
