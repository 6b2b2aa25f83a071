//! Why the files of a kernel can't be used.

use std::{io, path::PathBuf};

use kernlab_core::{btf::BtfError, outcome::Reason};

use super::vmlinux::ImageError;
use crate::{
    digest::Digest, package::PackageError, repository::download::TransferError, store::StoreError,
};

/// Why a BTF file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ExternalBtfError {
    /// The file is compressed and can't be decompressed.
    #[error("it can't be decompressed")]
    Compression(#[source] io::Error),
    /// The file is a damaged ELF file.
    #[error("it is not a readable ELF file")]
    Elf(#[source] object::Error),
    /// The file is an ELF file without BTF.
    #[error(
        "the ELF file has no .BTF section: `pahole -J` adds one to a vmlinux with DWARF, \
         CONFIG_DEBUG_INFO_BTF=y to the next build"
    )]
    NoSection,
    /// The file is an archive of other files.
    #[error("it is an archive without a file {expected}: it has {found}")]
    OtherMembers {
        /// The name that the file should have.
        expected: String,
        /// The names of those that there are.
        found: String,
    },
    /// The file is not BTF.
    #[error(
        "expected raw BTF, or an ELF file with a .BTF section, as it is or compressed with gzip, xz \
         or zstd"
    )]
    NotBtf(#[source] BtfError),
    /// The file is the vmlinux of a different kernel.
    #[error("it is for kernel {theirs}, but this kernel is {ours}")]
    OtherRelease {
        /// The release in the file.
        theirs: String,
        /// The release of the kernel.
        ours: String,
    },
}

/// A module that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The file can't be read or decompressed.
    #[error("cannot read the module {name}")]
    Read { name: String, source: io::Error },
    /// The file is not a module.
    #[error("{name} is not a kernel module: it has no .modinfo section")]
    NotAModule { name: String },
    /// A module needs a module that the kernel does not have.
    #[error("{name} needs {dependency}, which is neither built in nor a module of this kernel")]
    MissingDependency {
        name: String,
        /// The module that it needs.
        dependency: String,
    },
    /// The kernel has no module of this name, and none is built in.
    #[error(
        "the kernel has no module {name}, and it is not built in{}{}",
        suggest(.similar),
        not_published(.missing)
    )]
    Unknown {
        name: String,
        /// Similar names of modules that the kernel has.
        similar: Vec<String>,
        /// Packages of the kernel that its archive does not have.
        missing: Vec<String>,
    },
    /// Nobody said where the kernel's modules are.
    #[error(
        "nothing is known about the modules of this kernel, so {name} can't be loaded: name their \
         directory, such as /lib/modules/RELEASE, as `modules` in the kernel's entry"
    )]
    NoneKnown { name: String },
}

fn suggest(similar: &[String]) -> String {
    match similar {
        [] => String::new(),
        names => format!("; similar names: {}", names.join(", ")),
    }
}

fn not_published(packages: &[String]) -> String {
    match packages {
        [] => String::new(),
        names => format!(
            "; kernels.lock has no {}, which the archive lacked: `kernels update` asks it again",
            names.join(", ")
        ),
    }
}

/// The files of a kernel can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A stored package changed on the disk.
    #[error(
        "the stored package {digest} was damaged on this disk and has been removed: run the \
         command again to download it"
    )]
    StoreDamaged {
        /// The digest that it should have.
        digest: Digest,
    },
    /// A package is malformed.
    #[error("cannot unpack {file}")]
    Package { file: String, source: PackageError },
    /// An image can't be booted.
    #[error("cannot use {image}")]
    Image {
        /// The path or package of the image.
        image: String,
        source: ImageError,
    },
    /// A module can't be used.
    #[error("cannot use the kernel's modules")]
    Module(#[from] ModuleError),
    /// A BTF file has no BTF, or that of a different kernel.
    #[error("cannot use the BTF of {path}")]
    Btf {
        path: PathBuf,
        /// Why.
        source: ExternalBtfError,
    },
    /// An archive of BTF does not have the kernel's, or can't be asked.
    #[error("the archive has no BTF of this kernel: no {path} in {archive}")]
    NotInArchive {
        /// The path in the archive.
        path: String,
        /// The archive's directory or address.
        archive: String,
    },
    /// A file of an archive of BTF could not be downloaded.
    #[error("cannot download {url}")]
    Download { url: String, source: Box<TransferError> },
    /// A file on this machine can't be read.
    #[error("cannot read {path}{}", advice(.source))]
    Read { path: PathBuf, source: io::Error },
    /// No image of the running kernel exists in the usual places.
    #[error("no image of the running kernel {release}: looked for {looked_for}")]
    NoHostKernel {
        /// What `uname -r` prints.
        release: String,
        /// The paths that were tried.
        looked_for: String,
    },
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (kernel images are often readable only by root: copy it, and name the copy with \
             --kernel PATH)"
        }
        _ => "",
    }
}

impl FilesError {
    /// The reason code that the kernel's cells report.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            FilesError::StoreDamaged { .. } => Reason::DigestMismatch,
            FilesError::Package { .. } | FilesError::Module(_) => Reason::BadPackage,
            FilesError::Image { .. } => Reason::NotAKernel,
            FilesError::Btf { .. } => Reason::ForeignBtf,
            FilesError::NotInArchive { .. } => Reason::MissingBtf,
            FilesError::Download { source, .. } => match **source {
                TransferError::WrongDigest => Reason::DigestMismatch,
                _ => Reason::Unreachable,
            },
            FilesError::Read { .. } | FilesError::NoHostKernel { .. } | FilesError::Store(_) => {
                Reason::HostIo
            }
        }
    }
}
