//! The lock files of a checkout, which processes change one at a time.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::{
    digest::Digest,
    document::DocumentError,
    lock::Lock,
    matrix::{Entry, Matrix, Origin},
    phases::{LOCAL_LOCK_FILE, LOCK_FILE},
    store::{Store, StoreError, Turn},
};

/// A lock file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It is malformed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The file system refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A lock file that no other process of this machine changes as long as this value lives.
pub(super) struct LockFile {
    path: PathBuf,
    _turn: Turn,
}

impl LockFile {
    /// Waits until no other process changes the lock of these entries; calls `wait` if it has to.
    pub(super) fn open(
        directory: &Path,
        store: &Store,
        origin: Origin,
        wait: impl FnOnce(),
    ) -> Result<Self, StoreError> {
        let path = directory.join(match origin {
            Origin::Shared => LOCK_FILE,
            Origin::Local | Origin::AdHoc => LOCAL_LOCK_FILE,
        });
        let name = Digest::of(path.as_os_str().as_encoded_bytes());
        let turn = store.take_turn_announced(&format!("lock-file-{name}"), wait)?;
        Ok(LockFile { path, _turn: turn })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn read(&self) -> Result<Lock, DocumentError> {
        Lock::read(&self.path)
    }

    /// Changes what the file says now, which may be more than this process once read.
    pub(super) fn change(
        &self,
        matrix: &Matrix,
        change: impl FnOnce(&mut Lock),
    ) -> Result<(), LockFileError> {
        let mut lock = self.read()?;
        change(&mut lock);
        let order = matrix.entries.iter().map(|entry: &Entry| entry.id.as_str());
        Ok(replace(&self.path, &lock.render(order))?)
    }
}

/// Writes a file so that a reader sees the old text or the new one, whole.
fn replace(path: &Path, text: &str) -> Result<(), StoreError> {
    let scratch = PathBuf::from(format!("{}.new", path.display()));
    let write = || {
        let mut file = fs::File::create(&scratch)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&scratch, path)
    };
    write().map_err(|source| StoreError::io("write", path, source))
}
