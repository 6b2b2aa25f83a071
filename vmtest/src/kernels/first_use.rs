//! Entries that the lock lacks: each is resolved when it is first needed, and added to the lock.
//!
//! What is locked never moves this way; only `kernels update` does that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    error::{ErrorKind, LockRefusal},
    lock::LockedKernel,
    lock_file::LockFile,
    matrix::Entry,
    observer::{Event, Observer},
    phases::Kernels,
    update::{Repositories, UpdateError},
};

/// Forbids adding to the lock, when it is set to anything but an empty text or `0`.
pub const LOCKED_VARIABLE: &str = "KERNLAB_LOCKED";

/// What this process resolved so far.
#[derive(Default)]
pub(super) struct FirstUse(Mutex<Resolved>);

#[derive(Default)]
struct Resolved {
    repositories: Repositories,
    kernels: HashMap<String, Result<LockedKernel, Arc<UpdateError>>>,
}

impl std::fmt::Debug for FirstUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstUse")
    }
}

impl FirstUse {
    /// What this process resolved an entry to.
    pub(super) fn get(&self, entry: &Entry) -> Option<LockedKernel> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kernel = state.kernels.get(&entry.id)?.as_ref().ok()?;
        kernel.is_of(entry).then(|| kernel.clone())
    }

    /// Resolves an entry that the lock lacks, unless this process or another one has done so.
    pub(super) fn resolve(
        &self,
        kernels: &Kernels,
        entry: &Entry,
        observer: &dyn Observer,
    ) -> Result<LockedKernel, ErrorKind> {
        let observe = |event: Event<'_>| observer.observe(&entry.id, event);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = state.kernels.get(&entry.id) {
            return known.clone().map_err(ErrorKind::Unresolved);
        }
        let refusal = match (kernels.locked_only, kernels.client.is_offline()) {
            (true, _) => Some(LockRefusal::LockedOnly),
            (false, true) => Some(LockRefusal::Offline),
            (false, false) => None,
        };
        if let Some(refusal) = refusal {
            return Err(ErrorKind::NotLocked { id: entry.id.clone(), refusal });
        }
        let wait = || observe(Event::WaitForLock);
        let file = LockFile::open(&kernels.directory, &kernels.store, entry.origin, wait)?;
        let lock = file.read()?;
        match lock.get(&entry.id) {
            Some(kernel) if kernel.is_of(entry) => {
                state.kernels.insert(entry.id.clone(), Ok(kernel.clone()));
                return Ok(kernel.clone());
            }
            // Another process has read a matrix that says something else of this entry.
            Some(stale) => return Err(ErrorKind::stale_lock(entry, stale)),
            None => {}
        }
        observe(Event::Resolve { source: &entry.source });
        let resolved = state.repositories.resolve(kernels, entry, None, observer);
        let resolved = resolved.map(|resolution| resolution.kernel);
        state.kernels.insert(entry.id.clone(), resolved.clone());
        let kernel = resolved.map_err(ErrorKind::Unresolved)?;
        let added = file.change(&kernels.matrix, |lock| lock.insert(kernel.clone()));
        observe(match &added {
            Ok(()) => Event::Locked { kernel: &kernel, file: file.path() },
            Err(error) => Event::NotLocked { kernel: &kernel, error },
        });
        Ok(kernel)
    }
}
