//! Resolves entries that are missing from the lock when they are first needed, and adds them to it.
//!
//! Existing lock entries never change here; only `kernels update` changes them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    catalog::{
        data::Catalog,
        error::{ErrorKind, LockRefusal},
        lock::{Lock, LockedKernel},
        lock_file::{LockFile, LockFileError},
        matrix::{BuildSource, Entry, Source, TreeSource},
    },
    progress::{Event, Observer},
    repository::update::{Repositories, UpdateError},
};

/// Forbids adding to the lock, unless it is empty, `0`, `no`, `false` or `off`.
pub const LOCKED_VARIABLE: &str = "KERNLAB_LOCKED";

/// What this process has resolved so far.
#[derive(Default)]
pub(crate) struct FirstUse {
    kernels: Mutex<HashMap<String, Result<LockedKernel, Arc<UpdateError>>>>,
    /// By repository name, so that a repository that does not answer delays only its own entries.
    repositories: Mutex<HashMap<String, Arc<Mutex<Repositories>>>>,
}

impl std::fmt::Debug for FirstUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstUse")
    }
}

impl FirstUse {
    /// What this process resolved the entry to.
    pub(crate) fn get(&self, entry: &Entry) -> Option<LockedKernel> {
        self.known(entry)?.ok().filter(|kernel| kernel.is_of(entry))
    }

    /// Resolves an entry that the lock lacks, unless this process or another one has already
    /// resolved it. While this waits for one repository, entries of other repositories can be
    /// resolved and locked.
    pub(crate) fn resolve(
        &self,
        catalog: &Catalog,
        locked_only: bool,
        entry: &Entry,
        observer: &dyn Observer,
    ) -> Result<LockedKernel, ErrorKind> {
        let observe = |event: Event<'_>| observer.observe(&entry.id, event);
        if let Some(known) = self.known(entry) {
            return known.map_err(ErrorKind::Unresolved);
        }
        let refusal = match (locked_only, catalog.client.is_offline()) {
            (true, _) => Some(LockRefusal::LockedOnly),
            (false, true) => Some(LockRefusal::Offline),
            (false, false) => None,
        };
        if let Some(refusal) = refusal {
            return Err(ErrorKind::NotLocked { id: entry.id.clone(), refusal });
        }
        let place = LockFile::of(&catalog.dir, entry.origin);
        let wait = || observe(Event::WaitForLock);
        let _lock = place.take_entry(&catalog.store, &entry.id, wait)?;
        // Another thread or process may have resolved it in the meantime.
        if let Some(known) = self.known(entry) {
            return known.map_err(ErrorKind::Unresolved);
        }
        if let Some(kernel) = locked_since(&place.read()?, entry)? {
            self.keep(entry, Ok(kernel.clone()));
            return Ok(kernel);
        }
        observe(Event::Resolve { source: &entry.source });
        let repository = self.repository(entry);
        let resolved = repository
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .resolve(catalog, entry, None, observer);
        let resolved = resolved.map(|resolution| resolution.kernel);
        if let Err(error) = &resolved {
            self.keep(entry, Err(Arc::clone(error)));
        }
        let mut kernel = resolved.map_err(ErrorKind::Unresolved)?;
        let mut moved = Ok(None);
        let added = place.open(&catalog.store, || {}).map_err(LockFileError::from);
        let added = added.and_then(|file| {
            file.change(&catalog.matrix, |lock| {
                moved = locked_since(lock, entry);
                if let Ok(None) = &moved {
                    lock.insert(kernel.clone());
                }
            })
        });
        match moved? {
            // `kernels update` locked the entry first.
            Some(locked) => kernel = locked,
            None => observe(match &added {
                Ok(()) => Event::Locked { kernel: &kernel, file: place.path() },
                Err(error) => Event::NotLocked { kernel: &kernel, error },
            }),
        }
        self.keep(entry, Ok(kernel.clone()));
        Ok(kernel)
    }

    fn known(&self, entry: &Entry) -> Option<Result<LockedKernel, Arc<UpdateError>>> {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner).get(&entry.id).cloned()
    }

    fn keep(&self, entry: &Entry, resolved: Result<LockedKernel, Arc<UpdateError>>) {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        kernels.insert(entry.id.clone(), resolved);
    }

    /// The cached state of the entry's repository.
    fn repository(&self, entry: &Entry) -> Arc<Mutex<Repositories>> {
        let name = match &entry.source {
            Source::Deb(source)
            | Source::Build(BuildSource { tree: TreeSource::Deb(source), .. }) => {
                &source.repository
            }
            Source::Rpm(source) => &source.repository,
            Source::Url(source)
            | Source::Build(BuildSource { tree: TreeSource::Url(source), .. }) => &source.url,
            Source::Build(_) | Source::File(_) | Source::Host => {
                unreachable!("these are not locked")
            }
        };
        let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(repositories.entry(name.clone()).or_default())
    }
}

/// The entry in a freshly read lock, which another process may have added.
fn locked_since(lock: &Lock, entry: &Entry) -> Result<Option<LockedKernel>, ErrorKind> {
    match lock.get(&entry.id) {
        Some(kernel) if kernel.is_of(entry) => Ok(Some(kernel.clone())),
        // Another process has read a matrix with a different source for this entry.
        Some(stale) => Err(ErrorKind::stale_lock(entry, stale)),
        None => Ok(None),
    }
}
