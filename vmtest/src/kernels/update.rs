//! From the matrix to the lock: the only place that asks repositories what they have.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    compression::Compression,
    deb::{
        closure::{self, Closure, ClosureError},
        index::{Index, IndexError},
        release::{IndexFile, Release, ReleaseError, snapshot_time},
        signature::{KeyError, Keyring, SignatureError},
    },
    digest::Digest,
    download::TransferError,
    error::chain,
    lock::{Change, Lock, LockedFile, LockedKernel},
    matrix::{DebSource, Entry, Origin, Source},
    mirror::{Mirror, variable},
    phases::{Kernels, LOCAL_LOCK_FILE, LOCK_FILE},
    store::StoreError,
};

const MAX_RELEASE: u64 = 16 << 20;
const MAX_INDEX: u64 = 256 << 20;

/// What an update found.
#[derive(Debug)]
pub struct Update {
    /// What became of the shared lock, and of the local one.
    shared: Locks,
    local: Locks,
    /// Entries that stay as they were, because nobody could tell what they are now.
    pub unresolved: Vec<Unresolved>,
    /// Addresses that could not be used although a later one could, and why.
    pub bypassed: Vec<(String, RepositoryError)>,
}

#[derive(Debug)]
struct Locks {
    old: Lock,
    new: Lock,
}

/// An entry that could not be resolved.
#[derive(Debug)]
pub struct Unresolved {
    /// The entry's id.
    pub id: String,
    /// Why; entries of one suite share it.
    pub error: Arc<UpdateError>,
}

/// Why an entry could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// No address told what the suite has.
    #[error("no mirror of {repository:?} can be used{}", tried(.attempts, .repository))]
    Repository {
        /// The repository's name.
        repository: String,
        /// The addresses, and what was wrong with each.
        attempts: Vec<(String, RepositoryError)>,
    },
    /// The suite does not have the kernel.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// The keys that the matrix names can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What is wrong with a repository at one address.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A document could not be had.
    #[error("cannot read {path}")]
    Transfer {
        /// Below the address.
        path: String,
        /// Why.
        source: TransferError,
    },
    /// The release document is not signed as it should be.
    #[error("cannot trust the release document")]
    Signature(#[from] SignatureError),
    /// The release document can't be used.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The index is not the one that the release document describes.
    #[error("{path} is not what the signed release document promises")]
    OtherIndex {
        /// Below the address.
        path: String,
    },
    /// The index can't be decompressed.
    #[error("cannot decompress {path}")]
    Decompress {
        /// Below the address.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The index can't be understood.
    #[error(transparent)]
    Index(#[from] IndexError),
}

fn tried(attempts: &[(String, RepositoryError)], repository: &str) -> String {
    if attempts.is_empty() {
        return format!(": none is known; name one in {}", variable(repository));
    }
    attempts.iter().map(|(url, error)| format!("\n  {url}: {}", chain(error))).collect()
}

impl Update {
    /// What changed, for people to read; the shared lock first.
    pub fn changes(&self) -> Vec<Change> {
        let changes = [&self.shared, &self.local].map(|locks| locks.old.changes(&locks.new));
        changes.concat()
    }
}

/// A suite's index for one architecture; entries of one suite share it.
type SuiteKey = (String, String, String, &'static str);

struct Suite {
    index: Index,
    snapshot: String,
    /// The addresses that were tried in vain before.
    bypassed: Vec<(String, RepositoryError)>,
}

/// Resolves entries; the others, and those that can't be resolved, stay as they are locked.
pub(super) fn update(kernels: &Kernels, entries: &[Entry]) -> Update {
    let locks = |lock: &Lock, origin: Origin| {
        let mut new = lock.clone();
        // What no entry asks for any more goes.
        new.retain(|kernel| {
            let mut all = kernels.matrix.entries.iter();
            all.any(|entry| {
                let is_deb = matches!(entry.source, Source::Deb(_));
                entry.origin == origin && entry.id == kernel.id && is_deb
            })
        });
        Locks { old: lock.clone(), new }
    };
    let mut update = Update {
        shared: locks(&kernels.lock, Origin::Shared),
        local: locks(&kernels.local_lock, Origin::Local),
        unresolved: Vec::new(),
        bypassed: Vec::new(),
    };
    let now = Timestamp::now();
    let mut suites = HashMap::<SuiteKey, Result<Suite, Arc<UpdateError>>>::new();
    for entry in entries {
        let Source::Deb(source) = &entry.source else {
            continue;
        };
        let lock = match entry.origin {
            Origin::Shared => &mut update.shared.new,
            Origin::Local => &mut update.local.new,
            Origin::AdHoc => continue,
        };
        let key = (
            source.repository.clone(),
            source.suite.clone(),
            source.component.clone(),
            entry.arch.debian(),
        );
        let suite = suites
            .entry(key)
            .or_insert_with(|| read_suite(kernels, entry, source, now).map_err(Arc::new));
        let resolved = match suite {
            Ok(suite) => closure::resolve(&suite.index, &source.package)
                .map(|closure| locked(entry, source, closure, &suite.snapshot))
                .map_err(|error| Arc::new(UpdateError::from(error))),
            Err(error) => Err(Arc::clone(error)),
        };
        match resolved {
            // A lock that says the same with another date would only be noise.
            Ok(kernel) if lock.get(&entry.id).is_some_and(|old| old.same_files(&kernel)) => {}
            Ok(kernel) => lock.insert(kernel),
            Err(error) => update.unresolved.push(Unresolved { id: entry.id.clone(), error }),
        }
    }
    let suites = suites.into_values().filter_map(Result::ok);
    update.bypassed = suites.flat_map(|suite| suite.bypassed).collect();
    update.bypassed.sort_by(|(a, _), (b, _)| a.cmp(b));
    update
}

fn locked(entry: &Entry, source: &DebSource, closure: Closure, snapshot: &str) -> LockedKernel {
    let files = closure.packages.into_iter().map(|(role, package)| LockedFile {
        role,
        repository: source.repository.clone(),
        path: package.path,
        size: package.size,
        sha256: package.sha256,
    });
    LockedKernel {
        id: entry.id.clone(),
        source: entry.source.to_string(),
        release: closure.release,
        version: closure.version,
        snapshot: snapshot.to_owned(),
        missing: closure.missing,
        files: files.collect(),
    }
}

/// Reads a suite at the first address that has it in good order.
fn read_suite(
    kernels: &Kernels,
    entry: &Entry,
    source: &DebSource,
    now: Timestamp,
) -> Result<Suite, UpdateError> {
    let keys = kernels.matrix.repositories.get(&source.repository).map(|r| &r.keys[..]);
    let keyring = Keyring::load(keys.unwrap_or_default())?;
    let reader = SuiteReader { kernels, source, arch: entry.arch.debian(), keyring: &keyring, now };
    let mut attempts = Vec::new();
    for mirror in kernels.mirrors.of(&kernels.matrix, &source.repository, &snapshot_time(now)) {
        match reader.read(&mirror) {
            Ok(suite) => return Ok(Suite { bypassed: attempts, ..suite }),
            Err(error) => attempts.push((mirror.url, error)),
        }
    }
    Err(UpdateError::Repository { repository: source.repository.clone(), attempts })
}

struct SuiteReader<'a> {
    kernels: &'a Kernels,
    source: &'a DebSource,
    arch: &'static str,
    keyring: &'a Keyring,
    now: Timestamp,
}

impl SuiteReader<'_> {
    fn read(&self, mirror: &Mirror) -> Result<Suite, RepositoryError> {
        let text = self.signed_release(mirror)?;
        let release = Release::parse(&text, &self.source.suite)?;
        release.check_date(self.now, mirror.is_dated)?;
        let (file, compression) = release.index(&self.source.component, self.arch)?;
        let index = self.index(mirror, &release, file, compression)?;
        let snapshot = release.snapshot();
        Ok(Suite { index: Index::parse(&index)?, snapshot, bypassed: Vec::new() })
    }

    fn signed_release(&self, mirror: &Mirror) -> Result<String, RepositoryError> {
        match self.get(mirror, "InRelease", MAX_RELEASE) {
            Ok(document) => Ok(self.keyring.verify_inline(&document)?),
            // Old repositories have the signatures in a file of their own.
            Err(RepositoryError::Transfer { source: TransferError::Status(status), .. })
                if status.is_client_error() =>
            {
                let document = self.get(mirror, "Release", MAX_RELEASE)?;
                let signatures = self.get(mirror, "Release.gpg", MAX_RELEASE)?;
                Ok(self.keyring.verify_detached(&document, &signatures)?)
            }
            Err(error) => Err(error),
        }
    }

    fn index(
        &self,
        mirror: &Mirror,
        release: &Release,
        file: &IndexFile,
        compression: Compression,
    ) -> Result<String, RepositoryError> {
        let by_hash = release.by_hash.then(|| self.get(mirror, &file.path_by_hash(), file.size));
        let document = match by_hash {
            Some(Ok(document)) => document,
            // An incomplete mirror may lack it: by its plain name it is as good.
            _ => self.get(mirror, &file.path, file.size)?,
        };
        let path = || file.path.clone();
        if Digest::of(&document) != file.sha256 {
            return Err(RepositoryError::OtherIndex { path: path() });
        }
        let text = compression
            .decompress(&document, MAX_INDEX)
            .map_err(|source| RepositoryError::Decompress { path: path(), source })?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn get(&self, mirror: &Mirror, path: &str, limit: u64) -> Result<Vec<u8>, RepositoryError> {
        let path = format!("dists/{}/{path}", self.source.suite);
        let document = self.kernels.client.get(&mirror.file(&path), limit);
        document.map_err(|source| RepositoryError::Transfer { path, source })
    }
}

pub(super) fn write_locks(kernels: &Kernels, update: &Update) -> Result<(), StoreError> {
    let files = [
        (&update.shared, Origin::Shared, kernels.root.join(LOCK_FILE)),
        (&update.local, Origin::Local, kernels.root.join(LOCAL_LOCK_FILE)),
    ];
    for (locks, origin, path) in files {
        if locks.old == locks.new {
            continue;
        }
        let entries = kernels.matrix.entries.iter().filter(|entry| entry.origin == origin);
        replace(&path, &locks.new.render(entries.map(|entry| entry.id.as_str())))?;
    }
    Ok(())
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
    write().map_err(|source| StoreError::io("write", path, source))
}
