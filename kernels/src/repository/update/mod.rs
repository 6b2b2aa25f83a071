//! From the matrix to the lock: the only module that queries repositories for their content.

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

/// The result of an update.
#[derive(Debug)]
pub struct Update {
    /// The lock that never changes.
    built_in: Lock,
    /// The shared lock and the local one, each before and after.
    shared: Locks,
    local: Locks,
    /// What each entry resolved to.
    pub resolved: Vec<Resolution>,
    /// Entries that stay as they were locked, because they could not be resolved.
    pub unresolved: Vec<Unresolved>,
    /// URLs that failed although a later one worked, and why.
    pub bypassed: Vec<(String, RepositoryError)>,
}

/// What an entry resolves to, and which keys vouch for it.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The lock entry.
    pub kernel: LockedKernel,
    /// The keys that signed it. None if the matrix names the file by its digest.
    pub signed_by: Vec<SignedBy>,
    /// What can be proven only when the files are downloaded.
    pub unproven: Option<Unproven>,
}

/// What is not proven without the files themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unproven {
    /// The packages' signed headers state the payload's digest, but the payload was not downloaded.
    Payload,
    /// The server stated a size, but it is unknown whether the file has the digest in the matrix.
    Content,
}

/// How much is downloaded to resolve an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// As much as it takes to lock the entry.
    Lock,
    /// No kernel file.
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
    pub id: String,
    /// Why. Entries of one suite share the error.
    pub error: Arc<UpdateError>,
}

/// Why an entry could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// No mirror has the suite in a usable state.
    #[error("no mirror of {repository:?} can be used{}", tried(.attempts, .repository))]
    Repository {
        repository: String,
        /// The URLs, and the error of each.
        attempts: Vec<(String, RepositoryError)>,
    },
    /// The suite does not contain the kernel.
    #[error(transparent)]
    Dependencies(#[from] DependencyError),
    /// The repository's keys can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The entry pins a date in the future.
    #[error("{date} is in the future: pin a date for which a dated archive has the suite")]
    Future { date: SnapshotDate },
    /// The server did not answer with the file's size.
    #[error("cannot get the size of {url}")]
    Address { url: String, source: TransferError },
    /// Resolving the entry needs its files, which can't be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Resolving the entry needs its files, which can't be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Resolving the entry needs its source, which can't be used.
    #[error(transparent)]
    FromSource(#[from] Box<BuildError>),
}

/// Why a mirror of a repository can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A document could not be read.
    #[error("cannot read {path}")]
    Transfer {
        /// Relative to the mirror's URL.
        path: String,
        source: TransferError,
    },
    /// The repository is not signed as required.
    #[error("cannot trust the repository")]
    Signature(#[from] SignatureError),
    /// The release file can't be used.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The index differs from the one that the release file or `repomd.xml` describes.
    #[error("{path} does not match the digest in the {promised_by}")]
    OtherIndex {
        /// Relative to the mirror's URL.
        path: String,
        /// The document with the digest.
        promised_by: &'static str,
    },
    /// The metadata of an RPM repository can't be parsed.
    #[error("cannot use {path}")]
    Metadata {
        /// Relative to the mirror's URL.
        path: String,
        source: XmlError,
    },
    /// Metadata or a package is outside the repository.
    #[error("{path:?} is outside the repository")]
    OutOfRepository {
        /// Relative to the directory of the repository's metadata.
        path: String,
    },
    /// The distribution did not sign a package.
    #[error("{file} is refused")]
    Unproven { file: String, source: ProofError },
    /// A package can't be read, so its signature can't be checked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A package can't be unpacked.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A document that should name a repository's directory names none.
    #[error("{path} names no directory of this mirror")]
    MirrorList {
        /// Relative to the mirror's URL.
        path: String,
    },
    /// The index can't be decompressed.
    #[error("cannot decompress {path}")]
    Decompress {
        /// Relative to the mirror's URL.
        path: String,
        source: io::Error,
    },
    /// The index can't be parsed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl UpdateError {
    /// The reason code that the cells of an unresolved kernel report.
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
    /// The changes for display, those of the shared lock first.
    pub fn changes(&self) -> Vec<Change> {
        let over_built_in = |lock: &Lock| {
            let mut both = self.built_in.clone();
            both.extend(lock.kernels().cloned());
            both
        };
        let shared = over_built_in(&self.shared.old).changes(&over_built_in(&self.shared.new));
        [shared, self.local.old.changes(&self.local.new)].concat()
    }
}

/// URLs that failed although a later one worked, and why.
type Bypassed = Vec<(String, RepositoryError)>;

/// Resolves entries. Other entries, and those that can't be resolved, stay as they are locked.
pub(crate) fn update(catalog: &Catalog, entries: &[Entry], observer: &dyn Observer) -> Update {
    let locks = |lock: &Lock, is_of: fn(&Entry) -> bool| {
        let mut new = lock.clone();
        // Entries that are no longer in the matrix are dropped.
        new.retain(|kernel| {
            let mut entries = catalog.matrix.entries.iter();
            entries.any(|entry| entry.id == kernel.id && is_of(entry))
        });
        Locks { old: lock.clone(), new }
    };
    fn is_local(entry: &Entry) -> bool {
        matches!(entry.origin, Origin::Local)
    }
    let mut update = Update {
        built_in: catalog.locks.built_in.clone(),
        // What an entry of this machine replaces stays locked for all others.
        shared: locks(&catalog.locks.shared, |entry| is_local(entry) || entry.source.is_locked()),
        local: locks(&catalog.locks.local, |entry| is_local(entry) && entry.source.is_locked()),
        resolved: Vec::new(),
        unresolved: Vec::new(),
        bypassed: Vec::new(),
    };
    let mut repositories = Repositories::default();
    for entry in entries.iter().filter(|entry| entry.source.is_locked()) {
        let lock = match entry.origin {
            Origin::BuiltIn | Origin::Shared => &mut update.shared.new,
            Origin::Local => &mut update.local.new,
            Origin::AdHoc => continue,
        };
        let old = catalog.locks.get(entry);
        match repositories.resolve(catalog, entry, old, observer) {
            Ok(resolution) => {
                // Rewriting the lock only for another snapshot date would be noise.
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

/// The state of repositories, each of which is read once.
pub(crate) struct Repositories {
    depth: Depth,
    now: Timestamp,
    /// By the entry's source without the package.
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

    /// The URLs that failed although a later one worked.
    fn bypassed(self) -> Bypassed {
        let suites = self.suites.into_values().flatten().flat_map(|suite| suite.bypassed);
        let repositories = self.repositories.into_values().flatten();
        let mut bypassed: Bypassed =
            suites.chain(repositories.flat_map(|repository| repository.bypassed)).collect();
        bypassed.sort_by(|(a, _), (b, _)| a.cmp(b));
        bypassed
    }

    /// What an entry resolves to now. `old` is its lock entry.
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

/// The result from the first mirror that has the repository in a valid state, and the errors of
/// those before it.
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

/// Downloads a document of a repository.
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
