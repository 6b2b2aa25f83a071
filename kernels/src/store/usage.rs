//! Use of a store: by any number of processes, or exclusively by one that removes items.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::StoreError;

/// Removing items takes seconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The right to use a store. Dropping it releases it, and so does the kernel when the process dies.
#[derive(Debug)]
pub(super) struct Usage {
    _lock: File,
}

impl Usage {
    /// Use together with other processes. Waits for one that removes items.
    pub(super) fn shared(root: &Path) -> Result<Self, StoreError> {
        Usage::shared_within(root, LOCK_TIMEOUT)
    }

    fn shared_within(root: &Path, timeout: Duration) -> Result<Self, StoreError> {
        let (path, file) = open(root)?;
        match file.try_lock_shared() {
            Ok(()) => return Ok(Usage { _lock: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path, error)),
        }
        let (sender, receiver) = mpsc::channel();
        let wait = move || {
            // The receiver is gone after a timeout. Dropping the result unlocks the file.
            drop(sender.send(file.lock_shared().map(|()| file)));
        };
        thread::Builder::new()
            .name("lock".to_owned())
            .spawn(wait)
            .map_err(|error| StoreError::io("lock", &path, error))?;
        match receiver.recv_timeout(timeout) {
            Ok(Ok(file)) => Ok(Usage { _lock: file }),
            Ok(Err(error)) => Err(StoreError::io("lock", &path, error)),
            Err(_) => Err(StoreError::Busy { path, minutes: timeout.as_secs() / 60 }),
        }
    }

    /// Exclusive use, if no other process uses the store.
    pub(super) fn alone(root: &Path) -> Result<Self, StoreError> {
        let (path, file) = open(root)?;
        match file.try_lock() {
            Ok(()) => Ok(Usage { _lock: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: root.to_owned() }),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path, error)),
        }
    }
}

fn open(root: &Path) -> Result<(PathBuf, File), StoreError> {
    let path = root.join("in-use");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    file.map_err(|error| StoreError::io("create", &path, error)).map(|file| (path, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_use_a_store_and_one_tidies_it_up() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let users = [Usage::shared(root).unwrap(), Usage::shared(root).unwrap()];
        let error = Usage::alone(root).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
        drop(users);
        let alone = Usage::alone(root).unwrap();
        let error = Usage::shared_within(root, Duration::from_millis(10)).unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
        let waiting = thread::spawn({
            let root = root.to_owned();
            move || Usage::shared(&root)
        });
        drop(alone);
        drop(waiting.join().unwrap().unwrap());
    }
}
