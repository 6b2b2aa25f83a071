//! A store of downloaded and derived files whose content is verified.
//!
//! - `objects/`: read-only files named after their SHA-256 digest. Each appears by a rename, after
//!   its content was verified and written to the disk.
//! - `partial/`: downloads in progress, named after the digest they should have.
//! - `artifacts/`: directories derived from objects, named after all their inputs. Each appears by
//!   a rename, when it is complete.
//! - `scratch/`: artifacts that are being built.
//! - `locks/`: empty files that processes lock.
//! - `in-use`: an empty file that is locked by every process that uses the store.
//! - `.kernlab-store`: marks the directory as a store.
//!
//! Other parts of the lab have directories beside these: see [`Part`]. Nothing is removed whose name
//! the lab does not make, and no directory becomes a store that has something else in it.
//!
//! A process may be killed at any time. Downloads that it leaves in `partial` are resumed, and
//! verified as a whole. Files that it leaves in `scratch` are never read.

mod artifact;
mod content;
mod garbage;
mod lock;
mod object;
mod part;
mod usage;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(crate) use artifact::{BUILT, UNPACKED, read_description, write_description, write_read_only};
pub use content::ContentDigests;
pub(crate) use garbage::Wanted;
pub use garbage::{Item, Kind, Sweep};
pub use lock::{StoreLock, lock_within};
pub use object::Object;
pub(crate) use object::Partial;
pub use part::{Part, is_run};
use usage::Usage;

/// The file that marks a directory as a store.
const MARKER: &str = ".kernlab-store";

const MARKER_TEXT: &str = "This directory is a store of kernlab, which removes files from it.\n";

/// The parts that every store has.
const PARTS: [Part; 5] =
    [Part::Objects, Part::Partial, Part::Artifacts, Part::Scratch, Part::Locks];

/// How precisely the time of an item's last use is recorded.
const USE_RESOLUTION: Duration = Duration::from_secs(60 * 60);

/// The store of one machine, shared by all processes that use the same directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    _usage: Arc<Usage>,
}

/// Writing or reading the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error(
        "no space left for {path}: free some, or name a store on another disk with KERNLAB_STORE"
    )]
    Full {
        /// The file that was being written.
        path: PathBuf,
        source: io::Error,
    },
    /// Another process did not release its lock.
    #[error("another process has held the lock {path} for {minutes} minutes")]
    Busy {
        /// The locked file.
        path: PathBuf,
        /// How long this process waited.
        minutes: u64,
    },
    /// Other processes use the store.
    #[error("other processes use {path}: run this command again when they have ended")]
    InUse { path: PathBuf },
    /// The directory has something else in it.
    #[error(
        "{path} is not a store of kernlab: {found} in it is not kernlab's, and there is no {MARKER}: \
         name an empty directory with KERNLAB_STORE"
    )]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// The name of one entry that the lab does not make.
        found: String,
    },
    /// Any other I/O error.
    #[error("cannot {action} {path}")]
    Io {
        /// A verb: `create`, `write`, ...
        action: &'static str,
        /// The affected file or directory.
        path: PathBuf,
        source: io::Error,
    },
}

impl StoreError {
    /// An error of the file system. A full disk gets a variant of its own.
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
    /// Opens the store in a directory, which is created if it does not exist. A directory becomes a
    /// store if it is empty, or has only what earlier versions of the lab made, without a marker.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Store::with(root.into(), Usage::shared)
    }

    /// Like [`Store::open`], but fails if another process uses the store, and keeps other processes
    /// out.
    pub fn open_exclusive(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Store::with(root.into(), Usage::alone)
    }

    fn with(
        root: PathBuf,
        usage: impl Fn(&Path) -> Result<Usage, StoreError>,
    ) -> Result<Self, StoreError> {
        mark(&root)?;
        for part in PARTS {
            let path = root.join(part.name());
            fs::create_dir_all(&path).map_err(|e| StoreError::io("create", &path, e))?;
        }
        let usage = Arc::new(usage(&root)?);
        Ok(Store { root, _usage: usage })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Marks a directory as a store, unless it is one, or something else.
fn mark(root: &Path) -> Result<(), StoreError> {
    let marker = root.join(MARKER);
    if fs::symlink_metadata(&marker).is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    fs::create_dir_all(root).map_err(|source| StoreError::io("create", root, source))?;
    let entries = fs::read_dir(root).map_err(|source| StoreError::io("read", root, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| StoreError::io("read", root, source))?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(part::is_of_a_store) {
            let found = format!("{name:?}");
            return Err(StoreError::NotAStore { path: root.to_owned(), found });
        }
    }
    fs::write(&marker, MARKER_TEXT).map_err(|source| StoreError::io("create", &marker, source))
}

/// Records that an item is used now. If that fails, the item is only removed a little earlier.
fn touch(path: &Path) {
    let now = SystemTime::now();
    let known = fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = known.ok().and_then(|used| now.duration_since(used).ok());
    if age.is_some_and(|age| age > USE_RESOLUTION) {
        drop(File::open(path).and_then(|file| file.set_modified(now)));
    }
}

/// Writes the entries of a directory to the disk, so that they survive a power failure.
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
    fn a_directory_with_something_else_never_becomes_a_store() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["objects", "images", ".ssh"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
        assert!(error.to_string().contains("\".ssh\" in it is not kernlab's"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is made in it");
    }

    #[test]
    fn a_store_without_a_marker_is_adopted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("checkpoints")).unwrap();
        fs::write(dir.path().join("in-use"), "").unwrap();
        drop(Store::open(dir.path()).unwrap());
        assert!(dir.path().join(MARKER).is_file());
        // What came later is somebody's, but it is a store.
        fs::create_dir(dir.path().join("photos")).unwrap();
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn a_store_below_a_file_is_an_error_that_names_the_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Store::open(file.path().join("store")).unwrap_err();
        assert!(error.to_string().contains(&*file.path().to_string_lossy()), "{error}");
    }
}
