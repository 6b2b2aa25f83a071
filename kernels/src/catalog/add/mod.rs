//! Adding a kernel: from the user's request to an entry.
//!
//! [`Kernels::propose`] finds the kernel and builds an entry in memory only, so that the kernel can
//! be fetched and booted before anything is written. [`Proposal::write`] writes the entry and the
//! lock.

mod candidates;
mod neighbour;
mod text;

use std::{fs, io, path::PathBuf};

use kernlab_core::cell::BtfMode;

pub use self::{candidates::Request, neighbour::nearest};
use crate::paths::MATRIX_FILE;
use tempfile::TempPath;

use crate::{
    catalog::{
        Kernels,
        error::Error,
        lock::LockedKernel,
        lock_file::{LockFile, LockFileError},
        manifest::{self, OVERLAY_FILE},
        matrix::{
            Arch, Entry, FileSource, MEMORY_MIB, Origin, PROCESSORS, Release, Source, Tier,
            UrlSource,
        },
    },
    digest::Digest,
    document::DocumentError,
    error_chain::chain,
    progress::Observer,
    repository::{download::TransferError, update::Update},
    store::StoreError,
};

/// The largest file in bytes that is downloaded from a URL whose digest is not known.
const MAX_FILE: u64 = 1 << 30;

/// A kernel can't be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// No repository has the kernel.
    #[error("no repository of kernels.toml has {request}{}", listed(.tried))]
    NotFound {
        request: String,
        /// The sources that were queried, and the result of each.
        tried: Vec<String>,
    },
    /// Another entry has the id.
    #[error("the id {0:?} is taken: name another with --id")]
    Taken(String),
    /// The download from a URL failed.
    #[error("cannot download {url}")]
    Download { url: String, source: TransferError },
    /// The kernel can't be fetched or used.
    #[error(transparent)]
    Kernel(#[from] Error),
    /// The matrix or a lock would be malformed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The text written for the entry would parse as a different entry.
    #[error("the generated entry does not parse back to the same entry: write it into {0} by hand")]
    Misread(PathBuf),
    /// The lock can't be changed.
    #[error(transparent)]
    Lock(#[from] LockFileError),
    /// A file can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(tried: &[String]) -> String {
    tried.iter().map(|line| format!("\n  {line}")).collect()
}

/// What a user may choose for the new entry.
#[derive(Clone, Debug, Default)]
pub struct AddOptions {
    pub id: Option<String>,
    /// Why the kernel is in the matrix.
    pub why: Option<String>,
    /// Whether it runs when no kernel is selected.
    pub tier: Option<Tier>,
    /// Whether the entry goes into the overlay of this machine.
    pub local: bool,
}

/// An entry that is not written yet.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub entry: Entry,
    /// The kernels with the new entry added, for fetching and booting it.
    pub kernels: Kernels,
    /// The lock entry, if this kind of source is locked.
    locked: Option<LockedKernel>,
}

impl Kernels {
    /// Finds a kernel and proposes an entry for it. Queries repositories, or downloads the file at
    /// a URL. Writes only to the store.
    pub fn propose(
        &self,
        request: &Request,
        options: &AddOptions,
        observer: &dyn Observer,
    ) -> Result<Proposal, AddError> {
        if let Some(id) = options.id.as_ref().filter(|id| self.is_taken(id)) {
            return Err(AddError::Taken(id.clone()));
        }
        let local = options.local || matches!(request, Request::Image(_));
        let origin = if local { Origin::Local } else { Origin::Shared };
        let (source, locked) = match request {
            Request::Image(image) => {
                let image = std::path::absolute(image).unwrap_or_else(|_| image.clone());
                let source = FileSource { image, vmlinux: None, modules: None, config: None };
                (Source::File(source), None)
            }
            Request::Url(url) => {
                let source = Source::Url(self.address(url)?);
                let found = self.ask(vec![source], origin, observer);
                found.map_err(|tried| not_found(request, tried))?
            }
            Request::Package(_) | Request::Release(_) => {
                self.in_repositories(request, origin, observer)?
            }
        };
        let mut entry = blank(source, origin);
        let release = match &locked {
            Some(locked) => locked.release.clone(),
            None => self.prepare(&entry, observer)?.release,
        };
        entry.release = Release::of_uname(&release);
        entry.id = match &options.id {
            Some(id) => id.clone(),
            None => candidates::id(&entry, &release, &self.catalog.matrix, |id| self.is_taken(id)),
        };
        entry.tier = options.tier.unwrap_or(Tier::Extended);
        entry.why = match &options.why {
            Some(why) => why.clone(),
            None => neighbour::why(self, &entry),
        };
        let locked = locked.map(|locked| LockedKernel { id: entry.id.clone(), ..locked });
        let mut proposal = Proposal { kernels: self.clone(), locked, entry };
        proposal.settle();
        Ok(proposal)
    }

    fn is_taken(&self, id: &str) -> bool {
        self.catalog.matrix.entries.iter().any(|entry| entry.id == id)
    }

    /// Downloads the file at a URL to get its current digest.
    fn address(&self, url: &str) -> Result<UrlSource, AddError> {
        let content = self
            .catalog
            .client
            .get(url, MAX_FILE)
            .map_err(|source| AddError::Download { url: url.to_owned(), source })?;
        Ok(UrlSource { url: url.to_owned(), sha256: Digest::of(&content) })
    }

    /// The newest kernel of the first group whose sources have any.
    fn in_repositories(
        &self,
        request: &Request,
        origin: Origin,
        observer: &dyn Observer,
    ) -> Result<(Source, Option<LockedKernel>), AddError> {
        let mut tried = Vec::new();
        for group in candidates::sources(&self.catalog.matrix, request) {
            match self.ask(group, origin, observer) {
                Ok((_, Some(locked))) if !request.is_met_by(&locked) => {
                    tried.push(format!("{}: it resolves to {}", locked.source, locked.release));
                }
                Ok(found) => return Ok(found),
                Err(errors) => tried.extend(errors),
            }
        }
        Err(not_found(request, tried))
    }

    /// The newest kernel of several sources. If none has one, the error of each source.
    fn ask(
        &self,
        sources: Vec<Source>,
        origin: Origin,
        observer: &dyn Observer,
    ) -> Result<(Source, Option<LockedKernel>), Vec<String>> {
        let entries: Vec<Entry> = sources
            .into_iter()
            .enumerate()
            .map(|(number, source)| Entry {
                // Ids in the matrix contain no slash.
                id: format!("candidate/{number}"),
                ..blank(source, origin)
            })
            .collect();
        let update: Update = self.update(&entries, observer);
        let found = update.changes().into_iter().filter_map(|change| change.new);
        let newest = found
            .filter(|locked| entries.iter().any(|entry| entry.id == locked.id))
            .max_by_key(|locked| candidates::numbers(&locked.release));
        let Some(locked) = newest else {
            let said = update.unresolved.iter().filter_map(|unresolved| {
                let entry = entries.iter().find(|entry| entry.id == unresolved.id)?;
                Some(format!("{}: {}", entry.source, chain(&*unresolved.error)))
            });
            return Err(said.collect());
        };
        let source = entries.into_iter().find(|entry| entry.id == locked.id);
        source.map(|entry| (entry.source, Some(locked))).ok_or_else(Vec::new)
    }
}

fn not_found(request: &Request, tried: Vec<String>) -> AddError {
    AddError::NotFound { request: request.to_string(), tried }
}

fn blank(source: Source, origin: Origin) -> Entry {
    Entry {
        id: "candidate".to_owned(),
        release: None,
        arch: Arch::X86_64,
        tier: Tier::Extended,
        source,
        btf: vec![BtfMode::Embedded, BtfMode::Masked],
        btf_file: None,
        memory_mib: MEMORY_MIB,
        processors: PROCESSORS,
        why: String::new(),
        deviations: Vec::new(),
        origin,
    }
}

impl Proposal {
    /// Sets the BTF modes: with and without BTF if the image has BTF, otherwise only without.
    pub fn set_btf(&mut self, has_btf: bool) {
        self.entry.btf = match has_btf {
            true => vec![BtfMode::Embedded, BtfMode::Masked],
            false => vec![BtfMode::Absent],
        };
        self.settle();
    }

    /// Adds the entry to the proposal's kernels.
    fn settle(&mut self) {
        let Proposal { entry, kernels, locked } = self;
        kernels.catalog.matrix.entries.retain(|other| other.id != entry.id);
        kernels.catalog.matrix.entries.push(entry.clone());
        kernels.catalog.locks.of_mut(entry.origin).extend(locked.clone());
    }

    /// The file that the entry will be written to.
    pub fn file(&self) -> PathBuf {
        let name = match self.entry.origin {
            Origin::BuiltIn | Origin::Shared => MATRIX_FILE,
            Origin::Local | Origin::AdHoc => OVERLAY_FILE,
        };
        self.kernels.catalog.dir.join(name)
    }

    /// The entry as text for that file.
    pub fn text(&self) -> String {
        text::entry(&self.entry)
    }

    /// Writes the entry and the lock. The entry is written only if its text parses back to the same
    /// entry.
    pub fn write(&self) -> Result<(), AddError> {
        let (dir, file) = (&self.kernels.catalog.dir, self.file());
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => "schema = 1\n".to_owned(),
            other => other.map_err(|source| StoreError::io("read", &file, source))?,
        };
        let text = text::insert(&text, &self.entry);
        let scratch = file.with_extension("toml.new");
        fs::write(&scratch, &text).map_err(|source| StoreError::io("write", &scratch, source))?;
        // Removed when something goes wrong before it replaces the file.
        let scratch = TempPath::try_from_path(&scratch)
            .map_err(|source| StoreError::io("write", &scratch, source))?;
        let built_in = self.kernels.catalog.built_in.as_ref();
        let read = match self.entry.origin {
            Origin::Shared => manifest::read_matrix(built_in, &scratch, &dir.join(OVERLAY_FILE)),
            _ => manifest::read_matrix(built_in, &dir.join(MATRIX_FILE), &scratch),
        };
        let matrix = match read {
            Ok(matrix) if matrix.entries.contains(&self.entry) => matrix,
            other => return Err(other.map_or_else(AddError::from, |_| AddError::Misread(file))),
        };
        if let Some(locked) = &self.locked {
            let locked = LockedKernel { id: self.entry.id.clone(), ..locked.clone() };
            let lock = LockFile::of(dir, self.entry.origin);
            let lock = lock.open(&self.kernels.catalog.store, || {})?;
            lock.change(&matrix, |lock| lock.insert(locked))?;
        }
        scratch.persist(&file).map_err(|error| StoreError::io("write", &file, error.error))?;
        Ok(())
    }
}
