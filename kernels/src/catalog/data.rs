//! The matrix, its locks, and what is needed to fetch from them.

use std::path::{Path, PathBuf};

use super::{
    built_in::BuiltIn,
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
    /// The matrix that the directory's own matrix adds to, if any.
    pub(crate) built_in: Option<BuiltIn>,
    pub(crate) matrix: Matrix,
    pub(crate) locks: Locks,
    pub(crate) mirrors: Mirrors,
    pub(crate) store: Store,
    pub(crate) client: Client,
}

/// The locks of a matrix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    /// The lock of the built-in matrix, if that is used. It never changes.
    pub(crate) built_in: Lock,
    pub(crate) shared: Lock,
    pub(crate) local: Lock,
}

impl Catalog {
    /// Reads the matrix and its locks. `machine` is the root directory of this machine's
    /// configuration: `/`, except in tests.
    pub(crate) fn read(
        dir: &Path,
        built_in: Option<BuiltIn>,
        store: Store,
        machine: &Path,
        client: Client,
    ) -> Result<Self, DocumentError> {
        let (path, overlay) = (dir.join(MATRIX_FILE), dir.join(OVERLAY_FILE));
        let mut matrix = manifest::read_matrix(built_in.as_ref(), &path, &overlay)?;
        let locks = Locks {
            built_in: match &built_in {
                Some(built_in) => Lock::parse(&built_in.lock)?,
                None => Lock::default(),
            },
            shared: Lock::read(&dir.join(LOCK_FILE))?,
            local: Lock::read(&dir.join(LOCAL_LOCK_FILE))?,
        };
        for entry in &mut matrix.entries {
            if entry.release.is_none() {
                let locked = locks.get(entry).filter(|locked| locked.is_of(entry));
                entry.release = locked.and_then(LockedKernel::series);
            }
        }
        let mirrors = Mirrors::of_machine(&matrix, machine);
        Ok(Catalog { dir: dir.to_owned(), built_in, matrix, locks, mirrors, store, client })
    }

    /// The lock entry, if it was resolved from the entry's current source.
    pub(crate) fn locked(&self, entry: &Entry) -> Option<&LockedKernel> {
        self.locks.get(entry).filter(|locked| locked.is_of(entry))
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

impl Locks {
    /// The lock entry of this entry, whatever source it was resolved from. What a project locked of
    /// a built-in entry outranks the built-in lock.
    pub(crate) fn get(&self, entry: &Entry) -> Option<&LockedKernel> {
        let id = &entry.id;
        match entry.origin {
            Origin::BuiltIn => {
                let own = self.shared.get(id).filter(|locked| locked.is_of(entry));
                own.or_else(|| self.built_in.get(id))
            }
            Origin::Shared => self.shared.get(id),
            Origin::Local | Origin::AdHoc => self.local.get(id),
        }
    }

    /// The lock of the directory that entries of this origin are added to.
    pub(crate) fn of_mut(&mut self, origin: Origin) -> &mut Lock {
        match origin {
            Origin::BuiltIn | Origin::Shared => &mut self.shared,
            Origin::Local | Origin::AdHoc => &mut self.local,
        }
    }

    /// All lock entries.
    pub(crate) fn kernels(&self) -> impl Iterator<Item = &LockedKernel> {
        [&self.built_in, &self.shared, &self.local].into_iter().flat_map(Lock::kernels)
    }
}
