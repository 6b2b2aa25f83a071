//! Directories derived from objects.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Store, StoreError, parent, sync_directory};

impl Store {
    /// The finished artifact of this key, if there is one.
    pub(crate) fn artifact(&self, key: &str) -> Option<PathBuf> {
        Some(self.artifact_path(key)).filter(|path| path.is_dir())
    }

    /// The artifact of this key; made by `build`, in an empty directory, if it isn't there.
    ///
    /// The key must name everything that the result depends on. Processes that want the same
    /// artifact take turns, so that only one builds it.
    pub(crate) fn artifact_or_build<E: From<StoreError>>(
        &self,
        key: &str,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        if let Some(path) = self.artifact(key) {
            return Ok(path);
        }
        let _turn = self.take_turn(key)?;
        if let Some(path) = self.artifact(key) {
            return Ok(path);
        }
        let scratch = self.root.join("scratch").join(key);
        // Only the holder of the turn uses this directory: what is there was left by a killed one.
        remove_directory(&scratch)?;
        fs::create_dir(&scratch).map_err(|e| StoreError::io("create", &scratch, e))?;
        if let Err(error) = build(&scratch) {
            // The error of the build is the one to tell; the next turn cleans up as well.
            drop(remove_directory(&scratch));
            return Err(error);
        }
        sync_tree(&scratch)?;
        let path = self.artifact_path(key);
        fs::rename(&scratch, &path).map_err(|e| StoreError::io("rename", &scratch, e))?;
        sync_directory(parent(&path))?;
        Ok(path)
    }

    /// Drops an artifact that turned out to be damaged.
    pub(crate) fn discard_artifact(&self, key: &str) -> Result<(), StoreError> {
        remove_directory(&self.artifact_path(key))
    }

    fn artifact_path(&self, key: &str) -> PathBuf {
        self.root.join("artifacts").join(key)
    }
}

fn remove_directory(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes everything below a directory survive a power cut.
fn sync_tree(path: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(path).map_err(|e| StoreError::io("read", path, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| StoreError::io("read", path, e))?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_tree(&path)?;
        } else {
            sync_directory(&path)?;
        }
    }
    sync_directory(path)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn many_at_once_build_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let builds = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let path = store.artifact_or_build("key", |scratch| {
                        builds.fetch_add(1, Ordering::Relaxed);
                        fs::write(scratch.join("file"), "content")
                            .map_err(|e| StoreError::io("write", scratch, e))
                    });
                    assert_eq!(fs::read(path.unwrap().join("file")).unwrap(), b"content");
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }

    #[test]
    fn what_a_failed_or_killed_build_left_is_never_used() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let error = store.artifact_or_build("key", |scratch| {
            fs::write(scratch.join("half"), "").unwrap();
            Err(StoreError::io("write", scratch, io::Error::other("broken")))
        });
        assert!(error.is_err());
        assert_eq!(store.artifact("key"), None);
        // As if a process had been killed while it built.
        fs::create_dir_all(directory.path().join("scratch/key/left")).unwrap();
        let path = store.artifact_or_build::<StoreError>("key", |scratch| {
            assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);
            Ok(())
        });
        assert!(path.unwrap().is_dir());
        store.discard_artifact("key").unwrap();
        assert_eq!(store.artifact("key"), None);
    }
}
