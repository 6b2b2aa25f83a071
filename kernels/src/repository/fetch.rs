//! From the lock to packages in the store.

use kernlab_core::outcome::Reason;
use ureq::http::StatusCode;

use crate::{
    catalog::{
        lock::{LockedFile, LockedKernel, Place},
        matrix::Matrix,
    },
    error_chain::chain,
    progress::{Event, Observer},
    repository::{
        download::{Client, TransferError},
        mirror::{Mirror, Mirrors, Wanted},
    },
    store::{Object, Store, StoreError},
};

/// A file that is locked can't be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
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
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
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

impl FetchError {
    /// The code that the cells of the kernel report.
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
    /// The last part of its path in the repository.
    pub(crate) file: String,
    pub(crate) object: Object,
}

/// What downloading takes.
pub(crate) struct Fetcher<'a> {
    pub(crate) client: &'a Client,
    pub(crate) matrix: &'a Matrix,
    pub(crate) mirrors: &'a Mirrors,
    pub(crate) store: &'a Store,
    pub(crate) observer: &'a dyn Observer,
}

impl Fetcher<'_> {
    /// Every package of a kernel, from the store or from the first address that delivers it.
    pub(crate) fn fetch(&self, kernel: &LockedKernel) -> Result<Vec<StoredPackage>, FetchError> {
        kernel.files.iter().map(|file| self.fetch_file(kernel, file)).collect()
    }

    fn fetch_file(
        &self,
        kernel: &LockedKernel,
        file: &LockedFile,
    ) -> Result<StoredPackage, FetchError> {
        let name = file.name();
        let stored = |object| StoredPackage { file: name.to_owned(), object };
        if let Some(object) = self.store.object(file.sha256, file.size) {
            return Ok(stored(object));
        }
        let wait = || self.observer.observe(&kernel.id, Event::Wait { file: name });
        let _lock = self.store.lock_announced(&file.sha256.to_string(), wait)?;
        // Another process may have fetched it while this one waited for its turn.
        if let Some(object) = self.store.object(file.sha256, file.size) {
            return Ok(stored(object));
        }
        if self.client.is_offline() {
            return Err(FetchError::Offline { id: kernel.id.clone(), file: name.to_owned() });
        }
        self.download(kernel, file).map(stored)
    }

    fn download(&self, kernel: &LockedKernel, file: &LockedFile) -> Result<Object, FetchError> {
        let name = file.name();
        let observe = |event: Event<'_>| self.observer.observe(&kernel.id, event);
        let mut attempts = Vec::new();
        let mut partial = self.store.partial(file.sha256, file.size)?;
        let addresses = self.addresses(kernel, file);
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
            None => Err(Undelivered { attempts, asked_live }.kind(&kernel.id, file)),
        }
    }

    /// Where the file may be had, in the order in which to try.
    fn addresses(&self, kernel: &LockedKernel, file: &LockedFile) -> Vec<Mirror> {
        match &file.place {
            Place::Url(url) => vec![Mirror { url: url.clone(), is_dated: false }],
            Place::Repository { repository, path } => {
                let wanted = match kernel.snapshot.as_deref() {
                    Some(date) if kernel.pinned => Wanted::At(date),
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

/// Where a file that could not be had was looked for.
struct Undelivered {
    attempts: Vec<MirrorAttempt>,
    /// Whether those include an address that is kept up to date.
    asked_live: bool,
}

impl Undelivered {
    /// A repository that has the file, but another one, or has it no more, is told apart from one
    /// that can't be reached.
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
