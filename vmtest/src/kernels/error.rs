//! Why a kernel can't be had.

use std::{fmt, io, path::PathBuf, sync::Arc};

use kernlab_core::{cell::BtfMode, outcome::Reason};

use super::{
    build::BuildError, digest::Digest, document::DocumentError, download::TransferError,
    external_btf::ExternalBtfError, lock::LockedKernel, matrix::Entry, modules::ModuleError,
    package::PackageError, store::StoreError, update::UpdateError, vmlinux::ImageError,
};

/// A kernel can't be had, or can't be used.
#[derive(Debug, thiserror::Error)]
#[error("kernel {kernel}")]
pub struct Error {
    /// The entry's id.
    pub kernel: String,
    /// What happened to it.
    #[source]
    pub kind: ErrorKind,
}

/// What happened to a kernel.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// It is not in the lock, and may not be added.
    #[error("not in the lock, {refusal}: run `cargo xtask kernels update {id}`")]
    NotLocked {
        /// The entry's id.
        id: String,
        /// Why it was not resolved.
        refusal: LockRefusal,
    },
    /// It is not in the lock, and its repository could not tell what it is.
    #[error("not in the lock, and it could not be resolved")]
    Unresolved(#[source] Arc<UpdateError>),
    /// The lock can't be read again.
    #[error(transparent)]
    Lock(#[from] DocumentError),
    /// It was resolved from another source than the entry names now.
    #[error(
        "the lock is of {locked:?}, the entry says {entry:?}: run `cargo xtask kernels update {id}`"
    )]
    LockIsStale {
        /// The entry's id.
        id: String,
        /// The source in the lock.
        locked: String,
        /// The source in the matrix.
        entry: String,
    },
    /// No address delivered a file.
    #[error("cannot download {file}{}", tried(.attempts))]
    Unreachable {
        /// The last part of its path.
        file: String,
        /// What each address said.
        attempts: Vec<MirrorAttempt>,
    },
    /// The repository has dropped a file since it was locked.
    #[error(
        "the repository no longer has {file}, which is locked: run `cargo xtask kernels update \
         {id}` to lock what it has now{}",
        tried(.attempts)
    )]
    Vanished {
        /// The entry's id.
        id: String,
        /// The last part of its path.
        file: String,
        /// What each address said.
        attempts: Vec<MirrorAttempt>,
    },
    /// A file would have to be downloaded, which was forbidden.
    #[error(
        "{file} is not in the store, and nothing is downloaded offline: run `cargo xtask kernels \
         fetch {id}` where there is a network"
    )]
    Offline {
        /// The entry's id.
        id: String,
        /// The last part of its path.
        file: String,
    },
    /// An address has another file than the matrix says.
    #[error(
        "{url} is not the file that kernels.toml names by its SHA-256: find out which of the two \
         is right{}",
        tried(.attempts)
    )]
    OtherFile {
        /// The address.
        url: String,
        /// What it said.
        attempts: Vec<MirrorAttempt>,
    },
    /// Addresses delivered, but never the file that is locked.
    #[error(
        "no address has the {file} that is locked{}; if the repository replaced it, run `cargo \
         xtask kernels update {id}`",
        tried(.attempts)
    )]
    DigestMismatch {
        /// The entry's id.
        id: String,
        /// The last part of its path.
        file: String,
        /// What each address said.
        attempts: Vec<MirrorAttempt>,
    },
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
    /// A kernel is to be run with a BTF file and has none.
    #[error("no BTF file: the entry in kernels.toml names none in `btf_file`")]
    NoBtfFile,
    /// The image has type information where a BTF mode means that it has none, or the reverse.
    #[error(
        "the image has {}BTF, so no cell can run in the BTF mode {mode}: {advice}",
        if *.has_btf { "" } else { "no " }
    )]
    BtfMode {
        /// The mode.
        mode: BtfMode,
        /// Whether the image has type information.
        has_btf: bool,
        /// What the entry should say, or what to ask for.
        advice: String,
    },
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
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an entry that is not in the lock was not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockRefusal {
    /// `--locked`, or the environment.
    LockedOnly,
    /// No repository is asked.
    Offline,
}

impl fmt::Display for LockRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockRefusal::LockedOnly => "which --locked or KERNLAB_LOCKED keeps as it is",
            LockRefusal::Offline => "and no repository is asked while KERNLAB_OFFLINE is set",
        })
    }
}

/// What one address said.
#[derive(Debug)]
pub struct MirrorAttempt {
    /// The address.
    pub url: String,
    /// Why it did not deliver.
    pub error: TransferError,
}

fn tried(attempts: &[MirrorAttempt]) -> String {
    if attempts.is_empty() {
        return ": no mirror is known for its repository".to_owned();
    }
    let line = |attempt: &MirrorAttempt| format!("\n  {}: {}", attempt.url, chain(&attempt.error));
    attempts.iter().map(line).collect()
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

/// An error and everything behind it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl Error {
    /// The code that the cells of this kernel report.
    pub fn reason(&self) -> Reason {
        self.kind.reason()
    }
}

impl ErrorKind {
    /// The lock has another source for an entry than the matrix.
    pub(super) fn stale_lock(entry: &Entry, locked: &LockedKernel) -> Self {
        ErrorKind::LockIsStale {
            id: entry.id.clone(),
            locked: locked.source.clone(),
            entry: entry.source.to_string(),
        }
    }

    pub(crate) fn of(self, kernel: &str) -> Error {
        Error { kernel: kernel.to_owned(), kind: self }
    }

    pub(super) fn reason(&self) -> Reason {
        match self {
            ErrorKind::NotLocked { .. } | ErrorKind::LockIsStale { .. } => Reason::NotLocked,
            ErrorKind::Unresolved(error) => error.reason(),
            ErrorKind::Unreachable { .. }
            | ErrorKind::Vanished { .. }
            | ErrorKind::Offline { .. } => Reason::Unreachable,
            ErrorKind::DigestMismatch { .. }
            | ErrorKind::OtherFile { .. }
            | ErrorKind::StoreDamaged { .. } => Reason::DigestMismatch,
            ErrorKind::Package { .. } | ErrorKind::Module(_) => Reason::BadPackage,
            ErrorKind::Image { .. } => Reason::NotAKernel,
            ErrorKind::NoBtfFile => Reason::MissingBtf,
            ErrorKind::BtfMode { .. } => Reason::WrongBtfMode,
            ErrorKind::Btf { .. } => Reason::ForeignBtf,
            ErrorKind::Build(error) => error.reason(),
            ErrorKind::Read { .. }
            | ErrorKind::NoHostKernel { .. }
            | ErrorKind::Lock(_)
            | ErrorKind::Store(_) => Reason::HostIo,
        }
    }
}
