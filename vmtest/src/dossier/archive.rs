//! Dossiers in the store, with the files they were taken from.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs::{self, File},
    path::Path,
};

use kernlab_core::{
    btf::{Btf, Types},
    config,
    discovery::LayoutReport,
    dossier::{BtfIdentity, Dossier, Examination, Offered, SCHEMA, Scope, diff::Whole},
};
use object::{Object as _, ObjectSection as _};

use super::{DossierError, LONG_TIMEOUT, ask, ask_for_json, invalid};
use crate::host_processor;
use kernlab_kernels::{Digest, Entry, Kernels, Observer, StoreError, Unpacked};

/// Part of the names of dossiers. Raise it when dossiers of the same scope get other content.
const VERSION: u32 = 4;

const EXAMINATION: &str = "examination.json";

/// How to examine a kernel.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// The directory of the guest programs.
    pub guest: &'a Path,
    /// Boot a guest instead of restoring a saved one.
    pub cold: bool,
    /// Take a new dossier, even if there is one.
    pub refresh: bool,
}

/// A dossier, with access to everything else that kernels are compared by.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The dossier.
    pub dossier: Dossier,
    /// How long the search of memory took, in milliseconds.
    pub search_ms: u64,
    btf: Option<BtfIdentity>,
    kernel: Unpacked,
    image: Digest,
}

/// The dossier of a kernel, from the store or taken now. It depends on the image, on the scope of dossiers, and
/// on whether guests may have five-level page tables; so changes to tracers never make it stale.
pub fn of(
    kernels: &Kernels,
    entry: &Entry,
    how: How<'_>,
    observer: &dyn Observer,
) -> Result<Archive, DossierError> {
    of_kernel(kernels, kernels.prepare(entry, observer)?, how, observer)
}

/// The dossier of a prepared kernel.
pub fn of_kernel(
    kernels: &Kernels,
    kernel: Unpacked,
    how: How<'_>,
    observer: &dyn Observer,
) -> Result<Archive, DossierError> {
    let path = kernel.image.fastest();
    let image = File::open(path).and_then(|mut file| Digest::of_reader(&mut file));
    let (image, _) = image.map_err(|source| unreadable(path, source))?;
    let scope =
        serde_json::to_string(&Scope::of(kernel.arch)).map_err(|error| unreadable(path, error))?;
    let levels = if host_processor::has_five_level_paging() { 5 } else { 4 };
    let key = format!("dossier {VERSION} {image} {scope} {levels}");
    let key = Digest::of(key.as_bytes()).to_string();

    let refused = Cell::new(how.refresh);
    let whole = |dir: &Path| if refused.get() { None } else { read(dir) };
    let (_, examination) = kernels.store().artifact(&key, whole, |scratch| {
        refused.set(false);
        let examination: Examination = ask_for_json("examine", kernels, &kernel, how, observer)?;
        let json = serde_json::to_vec(&examination).map_err(|error| unreadable(path, error))?;
        write(&scratch.join(EXAMINATION), &json)
    })?;
    let Examination { mut dossier, btf, search_ms } = examination;
    if let Some(path) = &kernel.config {
        let text = fs::read(path).map_err(|source| unreadable(path, source))?;
        dossier.config = Some(config::options(&String::from_utf8_lossy(&text)));
    }
    Ok(Archive { dossier, search_ms, btf, kernel, image })
}

/// Reads the directory of a dossier, if it is complete.
fn read(dir: &Path) -> Option<Examination> {
    let json = fs::read(dir.join(EXAMINATION)).ok()?;
    let examination: Examination = serde_json::from_slice(&json).ok()?;
    (examination.dossier.schema == SCHEMA).then_some(examination)
}

/// The BTF in an ELF image, if it is the BTF that the guest saw.
fn embedded_btf(image: &Path, identity: &BtfIdentity) -> Option<Vec<u8>> {
    let bytes = fs::read(image).ok()?;
    let elf = object::File::parse(&*bytes).ok()?;
    let btf = elf.section_by_name(".BTF")?.data().ok()?;
    let same = btf.len() as u64 == identity.length && crc32fast::hash(btf) == identity.checksum;
    same.then(|| btf.to_vec())
}

impl Archive {
    /// The configuration that the kernel was built with, if it is available.
    pub fn config_file(&self) -> Option<&Path> {
        self.kernel.config.as_deref()
    }

    /// The result of the memory search, compared with BTF.
    pub fn layout(&self) -> LayoutReport {
        let types = self.dossier.types.clone().map(Types::Extract);
        let discovered = self.dossier.discovered.clone();
        LayoutReport::new(&self.dossier.release, types.as_ref(), discovered, self.search_ms)
    }

    /// All types and functions of the kernel, and what it offers. What is not in the image comes from
    /// a guest, once.
    pub fn whole(
        &self,
        kernels: &Kernels,
        how: How<'_>,
        observer: &dyn Observer,
    ) -> Result<Whole, DossierError> {
        let function_names = self.function_names(kernels, how, observer)?;
        let types = match &self.btf {
            None => None,
            Some(identity) => {
                let bytes = match embedded_btf(self.kernel.image.fastest(), identity) {
                    Some(bytes) => bytes,
                    None => self.answer("btf", "", kernels, how, observer)?,
                };
                let btf = Btf::parse(bytes)
                    .map_err(|error| DossierError::Btf(self.dossier.release.clone(), error))?;
                Some(btf.listing())
            }
        };
        let offered = self.answer("offers", &Offered::known(), kernels, how, observer)?;
        let offered = serde_json::from_slice(&offered).map_err(|error| invalid(&error))?;
        Ok(Whole { types, function_names, offered })
    }

    /// The names of all functions of the kernel, as its symbol table has them.
    pub fn function_names(
        &self,
        kernels: &Kernels,
        how: How<'_>,
        observer: &dyn Observer,
    ) -> Result<BTreeSet<String>, DossierError> {
        let names = self.answer("functions", "", kernels, how, observer)?;
        Ok(String::from_utf8_lossy(&names).lines().map(str::to_owned).collect())
    }

    /// The tracer program's answer to a question about `scope`; it is long and never changes, so it is stored.
    fn answer(
        &self,
        question: &str,
        scope: &str,
        kernels: &Kernels,
        how: How<'_>,
        observer: &dyn Observer,
    ) -> Result<Vec<u8>, DossierError> {
        let key = format!("{question} {VERSION} {scope} {}", self.image);
        let key = Digest::of(key.as_bytes()).to_string();
        let whole = |dir: &Path| fs::read(dir.join(question)).ok();
        let (_, answer) = kernels.store().artifact(&key, whole, |scratch| {
            let answer = ask(question, LONG_TIMEOUT, kernels, &self.kernel, how, observer)?;
            write(&scratch.join(question), &answer)
        })?;
        Ok(answer)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DossierError> {
    fs::write(path, bytes).map_err(|source| StoreError::io("write", path, source).into())
}

fn unreadable(path: &Path, source: impl Into<std::io::Error>) -> DossierError {
    DossierError::Read { path: path.display().to_string(), source: source.into() }
}
