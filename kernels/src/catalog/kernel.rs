//! A kernel that can be booted.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::matrix::{Arch, Entry, MEMORY_MIB, PROCESSORS};
use crate::{
    digest::Digest,
    image::{
        inspected::{VMLINUX, file_name},
        modules::Modules,
    },
};

/// The release of an image that does not state its release.
pub const UNKNOWN_RELEASE: &str = "unknown";

/// A kernel that can be booted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unpacked {
    /// The entry's id.
    pub id: String,
    /// What `uname -r` prints in it, or [`UNKNOWN_RELEASE`].
    pub release: String,
    /// What `uname -v` prints in it, if its image states that.
    #[serde(default)]
    pub version: Option<String>,
    /// The digest of the file that boots.
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// Its architecture.
    #[serde(default)]
    pub arch: Arch,
    /// The files that QEMU can boot.
    pub image: Image,
    /// The configuration the kernel was built with, if known.
    pub config: Option<PathBuf>,
    /// Whether the boot image has BTF; `None` if that can't be determined.
    pub has_btf: Option<bool>,
    /// The modules. Guests of a run load none, so the run's plan leaves them out.
    #[serde(skip)]
    pub modules: Modules,
    /// Memory of each guest, in MiB.
    pub memory_mib: u32,
    /// Number of processors of each guest.
    pub processors: u32,
}

/// The files that QEMU can boot; at least one is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image as distributions ship it, or on arm64 the uncompressed one in it. Absent if the user gave an uncompressed kernel.
    pub bzimage: Option<PathBuf>,
    /// The ELF kernel inside, if it has a PVH entry point. Booting it saves the guest the
    /// decompression.
    pub vmlinux: Option<PathBuf>,
}

impl Unpacked {
    /// A kernel of which no more is known than its image.
    pub(crate) fn new(id: &str, release: &str, arch: Arch, image: Image) -> Self {
        Unpacked {
            id: id.to_owned(),
            release: release.to_owned(),
            version: None,
            sha256: None,
            arch,
            image,
            config: None,
            has_btf: None,
            modules: Modules::unknown(),
            memory_mib: MEMORY_MIB,
            processors: PROCESSORS,
        }
    }

    /// A kernel of this release, for tests that boot nothing.
    #[cfg(test)]
    pub(crate) fn sample(id: &str, release: &str) -> Self {
        let image = Image { bzimage: None, vmlinux: Some("/store/vmlinux".into()) };
        let kernel = Unpacked::new(id, release, Arch::X86_64, image);
        Unpacked { has_btf: Some(true), modules: Modules::default(), ..kernel }
    }

    pub(crate) fn with_machine_of(self, entry: &Entry) -> Self {
        Unpacked { memory_mib: entry.memory_mib, processors: entry.processors, ..self }
    }

    /// The key of the store artifact that contains the image, if it is in the store.
    pub(crate) fn artifact_key(&self) -> Option<String> {
        Some(self.image.fastest().parent()?.file_name()?.to_str()?.to_owned())
    }
}

impl Image {
    /// The images in an artifact, if it has one.
    pub(crate) fn in_artifact(dir: &Path, arch: Arch) -> Option<Self> {
        let file = |name| Some(dir.join(name)).filter(|path| path.is_file());
        let image = Image { bzimage: file(file_name(arch)), vmlinux: file(VMLINUX) };
        (image.bzimage.is_some() || image.vmlinux.is_some()).then_some(image)
    }

    /// The file that boots fastest, for QEMU's `-kernel`.
    pub fn fastest(&self) -> &Path {
        match (&self.vmlinux, &self.bzimage) {
            (Some(path), _) | (None, Some(path)) => path,
            (None, None) => unreachable!("an image has a file"),
        }
    }
}
