//! RPM repositories: from a signature to the files of a kernel.
//!
//! `repomd` tells the digest of the list of packages, `primary` reads that, and `dependencies` finds in
//! it the packages that make up a kernel. Where a repository signs `repomd.xml`, that proves all of
//! them. Where it signs only its packages, `proof` checks each. `header` reads what both a package
//! and its proof need. Nothing here touches the network.

pub(crate) mod dependencies;
pub(crate) mod header;
pub(crate) mod primary;
pub(crate) mod proof;
pub(crate) mod repomd;
mod xml;

pub(crate) use self::xml::XmlError;
