//! The packages that make up a kernel, according to an index.

use crate::catalog::lock::Role;

#[derive(Debug, PartialEq)]
pub(crate) struct Dependencies<P> {
    /// What `uname -r` prints in the kernel.
    pub(crate) release: String,
    /// The version of the package that contains the image.
    pub(crate) version: String,
    /// The package with the image comes first.
    pub(crate) packages: Vec<(Role, P)>,
    /// Packages that belong to the kernel but are missing from the index.
    pub(crate) missing: Vec<String>,
}

/// A kernel that can't be found in an index.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// The index has no such package.
    #[error("there is no package {0:?} in the index")]
    NoPackage(String),
    /// The name is not a valid glob.
    #[error("{0:?} is not a glob of package names")]
    BadGlob(String),
    /// No package with an image is reachable.
    #[error("{package:?} depends on no kernel image{}", lacking(.missing))]
    NoImage {
        package: String,
        /// The dependencies that the index lacks.
        missing: Vec<String>,
    },
    /// The package is not the source of a kernel.
    #[error("{0:?} is not a package linux-source-VERSION and does not depend on one")]
    NoSource(String),
    /// More than one package with an image is reachable.
    #[error("{package:?} depends on several kernel images: {images}")]
    SeveralImages {
        package: String,
        /// The names of the packages.
        images: String,
    },
}

fn lacking(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(": the index lacks {}", names.join(", ")),
    }
}
