//! The matrix, its locks, and what is needed to fetch from them.

use std::path::{Path, PathBuf};

use super::{
    lock::{Lock, LockedKernel},
    lock_file::{LOCAL_LOCK_FILE, LOCK_FILE},
    manifest::{self, OVERLAY_FILE},
    matrix::{Entry, Matrix, Origin},
};
use crate::{
    document::DocumentError,
    paths::MATRIX_FILE,
    progress::Observer,
    repository::{download::Client, fetch::Fetcher, mirror::Mirrors},
    store::Store,
};

/// The matrix of a directory, its locks, the mirrors of its repositories, and the store.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    /// The directory of the matrix and its locks.
    pub(crate) dir: PathBuf,
    pub(crate) matrix: Matrix,
    pub(crate) lock: Lock,
    pub(crate) local_lock: Lock,
    pub(crate) mirrors: Mirrors,
    pub(crate) store: Store,
    pub(crate) client: Client,
}

impl Catalog {
    /// Reads the matrix and its locks. `machine` is the root directory of this machine's
    /// configuration: `/`, except in tests.
    pub(crate) fn read(
        dir: &Path,
        store: Store,
        machine: &Path,
        client: Client,
    ) -> Result<Self, DocumentError> {
        let mut matrix = manifest::read_matrix(&dir.join(MATRIX_FILE), &dir.join(OVERLAY_FILE))?;
        let lock = Lock::read(&dir.join(LOCK_FILE))?;
        let local_lock = Lock::read(&dir.join(LOCAL_LOCK_FILE))?;
        for entry in &mut matrix.entries {
            if entry.release.is_none() {
                let locked = locked_in(&lock, &local_lock, entry);
                entry.release = locked.and_then(LockedKernel::series);
            }
        }
        let mirrors = Mirrors::of_machine(&matrix, machine);
        Ok(Catalog { dir: dir.to_owned(), matrix, lock, local_lock, mirrors, store, client })
    }

    /// The lock that an entry belongs to.
    pub(crate) fn lock_of(&self, entry: &Entry) -> &Lock {
        lock_of(&self.lock, &self.local_lock, entry)
    }

    /// The lock entry, if it was resolved from the entry's current source.
    pub(crate) fn locked(&self, entry: &Entry) -> Option<&LockedKernel> {
        locked_in(&self.lock, &self.local_lock, entry)
    }

    pub(crate) fn fetcher<'a>(&'a self, observer: &'a dyn Observer) -> Fetcher<'a> {
        Fetcher {
            client: &self.client,
            matrix: &self.matrix,
            mirrors: &self.mirrors,
            store: &self.store,
            observer,
        }
    }
}

fn lock_of<'a>(shared: &'a Lock, local: &'a Lock, entry: &Entry) -> &'a Lock {
    match entry.origin {
        Origin::Shared => shared,
        Origin::Local | Origin::AdHoc => local,
    }
}

fn locked_in<'a>(shared: &'a Lock, local: &'a Lock, entry: &Entry) -> Option<&'a LockedKernel> {
    lock_of(shared, local, entry).get(&entry.id).filter(|locked| locked.is_of(entry))
}
