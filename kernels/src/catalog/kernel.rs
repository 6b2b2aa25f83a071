//! A kernel that can be booted.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::matrix::Entry;
use crate::image::modules::Modules;

/// The release of an image that doesn't tell its own.
pub const UNKNOWN_RELEASE: &str = "unknown";

/// A kernel that can be booted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unpacked {
    /// The entry's id.
    pub id: String,
    /// What `uname -r` prints in it, or [`UNKNOWN_RELEASE`].
    pub release: String,
    /// What QEMU boots.
    pub image: Image,
    /// The configuration it was built with, if that is known.
    pub config: Option<PathBuf>,
    /// Whether the image that boots has type information; none if that can't be told.
    pub has_btf: Option<bool>,
    /// Its modules. The guests of a run load none, so its plan has none.
    #[serde(skip)]
    pub modules: Modules,
    /// Mebibytes of memory that its guests have.
    pub memory_mib: u32,
    /// Processors that its guests have.
    pub processors: u32,
}

/// What QEMU boots: at least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image as distributions ship it. Absent if an uncompressed kernel was given as a file.
    pub bzimage: Option<PathBuf>,
    /// The ELF kernel inside, if it has a PVH entry point: it saves the guest the decompression.
    pub vmlinux: Option<PathBuf>,
}

impl Unpacked {
    /// A kernel of this release, for tests that boot none.
    #[cfg(test)]
    pub(crate) fn sample(id: &str, release: &str) -> Self {
        Unpacked {
            id: id.to_owned(),
            release: release.to_owned(),
            image: Image { bzimage: None, vmlinux: Some("/store/vmlinux".into()) },
            config: None,
            has_btf: Some(true),
            modules: Modules::default(),
            memory_mib: super::matrix::MEMORY_MIB,
            processors: super::matrix::PROCESSORS,
        }
    }

    pub(crate) fn with_machine_of(self, entry: &Entry) -> Self {
        Unpacked { memory_mib: entry.memory_mib, processors: entry.processors, ..self }
    }

    /// The key of the artifact that its image is in, if it is in the store.
    pub(crate) fn artifact_key(&self) -> Option<String> {
        Some(self.image.fastest().parent()?.file_name()?.to_str()?.to_owned())
    }
}

impl Image {
    /// The file that boots fastest: a value for QEMU's `-kernel`.
    pub fn fastest(&self) -> &Path {
        match (&self.vmlinux, &self.bzimage) {
            (Some(path), _) | (None, Some(path)) => path,
            (None, None) => unreachable!("an image has a file"),
        }
    }
}
