//! From the lock to packages in the store.

use super::{
    download::{Client, TransferError},
    error::{Attempt, ErrorKind},
    lock::{LockedFile, LockedKernel},
    matrix::Matrix,
    mirror::Mirrors,
    observer::{Event, Observer},
    store::{Object, Store},
};

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
    pub(crate) fn fetch(&self, kernel: &LockedKernel) -> Result<Vec<StoredPackage>, ErrorKind> {
        kernel.files.iter().map(|file| self.fetch_file(kernel, file)).collect()
    }

    fn fetch_file(
        &self,
        kernel: &LockedKernel,
        file: &LockedFile,
    ) -> Result<StoredPackage, ErrorKind> {
        let name = file_name(file);
        let stored = |object| StoredPackage { file: name.to_owned(), object };
        if let Some(object) = self.store.object(file.sha256, file.size) {
            return Ok(stored(object));
        }
        let wait = || self.observer.observe(&kernel.id, Event::Wait { file: name });
        let _turn = self.store.take_turn_announced(&file.sha256.to_string(), wait)?;
        // Another process may have fetched it while this one waited for its turn.
        if let Some(object) = self.store.object(file.sha256, file.size) {
            return Ok(stored(object));
        }
        self.download(kernel, file, name).map(stored)
    }

    fn download(
        &self,
        kernel: &LockedKernel,
        file: &LockedFile,
        name: &str,
    ) -> Result<Object, ErrorKind> {
        let observe = |event: Event<'_>| self.observer.observe(&kernel.id, event);
        let mut attempts = Vec::new();
        let mut partial = self.store.partial(file.sha256, file.size)?;
        for mirror in self.mirrors.of(self.matrix, &file.repository, &kernel.snapshot) {
            let url = mirror.file(&file.path);
            observe(Event::Download { file: name, done: partial.len(), size: file.size });
            let mut progress = |done| observe(Event::Progress { done });
            match self.client.complete(&url, &mut partial, &mut progress) {
                Ok(()) => break,
                Err(TransferError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    observe(Event::AddressFailed { url: &url, error: &error });
                    attempts.push(Attempt { url, error });
                }
            }
        }
        match partial.commit(self.store)? {
            Some(object) => {
                observe(Event::Downloaded);
                Ok(object)
            }
            None => Err(undelivered(&kernel.id, name, attempts)),
        }
    }
}

/// Whether all packages of a kernel are in the store.
pub(crate) fn is_stored(store: &Store, kernel: &LockedKernel) -> bool {
    kernel.files.iter().all(|file| store.object(file.sha256, file.size).is_some())
}

fn file_name(file: &LockedFile) -> &str {
    file.path.rsplit('/').next().unwrap_or(&file.path)
}

/// A repository that has the file, but another one, is told apart from one that can't be reached.
fn undelivered(id: &str, file: &str, attempts: Vec<Attempt>) -> ErrorKind {
    let other = |attempt: &Attempt| {
        matches!(attempt.error, TransferError::WrongDigest | TransferError::WrongSize { .. })
    };
    let file = file.to_owned();
    match attempts.iter().any(other) {
        true => ErrorKind::DigestMismatch { id: id.to_owned(), file, attempts },
        false => ErrorKind::Unreachable { file, attempts },
    }
}
