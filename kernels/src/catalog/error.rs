//! Why a kernel can't be fetched or used.

use std::{fmt, sync::Arc};

use kernlab_core::{cell::BtfMode, outcome::Reason};

use crate::{
    busybox::BusyboxError,
    catalog::{
        lock::LockedKernel,
        matrix::{Arch, Entry},
    },
    document::DocumentError,
    from_source::BuildError,
    image::FilesError,
    paths::program,
    repository::{fetch::FetchError, update::UpdateError},
    store::StoreError,
};

/// A kernel can't be fetched or used.
#[derive(Debug, thiserror::Error)]
#[error("kernel {kernel}")]
pub struct Error {
    /// The entry's id.
    pub kernel: String,
    #[source]
    pub kind: ErrorKind,
}

/// The error of one kernel.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The kernel is not in the lock, and may not be added.
    #[error("not in the lock, {refusal}: run `{} kernels update {id}`", program())]
    NotLocked {
        /// The entry's id.
        id: String,
        /// Why it was not added.
        refusal: LockRefusal,
    },
    /// The kernel is not in the lock, and its repository could not resolve it.
    #[error("not in the lock, and it could not be resolved")]
    Unresolved(#[source] Arc<UpdateError>),
    /// The lock can't be read again.
    #[error(transparent)]
    Lock(#[from] DocumentError),
    /// The lock entry was resolved from a different source than the entry now names.
    #[error(
        "the lock was resolved from {locked:?}, but the entry names {entry:?}: run `{} kernels \
         update {id}`",
        program()
    )]
    LockIsStale {
        /// The entry's id.
        id: String,
        /// The source in the lock.
        locked: String,
        /// The source in the matrix.
        entry: String,
    },
    /// A file could not be downloaded.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The kernel's files can't be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A cell in the BTF mode `external` needs a BTF file, and the entry has none.
    #[error("no BTF file: name one in `btf_file` or `btf_archive` of the entry in kernels.toml")]
    NoBtfFile,
    /// The BTF mode contradicts the image: the image has BTF and the mode means none, or the
    /// reverse.
    #[error(
        "the image has {}BTF, so no cell can run in the BTF mode {mode}: {advice}",
        if *.has_btf { "" } else { "no " }
    )]
    BtfMode {
        mode: BtfMode,
        /// Whether the image has BTF.
        has_btf: bool,
        /// What the entry should say, or which modes to ask for.
        advice: String,
    },
    /// The image is for another architecture than the entry says.
    #[error(
        "the image is for {found}, but its entry says `arch = \"{declared}\"`: correct the entry, or \
         name another image"
    )]
    OtherArch {
        /// The entry's architecture.
        declared: Arch,
        /// The image's.
        found: Arch,
    },
    /// Its guests have no shell: this machine's does not run in them.
    #[error("no busybox (shell and small tools) for its guests")]
    Busybox(#[source] BusyboxError),
    /// The kernel could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an entry that is not in the lock was not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockRefusal {
    /// `--locked` or `KERNLAB_LOCKED` forbids it.
    LockedOnly,
    /// Downloads are forbidden, and so are queries of repositories.
    Offline,
}

impl fmt::Display for LockRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockRefusal::LockedOnly => "and --locked or KERNLAB_LOCKED forbids adding to it",
            LockRefusal::Offline => "and KERNLAB_OFFLINE forbids asking its repository",
        })
    }
}

impl Error {
    /// The reason code that the kernel's cells report.
    pub fn reason(&self) -> Reason {
        self.kind.reason()
    }
}

impl ErrorKind {
    /// The lock entry was resolved from a different source than the entry's current one.
    pub(crate) fn stale_lock(entry: &Entry, locked: &LockedKernel) -> Self {
        ErrorKind::LockIsStale {
            id: entry.id.clone(),
            locked: locked.source.clone(),
            entry: entry.source.to_string(),
        }
    }

    pub(crate) fn of(self, kernel: &str) -> Error {
        Error { kernel: kernel.to_owned(), kind: self }
    }

    pub(crate) fn reason(&self) -> Reason {
        match self {
            ErrorKind::NotLocked { .. } | ErrorKind::LockIsStale { .. } => Reason::NotLocked,
            ErrorKind::Unresolved(error) => error.reason(),
            ErrorKind::Fetch(error) => error.reason(),
            ErrorKind::Files(error) => error.reason(),
            ErrorKind::NoBtfFile => Reason::MissingBtf,
            ErrorKind::BtfMode { .. } => Reason::WrongBtfMode,
            ErrorKind::OtherArch { .. } => Reason::NotAKernel,
            ErrorKind::Busybox(error) => error.reason(),
            ErrorKind::Build(error) => error.reason(),
            ErrorKind::Lock(_) | ErrorKind::Store(_) => Reason::HostIo,
        }
    }
}
