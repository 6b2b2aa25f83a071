//! Locks that let one process at a time work on something.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{Store, StoreError};
use crate::interruption;

/// A download on a slow line, or unpacking on a busy machine, takes minutes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A lock on one name. Dropping it releases it, and so does the kernel when the process dies.
#[derive(Debug)]
#[must_use = "dropping the lock lets other processes in"]
pub struct StoreLock {
    _lock: File,
}

impl Store {
    /// Waits until no other process holds the lock of this name.
    pub fn lock(&self, name: &str) -> Result<StoreLock, StoreError> {
        self.lock_within_timeout(name, LOCK_TIMEOUT, || {})
    }

    /// Like [`Store::lock`], but calls `wait` before it waits for another process.
    pub(crate) fn lock_announced(
        &self,
        name: &str,
        wait: impl FnOnce(),
    ) -> Result<StoreLock, StoreError> {
        self.lock_within_timeout(name, LOCK_TIMEOUT, wait)
    }

    fn lock_within_timeout(
        &self,
        name: &str,
        timeout: Duration,
        wait: impl FnOnce(),
    ) -> Result<StoreLock, StoreError> {
        let path = self.root.join("locks").join(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StoreError::io("create", &path, e))?;
        match lock_within(file, timeout, wait) {
            Ok(Some(lock)) => Ok(StoreLock { _lock: lock }),
            Ok(None) => Err(busy(&path, timeout)),
            Err(source) => Err(StoreError::io("lock", &path, source)),
        }
    }
}

fn busy(path: &Path, timeout: Duration) -> StoreError {
    StoreError::Busy { path: PathBuf::from(path), minutes: timeout.as_secs() / 60 }
}

/// Locks a file, or gives up after a timeout. flock(2) has no timeout, so a thread waits in it.
/// After a timeout, that thread ends when it gets the lock, and closes the file with it.
pub fn lock_within(file: File, timeout: Duration, wait: impl FnOnce()) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => {}
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    wait();
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("lock".to_owned()).spawn(move || {
        // The receiver is gone after a timeout. Dropping the result unlocks the file.
        drop(sender.send(file.lock().map(|()| file)));
    })?;
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(LOOK)) {
            Ok(result) => return result.map(Some),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => return Ok(None),
        }
        if let Some(signal) = interruption::pending() {
            return Err(io::Error::other(format!("interrupted by {signal}")));
        }
    }
}

/// How often a process that waits for a lock looks whether a signal has come.
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_waited_for_and_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let first = store.lock("thing").unwrap();
        let _other = store.lock("other thing").unwrap();
        let mut waited = false;
        let error = store
            .lock_within_timeout("thing", Duration::from_millis(10), || waited = true)
            .unwrap_err();
        assert!(waited);
        assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
        let waiting = thread::spawn({
            let store = store.clone();
            move || store.lock("thing")
        });
        drop(first);
        drop(waiting.join().unwrap().unwrap());
    }
}
