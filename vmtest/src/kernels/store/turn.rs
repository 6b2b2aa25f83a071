//! One process at a time.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{Store, StoreError};

/// A download on a slow line, or an unpacking on a loaded machine, takes minutes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// The right to work on one thing; given up when dropped, and by the kernel when a process dies.
#[derive(Debug)]
#[must_use = "dropping the turn lets other processes in"]
pub(crate) struct Turn {
    _lock: File,
}

impl Store {
    /// Waits until no other process works on what is named so.
    pub(crate) fn take_turn(&self, name: &str) -> Result<Turn, StoreError> {
        self.take_turn_within(name, PATIENCE, || {})
    }

    /// The same; `wait` is called if there is another process to wait for.
    pub(crate) fn take_turn_announced(
        &self,
        name: &str,
        wait: impl FnOnce(),
    ) -> Result<Turn, StoreError> {
        self.take_turn_within(name, PATIENCE, wait)
    }

    fn take_turn_within(
        &self,
        name: &str,
        patience: Duration,
        wait: impl FnOnce(),
    ) -> Result<Turn, StoreError> {
        let path = self.root.join("locks").join(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StoreError::io("create", &path, e))?;
        match lock_within(file, patience, wait) {
            Ok(Some(lock)) => Ok(Turn { _lock: lock }),
            Ok(None) => Err(busy(&path, patience)),
            Err(source) => Err(StoreError::io("lock", &path, source)),
        }
    }
}

fn busy(path: &Path, patience: Duration) -> StoreError {
    StoreError::Busy { path: PathBuf::from(path), minutes: patience.as_secs() / 60 }
}

/// Locks a file, or gives up. flock(2) has no deadline, so a thread waits in it; one that is given
/// up on ends when it gets the lock, and closes the file with it.
pub(crate) fn lock_within(
    file: File,
    patience: Duration,
    wait: impl FnOnce(),
) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => {}
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    wait();
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("lock".to_owned()).spawn(move || {
        // The receiver is gone when patience ran out: dropping the result unlocks the file.
        drop(sender.send(file.lock().map(|()| file)));
    })?;
    match receiver.recv_timeout(patience) {
        Ok(result) => result.map(Some),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_waited_for_and_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let first = store.take_turn("thing").unwrap();
        let _other = store.take_turn("other thing").unwrap();
        let mut waited = false;
        let error = store
            .take_turn_within("thing", Duration::from_millis(10), || waited = true)
            .unwrap_err();
        assert!(waited);
        assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
        let waiting = thread::spawn({
            let store = store.clone();
            move || store.take_turn("thing")
        });
        drop(first);
        drop(waiting.join().unwrap().unwrap());
    }
}
