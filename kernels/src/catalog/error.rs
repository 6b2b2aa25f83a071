//! Why a kernel can't be had.

use std::{fmt, sync::Arc};

use kernlab_core::{cell::BtfMode, outcome::Reason};

use crate::{
    catalog::{lock::LockedKernel, matrix::Entry},
    document::DocumentError,
    from_source::BuildError,
    image::FilesError,
    repository::{fetch::FetchError, update::UpdateError},
    store::StoreError,
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
    /// A file could not be downloaded.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Its files can't be used.
    #[error(transparent)]
    Files(#[from] FilesError),
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

impl Error {
    /// The code that the cells of this kernel report.
    pub fn reason(&self) -> Reason {
        self.kind.reason()
    }
}

impl ErrorKind {
    /// The lock has another source for an entry than the matrix.
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
            ErrorKind::Build(error) => error.reason(),
            ErrorKind::Lock(_) | ErrorKind::Store(_) => Reason::HostIo,
        }
    }
}
