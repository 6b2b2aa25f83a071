//! The life of a kernel, each phase a type: what can't be done yet does not compile.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    build::{BuildError, Recipe, Tree},
    build_tools,
    document::DocumentError,
    download::Client,
    error::{Error, ErrorKind},
    external_btf,
    fetch::{Fetcher, StoredPackage, is_stored, stored},
    first_use::{FirstUse, LOCKED_VARIABLE},
    local,
    lock::{Lock, LockedKernel},
    lock_file::LockFileError,
    manifest,
    matrix::{BuildSource, Entry, Matrix, Origin, Source, TreeSource},
    mirror::Mirrors,
    modules::Modules,
    observer::{Event, Observer},
    select::{Chosen, SelectError, Selection, select},
    store::{Store, StoreError},
    unpack,
    update::{self, Update, Verification},
};
use crate::paths::{MATRIX_FILE, PathError, matrix_dir, repository_root, store_dir};

pub(super) const OVERLAY_FILE: &str = "kernels.local.toml";
pub(super) const LOCK_FILE: &str = "kernels.lock";
pub(super) const LOCAL_LOCK_FILE: &str = "kernels.local.lock";

/// The kernels of a checkout on this machine.
#[derive(Clone, Debug)]
pub struct Kernels {
    checkout: PathBuf,
    /// Where the matrix and its locks are.
    pub(super) dir: PathBuf,
    pub(super) matrix: Matrix,
    pub(super) lock: Lock,
    pub(super) local_lock: Lock,
    pub(super) mirrors: Mirrors,
    pub(super) store: Store,
    pub(super) client: Client,
    pub(super) first_use: Arc<FirstUse>,
    /// Whether nothing may be added to the lock.
    pub(super) locked_only: bool,
    /// `/`, but in tests.
    machine: PathBuf,
}

/// The kernels of a checkout can't be listed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The checkout or the store was not found.
    #[error(transparent)]
    Place(#[from] PathError),
    /// The matrix or the lock is malformed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of an entry without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its packages, or what was built, are in the store.
    Stored,
    /// It is in the lock, to be downloaded when it is needed.
    Locked,
    /// It is not in the lock, or the lock is of another source.
    Unresolved,
    /// It needs no download: its files are on this machine.
    Local,
    /// It is built when it is needed, which takes minutes.
    Unbuilt,
}

/// An entry that can be fetched.
#[derive(Clone, Debug)]
#[must_use]
pub struct Resolved<'a> {
    entry: &'a Entry,
    locked: Option<LockedKernel>,
}

/// An entry whose packages are in the store.
#[derive(Debug)]
#[must_use]
pub struct Fetched<'a> {
    entry: &'a Entry,
    packages: Option<(LockedKernel, Vec<StoredPackage>)>,
}

/// The release of an image that doesn't tell its own.
pub const UNKNOWN_RELEASE: &str = "unknown";

/// A kernel that can be booted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unpacked {
    /// The entry's id.
    pub id: String,
    /// What `uname -r` prints in it, or [`UNKNOWN_RELEASE`].
    pub release: String,
    /// What QEMU boots.
    pub image: Image,
    /// The configuration it was built with, if that is known.
    pub config: Option<PathBuf>,
    /// Whether the image that boots has type information; none if that can't be told.
    pub has_btf: Option<bool>,
    /// Its modules. The guests of a run load none, so its plan has none.
    #[serde(skip)]
    pub modules: Modules,
    /// Mebibytes of memory that its guests have.
    pub memory_mib: u32,
    /// Processors that its guests have.
    pub processors: u32,
}

/// What QEMU boots: at least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image as distributions ship it. Absent if an uncompressed kernel was given as a file.
    pub bzimage: Option<PathBuf>,
    /// The ELF kernel inside, if it has a PVH entry point: it saves the guest the decompression.
    pub vmlinux: Option<PathBuf>,
}

impl Unpacked {
    /// A kernel of this release, for tests that boot none.
    #[cfg(test)]
    pub(crate) fn sample(id: &str, release: &str) -> Self {
        Unpacked {
            id: id.to_owned(),
            release: release.to_owned(),
            image: Image { bzimage: None, vmlinux: Some("/store/vmlinux".into()) },
            config: None,
            has_btf: Some(true),
            modules: Modules::default(),
            memory_mib: super::matrix::MEMORY_MIB,
            processors: super::matrix::PROCESSORS,
        }
    }

    fn with_machine_of(self, entry: &Entry) -> Self {
        Unpacked { memory_mib: entry.memory_mib, processors: entry.processors, ..self }
    }

    /// The key of the artifact that its image is in, if it is in the store.
    pub(super) fn artifact_key(&self) -> Option<String> {
        Some(self.image.fastest().parent()?.file_name()?.to_str()?.to_owned())
    }
}

impl Image {
    /// The file that boots fastest: a value for QEMU's `-kernel`.
    pub fn fastest(&self) -> &Path {
        match (&self.vmlinux, &self.bzimage) {
            (Some(path), _) | (None, Some(path)) => path,
            (None, None) => unreachable!("an image has a file"),
        }
    }
}

impl Kernels {
    /// The kernels of the checkout that the current directory is in, with this machine's store.
    pub fn open() -> Result<Self, OpenError> {
        Kernels::open_with(Store::open(store_dir()?)?)
    }

    /// The same, with the store to ourselves: for removing something from it.
    pub fn open_exclusive() -> Result<Self, OpenError> {
        Kernels::open_with(Store::open_exclusive(store_dir()?)?)
    }

    fn open_with(store: Store) -> Result<Self, OpenError> {
        let checkout = repository_root()?;
        let dir = match matrix_dir() {
            Some(dir) => std::path::absolute(&dir).unwrap_or(dir),
            None => checkout.clone(),
        };
        let kernels = Kernels::at(&dir, store, Path::new("/"), Client::new())?;
        Ok(Kernels { checkout, ..kernels })
    }

    pub(super) fn at(
        dir: &Path,
        store: Store,
        machine: &Path,
        client: Client,
    ) -> Result<Self, DocumentError> {
        let mut matrix = manifest::read_matrix(&dir.join(MATRIX_FILE), &dir.join(OVERLAY_FILE))?;
        let lock = Lock::read(&dir.join(LOCK_FILE))?;
        let local_lock = Lock::read(&dir.join(LOCAL_LOCK_FILE))?;
        for entry in &mut matrix.entries {
            if entry.release.is_none() {
                let locked = locked_in(&lock, &local_lock, entry);
                entry.release = locked.and_then(LockedKernel::series);
            }
        }
        let mirrors = Mirrors::of_machine(&matrix, machine);
        let machine = machine.to_owned();
        Ok(Kernels {
            checkout: dir.to_owned(),
            dir: dir.to_owned(),
            matrix,
            lock,
            local_lock,
            mirrors,
            store,
            client,
            first_use: Arc::default(),
            locked_only: super::is_set(LOCKED_VARIABLE),
            machine,
        })
    }

    /// The same kernels; an entry that is not in the lock is an error.
    pub fn locked_only(self) -> Self {
        Kernels { locked_only: true, ..self }
    }

    /// The same kernels; what would be downloaded is an error.
    pub fn offline(self) -> Self {
        Kernels { client: Client::offline(), ..self }
    }

    /// The root of the checkout.
    pub fn root(&self) -> &Path {
        &self.checkout
    }

    /// Where the matrix and its locks are.
    pub fn matrix_dir(&self) -> &Path {
        &self.dir
    }

    /// The matrix, with the releases that the lock knows filled in.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The entries that a selection names, in the order of the matrix.
    pub fn select(&self, selection: &Selection) -> Result<Chosen, SelectError> {
        select(&self.matrix, selection)
    }

    /// The entry of this id, if it is one of the matrix.
    pub fn entry(&self, id: &str) -> Option<&Entry> {
        self.matrix.entries.iter().find(|entry| entry.id == id)
    }

    /// What is locked for an entry, if the lock is of its source.
    pub fn locked(&self, entry: &Entry) -> Option<LockedKernel> {
        let locked = locked_in(&self.lock, &self.local_lock, entry);
        locked.cloned().or_else(|| self.first_use.get(entry))
    }

    /// What is known of an entry without asking anybody.
    pub fn state(&self, entry: &Entry) -> State {
        match (&entry.source, self.locked(entry)) {
            (Source::File(_) | Source::Host, _) => State::Local,
            (source, None) if source.is_locked() => State::Unresolved,
            (Source::Build(_), _) if self.built(entry).is_some() => State::Stored,
            (Source::Build(_), _) => State::Unbuilt,
            (_, Some(kernel)) if is_stored(&self.store, &kernel) => State::Stored,
            (_, _) => State::Locked,
        }
    }

    /// Looks an entry up in the lock. One that is not there is resolved, and added to it.
    pub fn resolve<'a>(
        &self,
        entry: &'a Entry,
        observer: &dyn Observer,
    ) -> Result<Resolved<'a>, Error> {
        let locked = match (entry.source.is_locked(), self.lock_of(entry).get(&entry.id)) {
            (false, _) => None,
            (true, Some(locked)) if locked.is_of(entry) => Some(locked.clone()),
            (true, Some(stale)) => {
                return Err(ErrorKind::stale_lock(entry, stale).of(&entry.id));
            }
            (true, None) => {
                let resolved = self.first_use.resolve(self, entry, observer);
                Some(resolved.map_err(|kind| kind.of(&entry.id))?)
            }
        };
        Ok(Resolved { entry, locked })
    }

    /// The kernel of an entry that is built here, if it was built before.
    pub fn built(&self, entry: &Entry) -> Option<Unpacked> {
        let packages = match entry.source.is_locked() {
            false => Vec::new(),
            true => stored(&self.store, &self.locked(entry)?)?,
        };
        self.recipe(entry, &packages)?.find(&self.store)
    }

    /// How an entry is built, if it is one that is built here.
    fn recipe<'a>(&self, entry: &'a Entry, packages: &'a [StoredPackage]) -> Option<Recipe<'a>> {
        let Source::Build(BuildSource { tree, config, toolchain }) = &entry.source else {
            return None;
        };
        let tree = match tree {
            TreeSource::Deb(_) => Tree::Package(packages.first()?),
            TreeSource::Url(_) => Tree::Download(packages.first()?),
            TreeSource::Archive(path) => Tree::Archive(path),
            TreeSource::Dir(path) => Tree::Dir(path),
        };
        let (config, btf) = (config.as_deref(), entry.has_btf());
        Some(Recipe { id: &entry.id, tree, config, btf, toolchain })
    }

    /// Brings what is locked into the store; what is there already is not downloaded again.
    pub fn fetch<'a>(
        &self,
        resolved: Resolved<'a>,
        observer: &dyn Observer,
    ) -> Result<Fetched<'a>, Error> {
        let Resolved { entry, locked } = resolved;
        let fetcher = self.fetcher(observer);
        let fetch = |kernel: LockedKernel| {
            let packages = fetcher.fetch(&kernel)?;
            Ok((kernel, packages))
        };
        let packages =
            locked.map(fetch).transpose().map_err(|kind: ErrorKind| kind.of(&entry.id))?;
        Ok(Fetched { entry, packages })
    }

    /// Makes a fetched kernel bootable; what was unpacked before is not unpacked again.
    pub fn unpack(
        &self,
        fetched: &Fetched<'_>,
        observer: &dyn Observer,
    ) -> Result<Unpacked, Error> {
        let Fetched { entry, packages } = fetched;
        let id = &entry.id;
        let unpacked = match (&entry.source, packages) {
            (Source::File(source), _) => local::file(&self.store, id, source),
            (Source::Host, _) => local::host(&self.store, id, &self.machine),
            (Source::Build(_), packages) => {
                let packages = packages.as_ref().map_or(&[][..], |(_, packages)| packages);
                match self.recipe(entry, packages) {
                    Some(recipe) => {
                        let observe = |event: Event<'_>| observer.observe(id, event);
                        let build = || recipe.prepare(&self.store, &observe);
                        match build() {
                            Err(ErrorKind::Build(BuildError::ToolsMissing {
                                missing_tools,
                                ..
                            })) if missing_tools.can_be_installed()
                                && build_tools::install(&self.store, id, observer) =>
                            {
                                build()
                            }
                            other => other,
                        }
                    }
                    None => unreachable!("a fetched source has a package or is on this machine"),
                }
            }
            (_, None) => unreachable!("an entry that is locked was fetched with its packages"),
            (_, Some((kernel, packages))) => {
                let mut announce = || observer.observe(id, Event::Unpack);
                unpack::unpack(&self.store, id, &kernel.release, packages, &mut announce)
            }
        };
        unpacked.map_err(|kind| kind.of(id))
    }

    /// All steps from an entry to a kernel that can be booted.
    pub fn prepare(&self, entry: &Entry, observer: &dyn Observer) -> Result<Unpacked, Error> {
        let resolved = self.resolve(entry, observer);
        let fetched = resolved.and_then(|resolved| self.fetch(resolved, observer));
        let unpacked = fetched.and_then(|fetched| self.unpack(&fetched, observer));
        observer.observe(&entry.id, Event::Ready);
        Ok(unpacked?.with_machine_of(entry))
    }

    /// Raw BTF for the mode `external`, from the file that the entry names.
    pub fn external_btf(&self, entry: &Entry, kernel: &Unpacked) -> Result<PathBuf, Error> {
        let file = entry.btf_file.as_deref();
        let btf = file.ok_or(ErrorKind::NoBtfFile);
        btf.and_then(|file| external_btf::raw(&self.store, file, &kernel.release))
            .map_err(|kind| kind.of(&entry.id))
    }

    /// Asks the repositories what these entries are now. No lock is written; what had to be
    /// downloaded for it is in the store.
    pub fn update(&self, entries: &[Entry], observer: &dyn Observer) -> Update {
        update::update(self, entries, observer)
    }

    /// Asks the repositories whether these entries resolve. No kernel is downloaded for it.
    pub fn verify(&self, entries: &[Entry]) -> Verification {
        update::verify(self, entries)
    }

    /// Writes what [`Kernels::update`] found into the locks.
    pub fn write_locks(&self, update: &Update) -> Result<(), LockFileError> {
        update::write_locks(self, update)
    }

    pub(super) fn fetcher<'a>(&'a self, observer: &'a dyn Observer) -> Fetcher<'a> {
        Fetcher {
            client: &self.client,
            matrix: &self.matrix,
            mirrors: &self.mirrors,
            store: &self.store,
            observer,
        }
    }

    fn lock_of(&self, entry: &Entry) -> &Lock {
        lock_of(&self.lock, &self.local_lock, entry)
    }
}

fn lock_of<'a>(shared: &'a Lock, local: &'a Lock, entry: &Entry) -> &'a Lock {
    match entry.origin {
        Origin::Shared => shared,
        Origin::Local | Origin::AdHoc => local,
    }
}

fn locked_in<'a>(shared: &'a Lock, local: &'a Lock, entry: &Entry) -> Option<&'a LockedKernel> {
    lock_of(shared, local, entry).get(&entry.id).filter(|locked| locked.is_of(entry))
}
