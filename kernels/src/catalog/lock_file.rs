//! The lock files of a checkout. Only one process at a time changes them.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    catalog::{
        lock::Lock,
        matrix::{Entry, Matrix, Origin},
    },
    digest::Digest,
    document::DocumentError,
    store::{Store, StoreError, StoreLock},
};

pub(crate) const LOCK_FILE: &str = "kernels.lock";
pub(crate) const LOCAL_LOCK_FILE: &str = "kernels.local.lock";

/// A lock file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// The lock is malformed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The file system reports an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A lock file of a checkout.
pub(crate) struct LockFile {
    path: PathBuf,
}

/// A lock file that no other process of this machine changes while this value lives.
pub(crate) struct OpenLockFile<'a> {
    file: &'a LockFile,
    _lock: StoreLock,
}

impl LockFile {
    /// The lock file for entries of this origin.
    pub(crate) fn of(dir: &Path, origin: Origin) -> Self {
        // A symbolic link to the checkout must lead to the same lock file.
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let name = match origin {
            // The built-in lock can't grow.
            Origin::BuiltIn | Origin::Shared => LOCK_FILE,
            Origin::Local | Origin::AdHoc => LOCAL_LOCK_FILE,
        };
        LockFile { path: dir.join(name) }
    }

    /// Waits until no other process is changing the file. Calls `wait` before it blocks.
    pub(crate) fn open(
        &self,
        store: &Store,
        wait: impl FnOnce(),
    ) -> Result<OpenLockFile<'_>, StoreError> {
        let lock = store.lock_announced(&format!("lock-file-{}", self.digest()), wait)?;
        Ok(OpenLockFile { file: self, _lock: lock })
    }

    /// Waits until no other process is adding this entry. Calls `wait` before it blocks.
    pub(crate) fn take_entry(
        &self,
        store: &Store,
        id: &str,
        wait: impl FnOnce(),
    ) -> Result<StoreLock, StoreError> {
        store.lock_announced(&format!("lock-entry-{}-{id}", self.digest()), wait)
    }

    fn digest(&self) -> Digest {
        Digest::of(self.path.as_os_str().as_encoded_bytes())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self) -> Result<Lock, DocumentError> {
        Lock::read(&self.path)
    }
}

impl OpenLockFile<'_> {
    /// Changes the file's current content, which may have grown since this process first read it.
    pub(crate) fn change(
        &self,
        matrix: &Matrix,
        change: impl FnOnce(&mut Lock),
    ) -> Result<(), LockFileError> {
        let mut lock = self.file.read()?;
        let before = lock.clone();
        change(&mut lock);
        if lock == before {
            return Ok(());
        }
        let order = matrix.entries.iter().map(|entry: &Entry| entry.id.as_str());
        Ok(replace(&self.file.path, &lock.render(order))?)
    }
}

/// Replaces a file atomically: a reader sees either all of the old text or all of the new.
fn replace(path: &Path, text: &str) -> Result<(), StoreError> {
    let scratch = PathBuf::from(format!("{}.new", path.display()));
    let write = || {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = fs::File::create(&scratch)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&scratch, path)
    };
    write().map_err(|source| {
        // The scratch file stays only if the file system refuses to delete it too.
        let _ = fs::remove_file(&scratch);
        StoreError::io("write", path, source)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_checkout_has_one_lock_whatever_its_path() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("store")).unwrap();
        let (checkout, link) = (root.path().join("checkout"), root.path().join("link"));
        fs::create_dir(&checkout).unwrap();
        symlink(&checkout, &link).unwrap();
        let [file, other] = [&checkout, &link].map(|path| LockFile::of(path, Origin::Shared));
        let file = file.open(&store, || unreachable!("no other process has the lock")).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (other, store) = (&other, &store);
            let waiting =
                scope.spawn(move || other.open(store, || sender.send(()).unwrap()).map(drop));
            receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
            drop(file);
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_file_that_can_t_be_replaced_leaves_no_other() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("kernels.lock");
        fs::create_dir_all(path.join("in the way")).unwrap();
        replace(&path, "text").unwrap_err();
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [path]);
    }
}
