//! Files named after their digest.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Store, StoreError, parent, sync_dir, touch};
use crate::digest::{Digest, Hasher};

/// A file of the store whose digest was verified when it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    digest: Digest,
    path: PathBuf,
}

impl Object {
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The path of the file, which is read-only.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// The object of this digest and size, if it exists.
    pub fn object(&self, digest: Digest, size: u64) -> Option<Object> {
        let path = self.object_path(digest);
        let metadata = fs::metadata(&path).ok()?;
        if !metadata.is_file() || metadata.len() != size {
            return None;
        }
        touch(&path);
        Some(Object { digest, path })
    }

    /// Removes an object that turned out to be damaged.
    pub(crate) fn discard(&self, object: &Object) -> Result<(), StoreError> {
        match fs::remove_file(&object.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &object.path, error))
            }
            _ => Ok(()),
        }
    }

    /// Opens the download of this digest where an earlier one stopped. The caller must hold the
    /// lock.
    pub(crate) fn partial(&self, digest: Digest, size: u64) -> Result<Partial, StoreError> {
        let path = self.root.join("partial").join(digest.to_string());
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| StoreError::io("create", &path, e))?;
        let (hasher, length) =
            hash_to_end(&mut file).map_err(|e| StoreError::io("read", &path, e))?;
        let mut partial = Partial { path, file, hasher, length, digest, size };
        if length > size {
            partial.restart()?;
        }
        Ok(partial)
    }

    fn object_path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("objects").join(&name[..2]).join(name)
    }
}

fn hash_to_end(file: &mut File) -> io::Result<(Hasher, u64)> {
    let mut hasher = Hasher::default();
    let mut length = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher, length)),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

/// A download in progress. Nothing in it is trusted before [`Partial::commit`].
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    length: u64,
    digest: Digest,
    size: u64,
}

impl Partial {
    /// How many bytes have been received.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// The expected number of bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether all bytes have been received. They may still be wrong.
    pub(crate) fn is_complete(&self) -> bool {
        self.length == self.size
    }

    /// Whether all bytes have been received and have the expected digest.
    pub(crate) fn is_good(&self) -> bool {
        self.is_complete() && self.hasher.finish() == self.digest
    }

    /// Discards all received bytes.
    pub(crate) fn restart(&mut self) -> Result<(), StoreError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|e| StoreError::io("truncate", &self.path, e))?;
        self.hasher = Hasher::default();
        self.length = 0;
        Ok(())
    }

    /// Appends bytes. The caller passes no more than the expected size.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|e| StoreError::io("write", &self.path, e))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Turns a download with the right digest into an object. Returns `None` if the digest is
    /// wrong.
    pub(crate) fn commit(self, store: &Store) -> Result<Option<Object>, StoreError> {
        if !self.is_good() {
            return Ok(None);
        }
        let path = store.object_path(self.digest);
        let dir = parent(&path);
        fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
        self.file
            .set_permissions(Permissions::from_mode(0o444))
            .and_then(|()| self.file.sync_all())
            .map_err(|e| StoreError::io("sync", &self.path, e))?;
        fs::rename(&self.path, &path).map_err(|e| StoreError::io("rename", &self.path, e))?;
        sync_dir(dir)?;
        Ok(Some(Object { digest: self.digest, path }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn a_good_download_becomes_a_read_only_object() {
        let (_dir, store) = store();
        let digest = Digest::of(b"kernel");
        assert_eq!(store.object(digest, 6), None);
        let mut partial = store.partial(digest, 6).unwrap();
        partial.append(b"ker").unwrap();
        assert!(!partial.is_complete());
        partial.append(b"nel").unwrap();
        let object = partial.commit(&store).unwrap().unwrap();
        assert_eq!(store.object(digest, 6).as_ref(), Some(&object));
        assert_eq!(fs::read(object.path()).unwrap(), b"kernel");
        assert!(fs::metadata(object.path()).unwrap().permissions().readonly());
        assert_eq!(store.object(digest, 7), None, "an object of a different size does not match");
        store.discard(&object).unwrap();
        store.discard(&object).unwrap();
        assert_eq!(store.object(digest, 6), None);
    }

    #[test]
    fn an_object_that_is_used_stays_young() {
        let (_dir, store) = store();
        let digest = Digest::of(b"kernel");
        let mut partial = store.partial(digest, 6).unwrap();
        partial.append(b"kernel").unwrap();
        let object = partial.commit(&store).unwrap().unwrap();
        let modified = || fs::metadata(object.path()).unwrap().modified().unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        File::open(object.path()).unwrap().set_modified(old).unwrap();
        store.object(digest, 6).unwrap();
        assert!(modified() > old);
        let noted = modified();
        store.object(digest, 6).unwrap();
        assert_eq!(modified(), noted, "recorded once an hour");
    }

    #[test]
    fn what_a_killed_process_left_is_resumed_and_checked_whole() {
        let (_dir, store) = store();
        let digest = Digest::of(b"kernel");
        store.partial(digest, 6).unwrap().append(b"ker").unwrap();
        let mut partial = store.partial(digest, 6).unwrap();
        assert_eq!(partial.len(), 3);
        partial.append(b"nel").unwrap();
        assert!(partial.commit(&store).unwrap().is_some());
    }

    #[test]
    fn wrong_bytes_never_become_an_object() {
        let (_dir, store) = store();
        let digest = Digest::of(b"kernel");
        store.partial(digest, 6).unwrap().append(b"KER").unwrap();
        let mut partial = store.partial(digest, 6).unwrap();
        partial.append(b"nel").unwrap();
        assert!(partial.is_complete());
        assert_eq!(partial.commit(&store).unwrap(), None);
        assert_eq!(store.object(digest, 6), None);
        store.partial(digest, 6).unwrap().append(b"and far too much").unwrap();
        assert_eq!(store.partial(digest, 6).unwrap().len(), 0);
    }
}
