//! Why the files of a kernel can't be used.

use std::{io, path::PathBuf};

use kernlab_core::{btf::BtfError, outcome::Reason};

use super::vmlinux::ImageError;
use crate::{digest::Digest, package::PackageError, store::StoreError};

/// Why a file is no help.
#[derive(Debug, thiserror::Error)]
pub enum ExternalBtfError {
    /// It is compressed and can't be decompressed.
    #[error("it can't be decompressed")]
    Compression(#[source] io::Error),
    /// It is a damaged ELF file.
    #[error("it is no readable ELF file")]
    Elf(#[source] object::Error),
    /// It is an ELF file without type information.
    #[error(
        "the ELF file has no .BTF section: `pahole -J` adds one to a vmlinux with DWARF, \
         CONFIG_DEBUG_INFO_BTF=y to the next build"
    )]
    NoSection,
    /// It is not BTF.
    #[error(
        "expected raw BTF, or an ELF file with a .BTF section, maybe compressed by gzip, xz or zstd"
    )]
    NotBtf(#[source] BtfError),
    /// It is a vmlinux, and not that of the kernel.
    #[error("it is of the kernel {theirs}, and this one is {ours}")]
    OtherRelease {
        /// The release in the file.
        theirs: String,
        /// The release of the kernel.
        ours: String,
    },
}

/// Modules that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The file can't be read or decompressed.
    #[error("cannot read the module {name}")]
    Read {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The file is not a module.
    #[error("{name} is not a kernel module: it has no .modinfo section")]
    NotAModule {
        /// Its name.
        name: String,
    },
    /// A module needs one that the kernel does not have.
    #[error("{name} needs {dependency}, which is neither built in nor a module of this kernel")]
    MissingDependency {
        /// The module.
        name: String,
        /// What it needs.
        dependency: String,
    },
}

/// The files of a kernel can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A stored package is no longer what was stored.
    #[error(
        "the stored package {digest} was damaged on this disk and has been dropped: run the \
         command again to download it anew"
    )]
    StoreDamaged {
        /// What it should have been.
        digest: Digest,
    },
    /// A package is not what it should be.
    #[error("cannot unpack {file}")]
    Package {
        /// The last part of its path.
        file: String,
        /// Why.
        source: PackageError,
    },
    /// An image is not one that can be booted.
    #[error("cannot use {image}")]
    Image {
        /// Where it is from.
        image: String,
        /// Why.
        source: ImageError,
    },
    /// A module can't be used.
    #[error("cannot use the kernel's modules")]
    Module(#[from] ModuleError),
    /// A BTF file has no BTF, or that of another kernel.
    #[error("cannot use the BTF of {path}")]
    Btf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ExternalBtfError,
    },
    /// A file of this machine can't be read.
    #[error("cannot read {path}{}", advice(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// None of the files is there that the running kernel could be.
    #[error("no image of the running kernel {release}: looked for {looked_for}")]
    NoHostKernel {
        /// What `uname -r` prints.
        release: String,
        /// The paths.
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
    /// The code that the cells of the kernel report.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            FilesError::StoreDamaged { .. } => Reason::DigestMismatch,
            FilesError::Package { .. } | FilesError::Module(_) => Reason::BadPackage,
            FilesError::Image { .. } => Reason::NotAKernel,
            FilesError::Btf { .. } => Reason::ForeignBtf,
            FilesError::Read { .. } | FilesError::NoHostKernel { .. } | FilesError::Store(_) => {
                Reason::HostIo
            }
        }
    }
}
