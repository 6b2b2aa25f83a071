//! Downloads locked packages into the store.

use kernlab_core::outcome::Reason;
use ureq::http::StatusCode;

use crate::{
    catalog::{
        lock::{LockedFile, LockedKernel, Place},
        matrix::Matrix,
    },
    error_chain::chain,
    paths::program,
    progress::{Event, Observer},
    repository::{
        download::{Client, TransferError},
        mirror::{Mirror, Mirrors, Wanted},
    },
    store::{Object, Store, StoreError},
};

/// A locked file can't be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No URL delivered the file.
    #[error("cannot download {file}{}", tried(.attempts))]
    Unreachable {
        file: String,
        /// The result of each URL.
        attempts: Vec<MirrorAttempt>,
    },
    /// The repository has removed the file since it was locked.
    #[error(
        "the repository no longer has the locked file {file}: run `{} kernels update {id}` to lock \
         its current files{}",
        program(), tried(.attempts)
    )]
    Vanished {
        id: String,
        file: String,
        /// The result of each URL.
        attempts: Vec<MirrorAttempt>,
    },
    /// The file needs a download, which is forbidden.
    #[error(
        "{file} is not in the store, and downloads are forbidden offline: run `{} kernels fetch \
         {id}` where there is a network",
        program()
    )]
    Offline { id: String, file: String },
    /// The URL's file is not the one that the matrix names.
    #[error(
        "{url} does not have the SHA-256 digest that kernels.toml names: find out which of the two \
         is right{}",
        tried(.attempts)
    )]
    OtherFile {
        url: String,
        /// The result of each attempt.
        attempts: Vec<MirrorAttempt>,
    },
    /// Mirrors delivered a file, but not the locked one.
    #[error(
        "no mirror has the locked {file}{}; if the repository replaced it, run `{} kernels update \
         {id}`",
        tried(.attempts), program()
    )]
    DigestMismatch {
        id: String,
        file: String,
        /// The result of each URL.
        attempts: Vec<MirrorAttempt>,
    },
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The failed attempt at one URL.
#[derive(Debug)]
pub struct MirrorAttempt {
    pub url: String,
    pub error: TransferError,
}

fn tried(attempts: &[MirrorAttempt]) -> String {
    if attempts.is_empty() {
        return ": no mirror is known for its repository".to_owned();
    }
    let line = |attempt: &MirrorAttempt| format!("\n  {}: {}", attempt.url, chain(&attempt.error));
    attempts.iter().map(line).collect()
}

impl FetchError {
    /// The reason code that the kernel's cells report.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            FetchError::Unreachable { .. }
            | FetchError::Vanished { .. }
            | FetchError::Offline { .. } => Reason::Unreachable,
            FetchError::DigestMismatch { .. } | FetchError::OtherFile { .. } => {
                Reason::DigestMismatch
            }
            FetchError::Store(_) => Reason::HostIo,
        }
    }
}

/// A package in the store.
#[derive(Clone, Debug)]
pub(crate) struct StoredPackage {
    /// The file name: the last part of its path in the repository.
    pub(crate) file: String,
    pub(crate) object: Object,
}

/// What is needed to download files.
pub(crate) struct Fetcher<'a> {
    pub(crate) client: &'a Client,
    pub(crate) matrix: &'a Matrix,
    pub(crate) mirrors: &'a Mirrors,
    pub(crate) store: &'a Store,
    pub(crate) observer: &'a dyn Observer,
}

/// What files are fetched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    /// The kernel's id.
    pub(crate) id: &'a str,
    /// A date at which dated archives have the files.
    pub(crate) snapshot: Option<&'a str>,
    /// Whether only dated archives have them.
    pub(crate) pinned: bool,
    /// Whether the lock names them, so that an update of it would name others.
    pub(crate) is_locked: bool,
}

impl<'a> From<&'a LockedKernel> for Purpose<'a> {
    fn from(kernel: &'a LockedKernel) -> Self {
        let LockedKernel { id, snapshot, pinned, .. } = kernel;
        Purpose { id, snapshot: snapshot.as_deref(), pinned: *pinned, is_locked: true }
    }
}

impl Fetcher<'_> {
    /// Every package of a kernel, from the store or from the first URL that delivers it.
    pub(crate) fn fetch(&self, kernel: &LockedKernel) -> Result<Vec<StoredPackage>, FetchError> {
        kernel.files.iter().map(|file| self.fetch_file(kernel.into(), file)).collect()
    }

    /// One file, from the store or from the first URL that delivers it.
    pub(crate) fn fetch_file(
        &self,
        purpose: Purpose<'_>,
        file: &LockedFile,
    ) -> Result<StoredPackage, FetchError> {
        let name = file.name();
        let stored = |object| StoredPackage { file: name.to_owned(), object };
        if let Some(object) = self.store.object(file.sha256, file.size) {
            return Ok(stored(object));
        }
        let wait = || self.observer.observe(purpose.id, Event::Wait { file: name });
        let _lock = self.store.lock_announced(&file.sha256.to_string(), wait)?;
        // Another process may have fetched it while this one waited for the lock.
        if let Some(object) = self.store.object(file.sha256, file.size) {
            return Ok(stored(object));
        }
        if self.client.is_offline() {
            return Err(FetchError::Offline { id: purpose.id.to_owned(), file: name.to_owned() });
        }
        self.download(purpose, file).map(stored)
    }

    fn download(&self, purpose: Purpose<'_>, file: &LockedFile) -> Result<Object, FetchError> {
        let name = file.name();
        let observe = |event: Event<'_>| self.observer.observe(purpose.id, event);
        let mut attempts = Vec::new();
        let mut partial = self.store.partial(file.sha256, file.size)?;
        let addresses = self.addresses(purpose, file);
        let asked_live = addresses.first().is_some_and(|address| !address.is_dated);
        for Mirror { url, .. } in addresses {
            observe(Event::Download { file: name, done: partial.len(), size: file.size });
            let mut progress = |done| observe(Event::Progress { done });
            match self.client.complete(&url, &mut partial, &mut progress) {
                Ok(()) => break,
                Err(TransferError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    observe(Event::AddressFailed { url: &url, error: &error });
                    attempts.push(MirrorAttempt { url, error });
                }
            }
        }
        match partial.commit(self.store)? {
            Some(object) => {
                observe(Event::Downloaded);
                Ok(object)
            }
            None if purpose.is_locked => {
                Err(Undelivered { attempts, asked_live }.kind(purpose.id, file))
            }
            None => Err(FetchError::Unreachable { file: name.to_owned(), attempts }),
        }
    }

    /// The URLs that may have the file, in the order in which they are tried.
    fn addresses(&self, purpose: Purpose<'_>, file: &LockedFile) -> Vec<Mirror> {
        match &file.place {
            Place::Url(url) => vec![Mirror { url: url.clone(), is_dated: false }],
            Place::Repository { repository, path } => {
                let wanted = match purpose.snapshot {
                    Some(date) if purpose.pinned => Wanted::At(date),
                    fallback => Wanted::Now { fallback },
                };
                let mirrors = self.mirrors.of(self.matrix, repository, wanted);
                let file = |mirror: Mirror| Mirror { url: mirror.file(path), ..mirror };
                mirrors.into_iter().map(file).collect()
            }
        }
    }
}

/// All packages of a kernel, if they are in the store.
pub(crate) fn stored(store: &Store, kernel: &LockedKernel) -> Option<Vec<StoredPackage>> {
    let stored = |file: &LockedFile| {
        let object = store.object(file.sha256, file.size)?;
        Some(StoredPackage { file: file.name().to_owned(), object })
    };
    kernel.files.iter().map(stored).collect()
}

/// Whether all packages of a kernel are in the store.
pub(crate) fn is_stored(store: &Store, kernel: &LockedKernel) -> bool {
    stored(store, kernel).is_some()
}

/// The failed attempts to download a file.
struct Undelivered {
    attempts: Vec<MirrorAttempt>,
    /// Whether they include a mirror of the current repository, as opposed to a dated archive.
    asked_live: bool,
}

impl Undelivered {
    /// Distinguishes a repository that replaced or removed the file from one that can't be reached.
    fn kind(self, id: &str, file: &LockedFile) -> FetchError {
        let Undelivered { attempts, asked_live } = self;
        let id = id.to_owned();
        let is_other = |attempt: &MirrorAttempt| {
            matches!(attempt.error, TransferError::WrongDigest | TransferError::WrongSize { .. })
        };
        let is_gone = |attempt: &MirrorAttempt| {
            matches!(attempt.error, TransferError::Status(status)
                if status == StatusCode::NOT_FOUND || status == StatusCode::GONE)
        };
        if attempts.iter().any(is_other) {
            return match &file.place {
                Place::Url(url) => FetchError::OtherFile { url: url.clone(), attempts },
                Place::Repository { .. } => {
                    FetchError::DigestMismatch { id, file: file.name().to_owned(), attempts }
                }
            };
        }
        let in_repository = matches!(file.place, Place::Repository { .. });
        let file = file.name().to_owned();
        if asked_live && in_repository && attempts.first().is_some_and(is_gone) {
            return FetchError::Vanished { id, file, attempts };
        }
        FetchError::Unreachable { file, attempts }
    }
}
