//! Directories derived from objects.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{Store, StoreError, parent, sync_dir, touch};

/// The file that identifies an artifact as a kernel built on this machine.
pub(crate) const BUILT: &str = "build.json";
/// The file that identifies an artifact as a kernel unpacked from packages.
pub(crate) const UNPACKED: &str = "kernel.json";

impl Store {
    /// The artifact of this key. If it does not exist, if `whole` finds that it is damaged, or if a file
    /// of it has another content than it was made with, `build` makes it in an empty directory.
    ///
    /// The key must name everything that the result depends on. Among processes that want the same
    /// artifact, only one builds it, and the others wait.
    pub fn artifact<T, E: From<StoreError>>(
        &self,
        key: &str,
        whole: impl Fn(&Path) -> Option<T>,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(PathBuf, T), E> {
        self.artifact_announced(key, whole, || {}, build)
    }

    /// Like [`Store::artifact`], but calls `wait` before it waits for another process.
    pub(crate) fn artifact_announced<T, E: From<StoreError>>(
        &self,
        key: &str,
        whole: impl Fn(&Path) -> Option<T>,
        wait: impl FnOnce(),
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(PathBuf, T), E> {
        let path = self.artifact_path(key);
        let whole = |path: &Path| match self.damage(key) {
            None => whole(path),
            Some(_) => None,
        };
        if let Some(content) = whole(&path) {
            touch(&path);
            if Store::has_no_list(&path) {
                // An earlier version made it. What happens to it from now on is noticed.
                drop(self.list_content(&path));
            }
            return Ok((path, content));
        }
        let _lock = self.lock_announced(key, wait)?;
        if let Some(content) = whole(&path) {
            return Ok((path, content));
        }
        let scratch = self.root.join("scratch").join(key);
        // Only the holder of the lock uses these directories. Existing content was left by a killed
        // process, or was damaged later.
        remove_dir(&scratch)?;
        remove_dir(&path)?;
        fs::create_dir(&scratch).map_err(|e| StoreError::io("create", &scratch, e))?;
        if let Err(error) = build(&scratch) {
            // The error to report is that of the build. The next holder of the lock cleans up, too.
            drop(remove_dir(&scratch));
            return Err(error);
        }
        self.list_content(&scratch)?;
        sync_tree(&scratch)?;
        fs::rename(&scratch, &path).map_err(|e| StoreError::io("rename", &scratch, e))?;
        sync_dir(parent(&path))?;
        let content = whole(&path).ok_or_else(|| {
            let source = io::Error::other("it is not complete although it was just built");
            StoreError::io("use", &path, source)
        })?;
        Ok((path, content))
    }

    /// The path of the artifact of this key, whether it exists or not.
    pub(crate) fn artifact_path(&self, key: &str) -> PathBuf {
        self.root.join("artifacts").join(key)
    }
}

/// Writes a file of an artifact.
pub(crate) fn write_read_only(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o444)))
        .map_err(|source| StoreError::io("write", path, source))
}

/// Writes what [`read_description`] reads.
pub(crate) fn write_description<T: Serialize>(
    path: &Path,
    description: &T,
) -> Result<(), StoreError> {
    let text = serde_json::to_vec(description);
    write_read_only(path, &text.map_err(|error| StoreError::io("write", path, error.into()))?)
}

/// What an artifact says of itself. The store has checked that its files are whole.
pub(crate) fn read_description<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Writes everything below a directory to the disk, so that it survives a power failure.
fn sync_tree(path: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(path).map_err(|e| StoreError::io("read", path, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| StoreError::io("read", path, e))?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_tree(&path)?;
        } else {
            sync_dir(&path)?;
        }
    }
    sync_dir(path)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    fn file(path: &Path) -> Option<Vec<u8>> {
        fs::read(path.join("file")).ok()
    }

    fn write(scratch: &Path) -> Result<(), StoreError> {
        let path = scratch.join("file");
        fs::write(&path, "content").map_err(|e| StoreError::io("write", &path, e))
    }

    #[test]
    fn many_at_once_build_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let builds = AtomicUsize::new(0);
        let build = |scratch: &Path| {
            builds.fetch_add(1, Ordering::Relaxed);
            write(scratch)
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(store.artifact("key", file, build).unwrap().1, b"content")
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }

    #[test]
    fn what_a_failed_or_killed_build_left_is_never_used() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let outcome = store.artifact("key", file, |scratch| {
            write(scratch)?;
            Err(StoreError::io("write", scratch, io::Error::other("broken")))
        });
        assert!(outcome.is_err());
        assert_eq!(file(&store.artifact_path("key")), None);
        // As if a process had been killed during a build.
        fs::create_dir_all(dir.path().join("scratch/key/left")).unwrap();
        let (path, _) = store.artifact("key", file, write).unwrap();
        assert_eq!(fs::read_dir(path).unwrap().count(), 2, "the file, and the list of files");
    }

    #[test]
    fn what_is_no_longer_whole_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (path, _) = store.artifact("key", file, write).unwrap();
        fs::remove_file(path.join("file")).unwrap();
        assert_eq!(store.artifact("key", file, write).unwrap().1, b"content");
    }

    #[test]
    fn a_build_that_makes_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let error = store.artifact::<_, StoreError>("key", file, |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("cannot use "), "{error}");
    }
}
