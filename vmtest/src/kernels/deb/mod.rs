//! Debian and Ubuntu repositories: from a signature to the files of a kernel.
//!
//! `signature` proves a repository's `Release` document, `release` reads from it the digest of a
//! package index, `index` reads that, and `closure` finds in it the packages that make up a
//! kernel. Nothing here touches the network. `package` reads the packages themselves.

pub(crate) mod closure;
pub(crate) mod control;
pub(crate) mod index;
pub(crate) mod package;
pub(crate) mod release;
pub(crate) mod signature;
pub(crate) mod version;
