//! Downloaded and derived files, kept so that what is found there can be trusted.
//!
//! - `objects/`: files named after their SHA-256 digest, read-only. One appears by a rename, after
//!   its content was checked and written to the disk.
//! - `partial/`: downloads under way, named after the digest they should get.
//! - `artifacts/`: directories derived from objects, named after all their inputs. One appears by
//!   a rename, whole.
//! - `scratch/`: artifacts in the making.
//! - `locks/`: empty files whose locks make processes take turns.
//! - `in-use`: an empty file that every process which uses the store has locked.
//!
//! A process may be killed at any time: what it leaves in `partial` is resumed and checked whole,
//! what it leaves in `scratch` is never read.

mod artifact;
mod garbage;
mod lock;
mod object;
mod usage;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(crate) use artifact::{BUILT, UNPACKED};
pub(crate) use garbage::Wanted;
pub use garbage::{Item, Kind, Sweep};
pub use lock::{StoreLock, lock_within};
pub use object::Object;
pub(crate) use object::Partial;
use usage::Usage;

const PARTS: [&str; 5] = ["objects", "partial", "artifacts", "scratch", "locks"];

/// How exactly it is known when something was used last.
const USE_RESOLUTION: Duration = Duration::from_secs(60 * 60);

/// The store of one machine, shared by all processes that name the same directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    _usage: Arc<Usage>,
}

/// Keeping a file failed on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error(
        "no space left for {path}: free some, or name a store on another disk with KERNLAB_STORE"
    )]
    Full {
        /// What was being written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process did not give up its turn.
    #[error("another process has been at work on {path} for {minutes} minutes")]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long this process waited.
        minutes: u64,
    },
    /// Other processes use the store.
    #[error("other processes use {path}: run this when they have ended")]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot {action} {path}")]
    Io {
        /// `create`, `write`, ...
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl StoreError {
    /// What the file system said, told apart from a full disk.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { path, source }
            }
            _ => StoreError::Io { action, path, source },
        }
    }
}

impl Store {
    /// Uses a directory, which is created if need be.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Store::with(root.into(), Usage::shared)
    }

    /// The same, if no other process uses it; none will as long as this one does.
    pub fn open_exclusive(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Store::with(root.into(), Usage::alone)
    }

    fn with(
        root: PathBuf,
        usage: impl Fn(&Path) -> Result<Usage, StoreError>,
    ) -> Result<Self, StoreError> {
        for part in PARTS {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(|e| StoreError::io("create", &path, e))?;
        }
        let usage = Arc::new(usage(&root)?);
        Ok(Store { root, _usage: usage })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Notes that something is used now. That it can't be noted does no harm: it goes a little earlier.
fn touch(path: &Path) {
    let now = SystemTime::now();
    let known = fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = known.ok().and_then(|used| now.duration_since(used).ok());
    if age.is_some_and(|age| age > USE_RESOLUTION) {
        drop(File::open(path).and_then(|file| file.set_modified(now)));
    }
}

/// Makes the entries of a directory survive a power cut.
fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| StoreError::io("sync", path, source))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        // /dev/full fails every write with ENOSPC.
        let path = Path::new("/dev/full");
        let mut full = File::options().write(true).open(path).unwrap();
        let error = StoreError::io("write", path, full.write_all(b"x").unwrap_err());
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.to_string().contains("KERNLAB_STORE"), "{error}");
    }

    #[test]
    fn a_store_below_a_file_is_an_error_that_names_the_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Store::open(file.path().join("store")).unwrap_err();
        assert!(error.to_string().contains(&*file.path().to_string_lossy()), "{error}");
    }
}
