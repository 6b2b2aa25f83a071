//! RPM repositories: from a signature to the files of a kernel.
//!
//! `repomd` reads the digest of the package list, `primary` parses the package list, and
//! `dependencies` finds in it the packages that make up a kernel. If a repository signs
//! `repomd.xml`, that proves all of them. If it signs only its packages, `proof` checks each
//! package. `header` reads the headers of a package. Nothing here uses the network.

pub(crate) mod dependencies;
pub(crate) mod header;
pub(crate) mod primary;
pub(crate) mod proof;
pub(crate) mod repomd;
mod xml;

pub(crate) use self::xml::XmlError;
