//! Debian and Ubuntu repositories: from a signature to the files of a kernel.
//!
//! `release` reads the digest of a package index from a signed release file, `index` parses the
//! package index, and `dependencies` finds in it the packages that make up a kernel. Nothing here
//! uses the network.

pub(crate) mod control;
pub(crate) mod dependencies;
pub(crate) mod index;
pub(crate) mod release;
pub(crate) mod version;
