//! Which entries of the matrix a selection names.

use crate::paths::program;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use globset::Glob;

use crate::catalog::matrix::{
    Arch, Entry, FileSource, MEMORY_MIB, Matrix, Origin, PROCESSORS, Release, Source, Tier,
};
use crate::{
    image::{is_arm64, vmlinux::is_elf},
    similar::similar,
};
use kernlab_core::cell::BtfMode;

/// A selection that names no kernel.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No entry matches.
    #[error(
        "no kernel matches {selector:?}{}; `{} kernels list` shows all",
        suggest(.near), program()
    )]
    Unknown {
        selector: String,
        /// Similar ids and releases.
        near: Vec<String>,
    },
    /// An invalid glob.
    #[error("{selector:?} is not a glob: {message}")]
    BadGlob { selector: String, message: String },
    /// A path where there is no file.
    #[error("there is no kernel image {0:?}: a name with a slash is the path of an image")]
    NoSuchFile(String),
    /// A path of a file that is something else.
    #[error(
        "{0:?} is not a kernel image: it is neither a bzImage nor an ELF file nor an Image of arm64"
    )]
    NotAnImage(String),
    /// The matrix has no entry of the tier.
    #[error("no kernel{} is in the {tier} tier: name one with --kernel", of_arch(.arch))]
    NothingOfTier {
        tier: &'static str,
        /// If only its entries are meant.
        arch: Option<Arch>,
    },
    /// What is selected is for other architectures.
    #[error("{selector:?} selects no kernel for {arch}")]
    NotOfArch { selector: String, arch: Arch },
    /// A release has no entry of the tier.
    #[error("no kernel of {release} is in the {tier} tier: `--tier all` selects all tiers")]
    NotOfTier { release: String, tier: &'static str },
}

fn of_arch(arch: &Option<Arch>) -> String {
    arch.map(|arch| format!(" for {arch}")).unwrap_or_default()
}

fn suggest(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!(": did you mean {}?", near.join(" or ")),
    }
}

/// Which kernels to use: their names, and which tiers a release stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Each is `all` (of the architectures that are meant), an id, a glob of ids, a release or its beginning (`6` means all of 6.x),
    /// `host`, or the path of an image. No selectors mean the default tier.
    pub selectors: Vec<String>,
    /// Which entries a release or an empty selection stands for.
    pub tiers: Tiers,
    /// The architectures that are meant.
    pub archs: Archs,
}

/// Kernels of which architectures are selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Archs {
    /// Those of this machine's. Where a selector matches none of them, all that it matches.
    #[default]
    Host,
    /// Those of this architecture.
    Only(Arch),
    /// All.
    All,
}

/// Which entries of a release are selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiers {
    /// Those of the default tier, or all if the architecture has none of the release there.
    #[default]
    Preferred,
    /// Those of this tier.
    Only(Tier),
    /// All.
    All,
}

/// The result of a selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Each entry once: those of the matrix in its order, then those outside of it.
    pub entries: Vec<Entry>,
    /// Entries of a selected release that are outside the selected tier.
    pub left_out: Vec<String>,
    /// Entries that selectors match, but that are for another architecture than this machine's.
    pub foreign: Vec<String>,
}

impl Selection {
    /// A selection from all tiers.
    pub fn of(selectors: &[String]) -> Self {
        Selection { selectors: selectors.to_owned(), tiers: Tiers::All, archs: Archs::Host }
    }
}

impl Chosen {
    /// Notices of one line about the entries that were left out.
    pub fn notices(&self) -> impl Iterator<Item = String> {
        let foreign = "--arch all includes all architectures";
        let others = "--tier all includes all tiers of a release";
        let left_out = [(&self.foreign, foreign), (&self.left_out, others)].into_iter();
        let left_out = left_out.filter(|(ids, _)| !ids.is_empty());
        left_out.map(|(ids, remedy)| format!("left out: {}; {remedy}", ids.join(", ")))
    }
}

/// The entries that a selection names, each once: those of the matrix in its order, then paths and
/// `host`.
pub fn select(matrix: &Matrix, selection: &Selection) -> Result<Chosen, SelectError> {
    let Selection { selectors, tiers, archs } = selection;
    if selectors.is_empty() {
        let entries = of_tiers(matrix, *tiers, *archs)?;
        let entries = entries.into_iter().map(|position| matrix.entries[position].clone());
        return Ok(Chosen {
            entries: entries.collect(),
            left_out: Vec::new(),
            foreign: Vec::new(),
        });
    }
    let mut chosen = BTreeSet::new();
    let mut left_out = BTreeSet::new();
    let mut foreign = BTreeSet::new();
    let mut added = Vec::<Entry>::new();
    for selector in selectors {
        if selector == DEFAULT {
            chosen.extend(of_tiers(matrix, Tiers::Only(Tier::Default), *archs)?);
            continue;
        }
        match one(matrix, selector)? {
            Selected::Entries(positions) => {
                let (meant, others) = archs.of_selector(matrix, positions, selector)?;
                chosen.extend(meant);
                foreign.extend(others);
            }
            Selected::Release(positions) => {
                let (positions, of_others) = archs.of_selector(matrix, positions, selector)?;
                foreign.extend(tiers.divide(matrix, of_others).0);
                let (meant, others) = tiers.divide(matrix, positions);
                if meant.is_empty() {
                    let (release, tier) = (selector.clone(), tiers.name());
                    return Err(SelectError::NotOfTier { release, tier });
                }
                chosen.extend(meant);
                left_out.extend(others);
            }
            Selected::Added(entry) if added.iter().any(|other| other.source == entry.source) => {}
            Selected::Added(entry) if matches!(archs, Archs::Only(arch) if *arch != entry.arch) => {
                let Archs::Only(arch) = *archs else { continue };
                return Err(SelectError::NotOfArch { selector: selector.clone(), arch });
            }
            Selected::Added(mut entry) => {
                let taken =
                    |id: &str| matrix.entries.iter().chain(&added).any(|other| other.id == id);
                let plain = entry.id.clone();
                let mut number = 2;
                while taken(&entry.id) {
                    entry.id = format!("{plain}-{number}");
                    number += 1;
                }
                added.push(*entry);
            }
        }
    }
    let not_chosen = |positions: &BTreeSet<usize>| -> Vec<String> {
        let others = positions.difference(&chosen);
        others.map(|&position| matrix.entries[position].id.clone()).collect()
    };
    let (left_out, foreign) = (not_chosen(&left_out), not_chosen(&foreign));
    let chosen = chosen.into_iter().map(|position| matrix.entries[position].clone());
    Ok(Chosen { entries: chosen.chain(added).collect(), left_out, foreign })
}

/// Selects the default tier.
const DEFAULT: &str = "default";

/// The positions of all entries of these tiers; by preference, those of the default tier.
fn of_tiers(matrix: &Matrix, tiers: Tiers, archs: Archs) -> Result<Vec<usize>, SelectError> {
    let is_of_tier = |position: &usize| match tiers {
        Tiers::Preferred => matrix.entries[*position].tier == Tier::Default,
        Tiers::Only(tier) => matrix.entries[*position].tier == tier,
        Tiers::All => true,
    };
    let of_arch = archs.pick(matrix, (0..matrix.entries.len()).collect());
    let positions: Vec<usize> = of_arch.into_iter().filter(is_of_tier).collect();
    if positions.is_empty() {
        let arch = match archs {
            Archs::Only(arch) => Some(arch),
            Archs::Host | Archs::All => None,
        };
        return Err(SelectError::NothingOfTier { tier: tiers.name(), arch });
    }
    Ok(positions)
}

impl Archs {
    /// Those of some positions in the matrix that are meant.
    fn pick(self, matrix: &Matrix, positions: Vec<usize>) -> Vec<usize> {
        let of = |arch: Arch| -> Vec<usize> {
            let is_of_arch = |position: &usize| matrix.entries[*position].arch == arch;
            positions.iter().copied().filter(is_of_arch).collect()
        };
        match self {
            Archs::All => positions,
            Archs::Only(arch) => of(arch),
            Archs::Host => match of(Arch::of_this_program().unwrap_or_default()) {
                none if none.is_empty() => positions,
                of_host => of_host,
            },
        }
    }

    /// The same, for what a selector matches; and those that are left out because no architecture was named.
    fn of_selector(
        self,
        matrix: &Matrix,
        positions: Vec<usize>,
        selector: &str,
    ) -> Result<(Vec<usize>, Vec<usize>), SelectError> {
        let picked = self.pick(matrix, positions.clone());
        match self {
            Archs::Only(arch) if picked.is_empty() => {
                Err(SelectError::NotOfArch { selector: selector.to_owned(), arch })
            }
            Archs::Only(_) | Archs::All => Ok((picked, Vec::new())),
            Archs::Host => {
                let is_other = |position: &usize| !picked.contains(position);
                let others = positions.into_iter().filter(is_other).collect();
                Ok((picked, others))
            }
        }
    }
}

impl Tiers {
    fn name(self) -> &'static str {
        match self {
            Tiers::Preferred => Tier::Default.name(),
            Tiers::Only(tier) => tier.name(),
            Tiers::All => "any",
        }
    }

    /// Splits entries of releases, given by their positions, into the selected ones and the others.
    fn divide(self, matrix: &Matrix, positions: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
        let entry = |position: &usize| &matrix.entries[*position];
        let release = |entry: &Entry| (entry.arch, entry.release.clone());
        let defaults = positions.iter().map(entry).filter(|entry| entry.tier == Tier::Default);
        let with_default: BTreeSet<_> = defaults.map(release).collect();
        positions.iter().partition(|position| match self {
            Tiers::All => true,
            Tiers::Only(tier) => entry(position).tier == tier,
            Tiers::Preferred => {
                let entry = entry(position);
                entry.tier == Tier::Default || !with_default.contains(&release(entry))
            }
        })
    }
}

enum Selected {
    /// Positions in the matrix of the entries of a release.
    Release(Vec<usize>),
    /// Positions in the matrix.
    Entries(Vec<usize>),
    /// An entry that is not in the matrix.
    Added(Box<Entry>),
}

fn one(matrix: &Matrix, selector: &str) -> Result<Selected, SelectError> {
    let matching = |matches: &dyn Fn(&Entry) -> bool| -> Vec<usize> {
        let entries = matrix.entries.iter().enumerate();
        entries.filter(|(_, entry)| matches(entry)).map(|(position, _)| position).collect()
    };
    let found = match selector.parse::<Release>() {
        _ if selector == "all" => matching(&|_| true),
        Ok(series) => {
            let of_series =
                matching(&|entry| entry.release.as_ref().is_some_and(|r| r.is_within(&series)));
            if !of_series.is_empty() {
                return Ok(Selected::Release(of_series));
            }
            of_series
        }
        Err(_) if selector.contains(['*', '?', '[', '{']) => {
            let glob = Glob::new(selector).map_err(|error| SelectError::BadGlob {
                selector: selector.to_owned(),
                message: error.kind().to_string(),
            })?;
            let glob = glob.compile_matcher();
            matching(&|entry| glob.is_match(&entry.id))
        }
        Err(_) => matching(&|entry| entry.id == selector),
    };
    if !found.is_empty() {
        return Ok(Selected::Entries(found));
    }
    if selector == "host" {
        let arch = Arch::of_this_program().unwrap_or_default();
        let entry = Entry { arch, ..ad_hoc("host".to_owned(), Source::Host, "the running kernel") };
        return Ok(Selected::Added(Box::new(entry)));
    }
    let path = Path::new(selector);
    if path.is_file() {
        if is_something_else(path) {
            return Err(SelectError::NotAnImage(selector.to_owned()));
        }
        return Ok(Selected::Added(Box::new(image_file(path))));
    }
    if selector.contains('/') {
        return Err(SelectError::NoSuchFile(selector.to_owned()));
    }
    Err(SelectError::Unknown { selector: selector.to_owned(), near: near(matrix, selector) })
}

impl Entry {
    /// What selects exactly this entry: its id, or the path of an image that is in no matrix.
    pub fn selector(&self) -> String {
        match &self.source {
            Source::File(file) if self.origin == Origin::AdHoc => file.image.display().to_string(),
            _ => self.id.clone(),
        }
    }
}

/// Whether a file begins neither like a vmlinux nor like a bzImage nor like an image of arm64. What can't
/// be read is told with its reason when the image is used.
fn is_something_else(path: &Path) -> bool {
    beginning(path).is_ok_and(|beginning| {
        !is_elf(&beginning)
            && !is_arm64(&beginning)
            && beginning.get(BOOT_HEADER).is_none_or(|magic| magic != b"HdrS")
    })
}

fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut beginning = Vec::new();
    File::open(path)?.take(BOOT_HEADER.end as u64).read_to_end(&mut beginning)?;
    Ok(beginning)
}

/// Where a bzImage has `HdrS`: `Documentation/arch/x86/boot.rst`.
const BOOT_HEADER: std::ops::Range<usize> = 0x202..0x206;

/// An entry for an image given by its path.
fn image_file(path: &Path) -> Entry {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._+-".contains(c);
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let source = FileSource {
        image: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        vmlinux: None,
        modules: None,
        config: None,
    };
    let arch = match beginning(path).is_ok_and(|beginning| is_arm64(&beginning)) {
        true => Arch::Aarch64,
        false => Arch::X86_64,
    };
    Entry { arch, ..ad_hoc(format!("file-{name}"), Source::File(source), "an image file") }
}

fn ad_hoc(id: String, source: Source, why: &str) -> Entry {
    Entry {
        id,
        release: None,
        arch: Arch::X86_64,
        tier: Tier::Extended,
        source,
        btf: vec![BtfMode::Embedded],
        btf_file: None,
        memory_mib: MEMORY_MIB,
        processors: PROCESSORS,
        why: why.to_owned(),
        deviations: Vec::new(),
        origin: Origin::AdHoc,
    }
}

/// Ids and releases similar to a selector, the most similar first.
fn near(matrix: &Matrix, selector: &str) -> Vec<String> {
    let names = matrix.entries.iter().flat_map(|entry| {
        let release = entry.release.as_ref().map(ToString::to_string);
        release.into_iter().chain([entry.id.clone()])
    });
    similar(selector, names)
}

#[cfg(test)]
mod tests;
