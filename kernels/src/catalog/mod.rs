//! The kernels of the matrix. Preparing one goes through phases, and each phase is a type, so that
//! code that skips a phase does not compile.

pub(crate) mod add;
mod btf_mode;
pub(crate) mod built_in;
pub(crate) mod data;
pub(crate) mod error;
pub(crate) mod first_use;
mod garbage;
pub(crate) mod kernel;
pub(crate) mod lock;
pub(crate) mod lock_file;
pub(crate) mod manifest;
pub(crate) mod matrix;
pub(crate) mod select;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{
    built_in::BuiltIn,
    data::Catalog,
    error::{Error, ErrorKind},
    first_use::{FirstUse, LOCKED_VARIABLE},
    kernel::Unpacked,
    lock::LockedKernel,
    lock_file::LockFileError,
    matrix::{BtfFile, BuildSource, Entry, Matrix, Source, TreeSource},
    select::{Chosen, SelectError, Selection, select},
};
use crate::{
    document::DocumentError,
    from_source::{BuildError, Recipe, Tree, build_tools},
    image::{FilesError, btf_archive, external_btf, identity, local, unpack},
    paths::{Location, PathError, matrix_dir, state_dir, store_dir},
    progress::{Event, Observer},
    repository::{
        download::Client,
        fetch::{StoredPackage, is_stored, stored},
        update::{self, Update, Verification},
    },
    store::{Store, StoreError},
};

/// The kernels of a checkout or a project on this machine.
#[derive(Clone, Debug)]
pub struct Kernels {
    location: Location,
    pub(crate) catalog: Catalog,
    first_use: Arc<FirstUse>,
    /// Whether adding to the lock is forbidden.
    locked_only: bool,
    /// The root directory of this machine's configuration: `/`, except in tests.
    machine: PathBuf,
}

/// The kernels can't be listed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The current directory or the store was not found.
    #[error(transparent)]
    Place(#[from] PathError),
    /// The matrix or the lock is malformed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of an entry without asking a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its packages or its build are in the store.
    Stored,
    /// It is in the lock, and is downloaded when it is needed.
    Locked,
    /// It is not in the lock, or was locked from a different source.
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

impl Kernels {
    /// Opens the kernels of the checkout that contains the current directory, with this machine's
    /// store. Outside of a checkout, opens the matrix that is part of the program, and what the
    /// project that contains the current directory adds to it.
    pub fn open() -> Result<Self, OpenError> {
        Kernels::open_with(Store::open(store_dir()?)?)
    }

    /// Like [`Kernels::open`], but with exclusive access to the store, for removing objects from
    /// it.
    pub fn open_exclusive() -> Result<Self, OpenError> {
        Kernels::open_with(Store::open_exclusive(store_dir()?)?)
    }

    fn open_with(store: Store) -> Result<Self, OpenError> {
        let location = Location::current()?;
        let (dir, built_in) = match (matrix_dir(), &location) {
            (Some(dir), _) => (std::path::absolute(&dir).unwrap_or(dir), None),
            (None, Location::Checkout(root)) => (root.clone(), None),
            (None, Location::Project(root)) => (root.clone(), Some(BuiltIn::of_this_program())),
            (None, Location::Elsewhere(_)) => {
                // A machine without a home directory has named a store.
                let dir = state_dir().unwrap_or_else(|| store.root().to_owned());
                (dir, Some(BuiltIn::of_this_program()))
            }
        };
        let catalog = Catalog::read(&dir, built_in, store, Path::new("/"), Client::new())?;
        Ok(Kernels::of(catalog, location, Path::new("/")))
    }

    pub(crate) fn of(catalog: Catalog, location: Location, machine: &Path) -> Self {
        Kernels {
            location,
            catalog,
            first_use: Arc::default(),
            locked_only: crate::is_set(LOCKED_VARIABLE),
            machine: machine.to_owned(),
        }
    }

    /// Forbids adding to the lock: preparing an entry that is not in it is an error.
    pub fn locked_only(self) -> Self {
        Kernels { locked_only: true, ..self }
    }

    /// Forbids downloads: preparing an entry that needs one is an error.
    pub fn offline(self) -> Self {
        Kernels { catalog: Catalog { client: Client::offline(), ..self.catalog }, ..self }
    }

    /// Where the command runs: in a checkout, in a project, or elsewhere.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The root of the checkout or of the project, or else the current directory.
    pub fn root(&self) -> &Path {
        self.location.root()
    }

    /// The directory with the directories of runs.
    pub fn runs_dir(&self) -> PathBuf {
        self.location.runs_dir()
    }

    /// The directory of the matrix and its locks.
    pub fn matrix_dir(&self) -> &Path {
        &self.catalog.dir
    }

    /// The matrix, with releases filled in from the lock.
    pub fn matrix(&self) -> &Matrix {
        &self.catalog.matrix
    }

    /// Where downloaded and unpacked kernels are kept.
    pub fn store(&self) -> &Store {
        &self.catalog.store
    }

    /// The entries that a selection names, in the order of the matrix.
    pub fn select(&self, selection: &Selection) -> Result<Chosen, SelectError> {
        select(&self.catalog.matrix, selection)
    }

    /// The matrix entry with this id.
    pub fn entry(&self, id: &str) -> Option<&Entry> {
        self.catalog.matrix.entries.iter().find(|entry| entry.id == id)
    }

    /// The lock entry, if it was resolved from the entry's current source.
    pub fn locked(&self, entry: &Entry) -> Option<LockedKernel> {
        self.catalog.locked(entry).cloned().or_else(|| self.first_use.get(entry))
    }

    /// The state of an entry, determined without asking a repository.
    pub fn state(&self, entry: &Entry) -> State {
        match (&entry.source, self.locked(entry)) {
            (Source::File(_) | Source::Host, _) => State::Local,
            (source, None) if source.is_locked() => State::Unresolved,
            (Source::Build(_), _) if self.built(entry).is_some() => State::Stored,
            (Source::Build(_), _) => State::Unbuilt,
            (_, Some(kernel)) if is_stored(&self.catalog.store, &kernel) => State::Stored,
            (_, _) => State::Locked,
        }
    }

    /// Looks an entry up in the lock. If it is missing, resolves it and adds it.
    pub fn resolve<'a>(
        &self,
        entry: &'a Entry,
        observer: &dyn Observer,
    ) -> Result<Resolved<'a>, Error> {
        let locked = match (entry.source.is_locked(), self.catalog.locks.get(entry)) {
            (false, _) => None,
            (true, Some(locked)) if locked.is_of(entry) => Some(locked.clone()),
            (true, Some(stale)) => {
                return Err(ErrorKind::stale_lock(entry, stale).of(&entry.id));
            }
            (true, None) => {
                let resolved =
                    self.first_use.resolve(&self.catalog, self.locked_only, entry, observer);
                Some(resolved.map_err(|kind| kind.of(&entry.id))?)
            }
        };
        Ok(Resolved { entry, locked })
    }

    /// The kernel of an entry that is built on this machine, if it was built before.
    pub fn built(&self, entry: &Entry) -> Option<Unpacked> {
        let packages = match entry.source.is_locked() {
            false => Vec::new(),
            true => stored(&self.catalog.store, &self.locked(entry)?)?,
        };
        self.recipe(entry, &packages)?.find(&self.catalog.store)
    }

    /// The build recipe of an entry that is built on this machine.
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
        Some(Recipe { id: &entry.id, arch: entry.arch, tree, config, btf, toolchain })
    }

    /// Downloads the locked files into the store, unless they are already there.
    pub fn fetch<'a>(
        &self,
        resolved: Resolved<'a>,
        observer: &dyn Observer,
    ) -> Result<Fetched<'a>, Error> {
        let Resolved { entry, locked } = resolved;
        let fetcher = self.catalog.fetcher(observer);
        let fetch = |kernel: LockedKernel| {
            let packages = fetcher.fetch(&kernel)?;
            Ok((kernel, packages))
        };
        let packages =
            locked.map(fetch).transpose().map_err(|kind: ErrorKind| kind.of(&entry.id))?;
        Ok(Fetched { entry, packages })
    }

    /// Makes a fetched kernel bootable, unless it was unpacked before.
    pub fn unpack(
        &self,
        fetched: &Fetched<'_>,
        observer: &dyn Observer,
    ) -> Result<Unpacked, Error> {
        let Fetched { entry, packages } = fetched;
        let id = &entry.id;
        let unpacked = match (&entry.source, packages) {
            (Source::File(source), _) => {
                local::file(&self.catalog.store, id, source).map_err(ErrorKind::from)
            }
            (Source::Host, _) => {
                local::host(&self.catalog.store, id, &self.machine).map_err(ErrorKind::from)
            }
            (Source::Build(_), packages) => {
                let packages = packages.as_ref().map_or(&[][..], |(_, packages)| packages);
                match self.recipe(entry, packages) {
                    Some(recipe) => {
                        let observe = |event: Event<'_>| observer.observe(id, event);
                        let build = || recipe.prepare(&self.catalog.store, &observe);
                        match build() {
                            Err(BuildError::ToolsMissing { missing_tools, .. })
                                if missing_tools.can_be_installed()
                                    && build_tools::install(&self.catalog.store, id, observer) =>
                            {
                                build()
                            }
                            other => other,
                        }
                        .map_err(ErrorKind::from)
                    }
                    None => unreachable!("a fetched source has a package or is on this machine"),
                }
            }
            (_, None) => unreachable!("an entry that is locked was fetched with its packages"),
            (_, Some((kernel, packages))) => {
                let digests = packages.iter().map(|package| package.object.digest());
                let key = unpack::key(&kernel.release, digests);
                if let Some(file) = self.catalog.store.damage(&key) {
                    observer
                        .notice(&format!("{id}: {file} in the store is damaged, making it again"));
                }
                let mut announce = || observer.observe(id, Event::Unpack);
                let (store, missing) = (&self.catalog.store, &kernel.missing[..]);
                unpack::unpack(store, id, &kernel.release, packages, missing, &mut announce)
                    .map_err(ErrorKind::from)
            }
        };
        let identified = unpacked.and_then(|kernel| {
            let path = kernel.image.fastest().to_owned();
            let read = identity::identified(&self.catalog.store, kernel);
            Ok(read.map_err(|source| FilesError::Read { path, source })?)
        });
        identified.map_err(|kind| kind.of(id))
    }

    /// Runs all phases from an entry to a bootable kernel.
    pub fn prepare(&self, entry: &Entry, observer: &dyn Observer) -> Result<Unpacked, Error> {
        let resolved = self.resolve(entry, observer);
        let fetched = resolved.and_then(|resolved| self.fetch(resolved, observer));
        let unpacked = fetched.and_then(|fetched| self.unpack(&fetched, observer));
        observer.observe(&entry.id, Event::Ready);
        let unpacked = unpacked?;
        if unpacked.arch != entry.arch {
            let (declared, found) = (entry.arch, unpacked.arch);
            return Err(ErrorKind::OtherArch { declared, found }.of(&entry.id));
        }
        Ok(unpacked.with_machine_of(entry))
    }

    /// Raw BTF for the mode `external`, from the BTF file of the entry.
    pub fn external_btf(&self, entry: &Entry, kernel: &Unpacked) -> Result<PathBuf, Error> {
        let (store, release) = (&self.catalog.store, kernel.release.as_str());
        let raw = || {
            Ok(match entry.btf_file.as_ref().ok_or(ErrorKind::NoBtfFile)? {
                BtfFile::File(path) => external_btf::raw(store, path, release)?,
                BtfFile::Archive(archive) => {
                    let architecture = entry.arch.btfhub();
                    btf_archive::raw(store, &self.catalog.client, archive, architecture, release)?
                }
            })
        };
        raw().map_err(|kind: ErrorKind| kind.of(&entry.id))
    }

    /// Asks the repositories what these entries resolve to now. Writes no lock, but keeps in the
    /// store what it had to download.
    pub fn update(&self, entries: &[Entry], observer: &dyn Observer) -> Update {
        update::update(&self.catalog, entries, observer)
    }

    /// Asks the repositories whether these entries resolve, without downloading a kernel.
    pub fn verify(&self, entries: &[Entry]) -> Verification {
        update::verify(&self.catalog, entries)
    }

    /// Writes the result of [`Kernels::update`] into the locks.
    pub fn write_locks(&self, update: &Update) -> Result<(), LockFileError> {
        update::write_locks(&self.catalog, update)
    }
}
