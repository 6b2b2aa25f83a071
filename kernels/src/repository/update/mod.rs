//! From the matrix to the lock: the only place that asks repositories what they have.

mod deb;
mod rpm;
mod url;
mod verify;

use std::{collections::HashMap, io, sync::Arc};

use jiff::Timestamp;
use kernlab_core::outcome::Reason;
use serde::Serialize;

use crate::{
    catalog::{
        data::Catalog,
        lock::{Change, Lock, LockedKernel},
        lock_file::{LockFile, LockFileError},
        matrix::{BuildSource, DebSource, Entry, Origin, RpmSource, Source, TreeSource},
    },
    error_chain::chain,
    from_source::BuildError,
    image::FilesError,
    progress::Observer,
    repository::{
        deb::{index::IndexError, release::ReleaseError},
        dependencies::DependencyError,
        download::TransferError,
        fetch::FetchError,
        mirror::{Mirror, variable},
        rpm::{XmlError, proof::ProofError},
        snapshot::SnapshotDate,
    },
    signature::{KeyError, SignatureError, SignedBy},
};

pub(crate) use self::verify::verify;
pub use self::verify::{Unverified, Verification, Verified};

/// What an update found.
#[derive(Debug)]
pub struct Update {
    /// What became of the shared lock, and of the local one.
    shared: Locks,
    local: Locks,
    /// What each entry was resolved to.
    pub resolved: Vec<Resolution>,
    /// Entries that stay as they were, because nobody could tell what they are now.
    pub unresolved: Vec<Unresolved>,
    /// Addresses that could not be used although a later one could, and why.
    pub bypassed: Vec<(String, RepositoryError)>,
}

/// What an entry is, and who says so.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// What would be locked.
    pub kernel: LockedKernel,
    /// The keys that sign it. None for what the matrix names by its digest.
    pub signed_by: Vec<SignedBy>,
    /// What is still to be proven when its files are downloaded.
    pub unproven: Option<Unproven>,
}

/// What nobody has proven without the files themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unproven {
    /// Packages' headers are signed, and say what the payload must be; that was not downloaded.
    Payload,
    /// Its address told a size; whether the file has the digest that the matrix names is not known.
    Content,
}

/// How far an entry is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// As far as it takes to lock it.
    Lock,
    /// No file of a kernel is downloaded.
    Metadata,
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
    Dependencies(#[from] DependencyError),
    /// The keys that the matrix names can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An entry pins a date that is yet to come.
    #[error("{date} is yet to come: pin a date of which a dated archive has the suite")]
    Future {
        /// The date.
        date: SnapshotDate,
    },
    /// An address can't be asked.
    #[error("cannot ask {url} for its size")]
    Address {
        /// The address.
        url: String,
        /// Why.
        source: TransferError,
    },
    /// What it is can't be told without its files, which can't be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What it is can't be told, because its files can't be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What it is can't be told, because its source can't be used.
    #[error(transparent)]
    FromSource(#[from] Box<BuildError>),
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
    /// The repository is not signed as it should be.
    #[error("cannot trust the repository")]
    Signature(#[from] SignatureError),
    /// The release document can't be used.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The index is not the one that a document above it describes.
    #[error("{path} is not what the {promised_by} promises")]
    OtherIndex {
        /// Below the address.
        path: String,
        /// That document.
        promised_by: &'static str,
    },
    /// The metadata of an RPM repository can't be understood.
    #[error("cannot use {path}")]
    Metadata {
        /// Below the address.
        path: String,
        /// Why.
        source: XmlError,
    },
    /// Metadata or a package is outside of the repository.
    #[error("{path:?} is out of the repository")]
    OutOfRepository {
        /// Relative to the directory that has the repository's metadata.
        path: String,
    },
    /// A package is not one that the distribution signed.
    #[error("{file} is refused")]
    Unproven {
        /// The last part of its path.
        file: String,
        /// Why.
        source: ProofError,
    },
    /// A package can't be had, so that nobody knows whether it is signed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A package can't be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A document that names a repository's directory names none.
    #[error("{path} names no directory of this mirror")]
    MirrorList {
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

impl UpdateError {
    /// The code that the cells of a kernel report that this kept from being locked.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            UpdateError::Repository { .. } | UpdateError::Address { .. } => Reason::Unreachable,
            UpdateError::Fetch(error) => error.reason(),
            UpdateError::Files(error) => error.reason(),
            UpdateError::FromSource(error) => error.reason(),
            UpdateError::Dependencies(_) | UpdateError::Key(_) | UpdateError::Future { .. } => {
                Reason::NotLocked
            }
        }
    }
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

/// Addresses that were tried in vain.
type Bypassed = Vec<(String, RepositoryError)>;

/// Resolves entries; the others, and those that can't be resolved, stay as they are locked.
pub(crate) fn update(catalog: &Catalog, entries: &[Entry], observer: &dyn Observer) -> Update {
    let locks = |lock: &Lock, origin: Origin| {
        let mut new = lock.clone();
        // What no entry asks for any more goes.
        new.retain(|kernel| {
            catalog.matrix.entries.iter().any(|entry| {
                entry.origin == origin && entry.id == kernel.id && entry.source.is_locked()
            })
        });
        Locks { old: lock.clone(), new }
    };
    let mut update = Update {
        shared: locks(&catalog.lock, Origin::Shared),
        local: locks(&catalog.local_lock, Origin::Local),
        resolved: Vec::new(),
        unresolved: Vec::new(),
        bypassed: Vec::new(),
    };
    let mut repositories = Repositories::default();
    for entry in entries.iter().filter(|entry| entry.source.is_locked()) {
        let lock = match entry.origin {
            Origin::Shared => &mut update.shared.new,
            Origin::Local => &mut update.local.new,
            Origin::AdHoc => continue,
        };
        let old = lock.get(&entry.id);
        match repositories.resolve(catalog, entry, old, observer) {
            Ok(resolution) => {
                // A lock that says the same with another date would only be noise.
                if !old.is_some_and(|old| old.same_files(&resolution.kernel)) {
                    lock.insert(resolution.kernel.clone());
                }
                update.resolved.push(resolution);
            }
            Err(error) => update.unresolved.push(Unresolved { id: entry.id.clone(), error }),
        }
    }
    update.bypassed = repositories.bypassed();
    update
}

/// What repositories said: each is asked once.
pub(crate) struct Repositories {
    depth: Depth,
    now: Timestamp,
    /// By what an entry's source says, without the package.
    suites: HashMap<String, Result<deb::Suite, Arc<UpdateError>>>,
    repositories: HashMap<String, Result<rpm::Repository, Arc<UpdateError>>>,
}

impl Default for Repositories {
    fn default() -> Self {
        Repositories::new(Depth::Lock)
    }
}

impl Repositories {
    fn new(depth: Depth) -> Self {
        let (suites, repositories) = (HashMap::new(), HashMap::new());
        Repositories { depth, now: Timestamp::now(), suites, repositories }
    }

    /// The addresses that something was wrong with although another one served.
    fn bypassed(self) -> Bypassed {
        let suites = self.suites.into_values().flatten().flat_map(|suite| suite.bypassed);
        let repositories = self.repositories.into_values().flatten();
        let mut bypassed: Bypassed =
            suites.chain(repositories.flat_map(|repository| repository.bypassed)).collect();
        bypassed.sort_by(|(a, _), (b, _)| a.cmp(b));
        bypassed
    }

    /// What an entry is now. `old` is what is locked for it.
    pub(crate) fn resolve(
        &mut self,
        catalog: &Catalog,
        entry: &Entry,
        old: Option<&LockedKernel>,
        observer: &dyn Observer,
    ) -> Result<Resolution, Arc<UpdateError>> {
        let Repositories { depth, now, .. } = *self;
        match &entry.source {
            Source::Deb(source)
            | Source::Build(BuildSource { tree: TreeSource::Deb(source), .. }) => {
                let place = DebSource { package: String::new(), ..source.clone() };
                let key = format!("{} {}", entry.arch.debian(), Source::Deb(place));
                let read = || deb::Suite::read(catalog, entry, source, now).map_err(Arc::new);
                let suite = self.suites.entry(key).or_insert_with(read);
                let suite = suite.as_ref().map_err(Arc::clone)?;
                let kernel = suite.resolve(entry, source).map_err(Arc::new)?;
                let signed_by = suite.signed_by().to_vec();
                Ok(Resolution { kernel, signed_by, unproven: None })
            }
            Source::Rpm(source) => {
                let place = RpmSource { package: String::new(), ..source.clone() };
                let key = format!("{} {}", entry.arch.rpm(), Source::Rpm(place));
                let read = || rpm::Repository::read(catalog, entry, source, now).map_err(Arc::new);
                let slot = self.repositories.entry(key).or_insert_with(read);
                loop {
                    let repository = slot.as_mut().map_err(|error| Arc::clone(error))?;
                    let resolved = match depth {
                        Depth::Lock => repository.resolve(catalog, entry, source, old, observer),
                        Depth::Metadata => repository.verify(catalog, entry, source),
                    };
                    match resolved.map_err(Arc::new)? {
                        Ok(resolution) => return Ok(resolution),
                        Err(lie) => {
                            if let Err(error) = repository.go_on(catalog, entry, source, lie) {
                                *slot = Err(Arc::new(error));
                            }
                        }
                    }
                }
            }
            Source::Url(source)
            | Source::Build(BuildSource { tree: TreeSource::Url(source), .. }) => {
                let resolved = match depth {
                    Depth::Lock => url::resolve(catalog, entry, source, old, observer),
                    Depth::Metadata => url::verify(catalog, entry, source, old),
                };
                resolved.map_err(Arc::new)
            }
            Source::Build(_) | Source::File(_) | Source::Host => {
                unreachable!("these are not locked")
            }
        }
    }
}

/// What the first address tells that has a repository in good order, and what was wrong at those
/// before it.
fn first_good<T>(
    repository: &str,
    mirrors: Vec<Mirror>,
    read: impl Fn(&Mirror) -> Result<T, RepositoryError>,
) -> Result<(T, Bypassed), UpdateError> {
    let mut attempts = Vec::new();
    for mirror in mirrors {
        match read(&mirror) {
            Ok(found) => return Ok((found, attempts)),
            Err(error) => attempts.push((mirror.url, error)),
        }
    }
    Err(UpdateError::Repository { repository: repository.to_owned(), attempts })
}

/// A document of a repository.
fn get(
    catalog: &Catalog,
    mirror: &Mirror,
    path: &str,
    limit: u64,
) -> Result<Vec<u8>, RepositoryError> {
    let document = catalog.client.get(&mirror.file(path), limit);
    document.map_err(|source| RepositoryError::Transfer { path: path.to_owned(), source })
}

pub(crate) fn write_locks(catalog: &Catalog, update: &Update) -> Result<(), LockFileError> {
    for (locks, origin) in [(&update.shared, Origin::Shared), (&update.local, Origin::Local)] {
        let changes = locks.old.changes(&locks.new);
        if !changes.is_empty() {
            let file = LockFile::of(&catalog.dir, origin);
            file.open(&catalog.store, || {})?
                .change(&catalog.matrix, |lock| lock.apply(changes))?;
        }
    }
    Ok(())
}
