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
        // The same file by another path, such as that of a symbolic link, is the same file.
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
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
    write().map_err(|source| {
        // It stays only if the file system refuses that as well.
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
        let open =
            |path: &Path, wait: &dyn Fn()| LockFile::open(path, &store, Origin::Shared, wait);
        let file = open(&checkout, &|| unreachable!("nobody else has it")).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let wait = || sender.send(()).unwrap();
            let other = scope.spawn(move || open(&link, &wait).map(drop));
            receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
            drop(file);
            other.join().unwrap().unwrap();
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
