//! A dossier: what is known of a kernel without booting it again.
//!
//! It holds what plans may ask for, so that what a tracer will do on a kernel can be told on any
//! machine, in microseconds. Addresses are not in it: no plan decides anything by them.

#[cfg(feature = "diff")]
pub mod availability;
mod dependencies;
#[cfg(feature = "diff")]
pub mod diff;
mod kallsyms;
#[cfg(feature = "diff")]
pub mod missing;
mod offered;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

pub use self::{
    dependencies::{Dependencies, dependencies_of, dependencies_of_scenario},
    kallsyms::{function_names, pick_symbols},
    offered::Offered,
    state::SymbolState,
};
use crate::{
    arch::Arch,
    btf::{Extract, Types},
    discovery::Discovered,
    facts::{KernelFacts, ProbeResult, QueryLog},
    plan::{ProbePlan, Unsupported, plan_with_search},
    record::Decision,
    scenario::Scenario,
    tracepoint::TracepointField,
    tracer::{wanted_symbols, wanted_tracepoints, wanted_types},
};

/// The version of a dossier's JSON. A dossier of another one is taken again.
pub const SCHEMA: u32 = 1;

/// What is known of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dossier {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// Does the kernel run with the larger of its address spaces: five-level page tables on x86-64, 52
    /// bits on arm64?
    pub five_level_paging: bool,
    /// What was tried.
    pub features: Features,
    /// Those of the wanted symbols that the kernel itself has, and what the compiler made of them: by
    /// name, `vfs_open` and `vfs_open.cold` for example, the letters of all their entries in
    /// `/proc/kallsyms`. Two letters are two functions of one name.
    pub symbols: BTreeMap<String, String>,
    /// The wanted tracepoints of system calls that the kernel has, with their fields.
    pub tracepoints: BTreeMap<String, Vec<TracepointField>>,
    /// The wanted types, if the kernel has BTF.
    pub types: Option<Extract>,
    /// What a search of its memory finds.
    pub discovered: Discovered,
    /// The wanted options it was built with, if the configuration is at hand: `y`, `m`, a value, or
    /// `n`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, String>>,
}

/// What was tried, never inferred from a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Can a `BPF_MAP_TYPE_RINGBUF` be created?
    pub ring_buffer: ProbeResult,
    /// May a kprobe program call `bpf_probe_read_kernel`?
    pub probe_read_kernel: ProbeResult,
    /// Can programs be attached to functions in user space?
    pub uprobes: bool,
    /// Can a program of type `tracing` be loaded for the entry of a function, and attached there? Some
    /// kernels only do the first. None if there is no BTF, without which there are no such programs, or if
    /// the dossier is older than the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fentry: Option<ProbeResult>,
    /// How large its pages are, in bytes, if it was asked: on arm64 they may be larger than 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
    /// Is the kernel's memory there as a file, `/proc/kcore`? None if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kcore: Option<bool>,
    /// Helpers by name, without `bpf_`: may a kprobe program call them?
    pub helpers: BTreeMap<String, ProbeResult>,
    /// Map types by name, `ringbuf` for example: can such a map be created?
    pub maps: BTreeMap<String, ProbeResult>,
}

/// What a dossier covers. A dossier with another scope is taken again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    symbols: BTreeSet<&'static str>,
    tracepoints: BTreeSet<&'static str>,
    types: crate::btf::Wanted,
    helpers: &'static [(u32, &'static str)],
    maps: &'static [(u32, &'static str)],
    options: &'static [&'static str],
}

impl Scope {
    /// What dossiers of kernels of this architecture have today.
    pub fn of(arch: Arch) -> Self {
        Scope {
            symbols: wanted_symbols(arch).collect(),
            tracepoints: wanted_tracepoints().collect(),
            types: wanted_types(arch),
            helpers: crate::bpf::HELPERS,
            maps: crate::bpf::MAP_TYPES,
            options: crate::config::OPTIONS,
        }
    }
}

/// What the tracer program hands to the host, as JSON, for a dossier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// The dossier, but for the configuration, which guests don't have.
    pub dossier: Dossier,
    /// How to know the kernel's BTF; the bytes are in its image.
    pub btf: Option<BtfIdentity>,
    /// What the search of memory took, in milliseconds.
    pub search_ms: u64,
}

/// Tells one BTF from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BtfIdentity {
    /// Bytes of `/sys/kernel/btf/vmlinux`.
    pub length: u64,
    /// Their CRC-32.
    pub checksum: u32,
}

/// A dossier that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no JSON, or not a dossier.
    #[error("not a dossier")]
    Malformed(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("a dossier of schema {0}, expected {SCHEMA}")]
    Schema(u32),
}

impl Dossier {
    /// Reads a dossier's JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let Version { schema } = serde_json::from_slice(json)?;
        if schema != SCHEMA {
            return Err(ReadError::Schema(schema));
        }
        Ok(serde_json::from_slice(json)?)
    }

    /// The kernel's architecture: x86-64 if the lab doesn't know what `uname -m` printed.
    pub fn arch(&self) -> Arch {
        Arch::of_machine(&self.machine).unwrap_or_default()
    }

    /// Without what is only for people to read: names, types, offsets and answers are left.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        for finding in self.discovered.fields.values_mut() {
            finding.how.clear();
        }
        self
    }

    /// The facts that a tracer program in a guest begins with, but for addresses: each symbol has one
    /// of its own that is not the kernel's.
    pub fn facts(&self, types: GivenTypes<'_>) -> KernelFacts {
        let wanted: BTreeSet<&str> = wanted_symbols(self.arch()).collect();
        let listed = self.symbols.keys().filter(|name| wanted.contains(name.as_str()));
        let (btf, btf_file) = match types {
            GivenTypes::Own => (self.types.clone(), None),
            GivenTypes::None => (None, None),
            GivenTypes::File(extract) => (Some(extract.clone()), Some(PathBuf::new())),
        };
        KernelFacts {
            release: self.release.clone(),
            arch: self.arch(),
            symbols: listed.cloned().zip(1..).collect(),
            tracepoints: self.tracepoints.keys().cloned().collect(),
            btf: btf.map(Types::Extract),
            btf_file,
            discovered: None,
            ring_buffer: self.features.ring_buffer,
            probe_read_kernel: self.features.probe_read_kernel,
            uprobes: self.features.uprobes,
            kcore: self.features.kcore == Some(true),
            five_level_paging: self.five_level_paging,
            asked: QueryLog::default(),
        }
    }

    /// The plan that the tracer program will make on this kernel, but for addresses, and the facts that
    /// it will be made from.
    pub fn plan(
        &self,
        scenario: &Scenario,
        types: GivenTypes<'_>,
    ) -> (Result<ProbePlan, Unsupported>, KernelFacts) {
        let mut facts = self.facts(types);
        let planned = plan_with_search(scenario, &mut facts, |_, asked| self.found(asked));
        (planned, facts)
    }

    /// What the tracer program will decide on this kernel.
    pub fn predict(&self, scenario: &Scenario, types: GivenTypes<'_>) -> Decision {
        let (planned, facts) = self.plan(scenario, types);
        Decision::of(&planned, &facts)
    }

    /// What a search finds that is made for the parameters of these functions only.
    fn found(&self, asked: &[&str]) -> Discovered {
        let mut found = self.discovered.clone();
        found.prototypes.retain(|function, _| asked.contains(&function.as_str()));
        found
    }
}

/// Where a tracer program has type information from.
#[derive(Clone, Copy, Debug)]
pub enum GivenTypes<'a> {
    /// From the kernel, if it has any.
    Own,
    /// It has none: the kernel's is hidden.
    None,
    /// From a file.
    File(&'a Extract),
}
