//! What is known of a kernel before anything is probed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{btf::Btf, function::Function, plan::INOTIFY_HANDLERS};

/// Everything that a plan may depend on.
#[derive(Clone, Debug)]
pub struct KernelFacts {
    /// `uname -r`.
    pub release: String,
    /// Addresses of those of [`wanted_symbols`] that the kernel has.
    pub symbols: BTreeMap<String, u64>,
    /// Type information that user space can see.
    pub btf: Option<Btf>,
    /// Can a `BPF_MAP_TYPE_RINGBUF` be created?
    pub ring_buffer: Trial,
    /// May a kprobe program call `bpf_probe_read_kernel`?
    pub probe_read_kernel: Trial,
    /// Does the processor run with five-level page tables?
    pub five_level_paging: bool,
}

impl KernelFacts {
    /// Does the kernel's symbol table list `name`?
    pub fn has_symbol(&self, name: &str) -> bool {
        self.symbols.contains_key(name)
    }
}

/// The answer to a feature probe. Features are tried, never inferred from a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// It worked.
    Yes,
    /// The kernel refused it as something that it doesn't know.
    No,
    /// It failed for another reason, with this errno: nothing is known.
    CouldNotTell(i32),
}

impl Trial {
    /// Only a clear yes is one.
    pub fn is_yes(self) -> bool {
        self == Trial::Yes
    }
}

/// The symbols that any plan or event asks about. The rest of `/proc/kallsyms` is not kept.
pub fn wanted_symbols() -> impl Iterator<Item = &'static str> {
    let functions = Function::ALL.iter().flat_map(|function| {
        std::iter::once(function.name).chain(function.pointees.iter().copied())
    });
    INOTIFY_HANDLERS.into_iter().chain(functions)
}
