//! What is known of a kernel before anything is probed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    arch,
    btf::{Btf, Prototype},
    discovery::{Discovered, QUESTIONS},
    function::Function,
    outcome::Reason,
    plan::{
        CREATED_SINCE, FAULTABLE, FILE_BIRTHS, FILE_END, INOTIFY_HANDLERS, KSYS_WRITE,
        SOCK_ALLOC_FILE, SOCKET_TRACEPOINTS, SYNC_TRACEPOINTS, TRANSFER_ENDS, TRANSFERS,
        Unsupported,
    },
};

/// The operations of every file that is a socket: net/socket.c.
pub const SOCKET_FILE_OPS: &str = "socket_file_ops";

/// Everything that a plan may depend on.
#[derive(Clone, Debug)]
pub struct KernelFacts {
    /// `uname -r`.
    pub release: String,
    /// Addresses of those of [`wanted_symbols`] that the kernel has.
    pub symbols: BTreeMap<String, u64>,
    /// Those of [`wanted_tracepoints`] that the kernel has.
    pub tracepoints: BTreeSet<String>,
    /// Type information that user space can see, or was given.
    pub btf: Option<Btf>,
    /// The file that `btf` was read from, if it is not the kernel's own.
    pub btf_file: Option<PathBuf>,
    /// What a search of kernel memory found; none as long as there was none. It is made only where
    /// a plan needs it: [`KernelFacts::lacks_layout`].
    pub discovered: Option<Discovered>,
    /// Can a `BPF_MAP_TYPE_RINGBUF` be created?
    pub ring_buffer: Trial,
    /// May a kprobe program call `bpf_probe_read_kernel`?
    pub probe_read_kernel: Trial,
    /// Can programs be attached to functions in user space?
    pub uprobes: bool,
    /// Does the processor run with five-level page tables?
    pub five_level_paging: bool,
}

impl KernelFacts {
    /// Does the kernel's symbol table list `name`?
    pub fn has_symbol(&self, name: &str) -> bool {
        self.symbols.contains_key(name)
    }

    /// May a plan that was refused like this succeed once memory has been searched?
    pub fn lacks_layout(&self, refusal: &Unsupported) -> bool {
        refusal.reason == Reason::LayoutNotFound && self.discovered.is_none()
    }

    /// What `f_op` of a file points to that is a socket: from the symbol table, which lists data only
    /// with `CONFIG_KALLSYMS_ALL`, or as discovered.
    pub fn socket_file_ops(&self) -> Result<u64, Unsupported> {
        if let Some(&listed) = self.symbols.get(SOCKET_FILE_OPS) {
            return Ok(listed);
        }
        match &self.discovered {
            Some(discovered) => {
                discovered.socket_file_ops.ok_or_else(|| discovered.not_found(SOCKET_FILE_OPS))
            }
            None => Err(Unsupported::new(
                Reason::LayoutNotFound,
                format!(
                    "the symbol table does not list {SOCKET_FILE_OPS}, and memory was not searched \
                     for it"
                ),
            )),
        }
    }

    /// Where offsets and prototypes come from.
    pub fn layout_source(&self) -> LayoutSource {
        match (&self.btf, &self.discovered) {
            (Some(_), _) if self.btf_file.is_some() => LayoutSource::External,
            (Some(_), _) => LayoutSource::Btf,
            (None, Some(_)) => LayoutSource::Discovery,
            (None, None) => LayoutSource::Nowhere,
        }
    }

    /// The offset in bytes of `field` in `struct structure`: from BTF, or as discovered.
    pub fn offset(&self, structure: &str, field: &str) -> Result<u32, Unsupported> {
        let Some(btf) = &self.btf else {
            return match &self.discovered {
                Some(discovered) => discovered.offset(structure, field),
                None => Err(not_searched(&format!("where struct {structure} has {field}"))),
            };
        };
        btf.member_offset(structure, field).ok_or_else(|| {
            Unsupported::new(
                Reason::MissingField,
                format!("struct {structure} has no field {field}"),
            )
        })
    }

    /// The parameters of a kernel function: from BTF, or as far as they were discovered.
    pub fn prototype(&self, function: &str) -> Result<Prototype, Unsupported> {
        match (&self.btf, &self.discovered) {
            (Some(btf), _) => btf.prototype(function).ok_or_else(|| {
                let message = format!("BTF does not describe {function}");
                Unsupported::new(Reason::MissingBtf, message)
            }),
            (None, Some(discovered)) => match discovered.prototypes.get(function) {
                Some(prototype) => Ok(prototype.clone()),
                None => Err(discovered.not_found(function)),
            },
            (None, None) => Err(not_searched(&format!("what the arguments of {function} are"))),
        }
    }
}

/// Where a plan's offsets and prototypes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutSource {
    /// From the kernel's type information.
    Btf,
    /// From type information in a file, that a search of the kernel's memory agrees with.
    External,
    /// From a search of its memory.
    Discovery,
    /// There is no type information, and the plan needs none that differs between kernels.
    Nowhere,
}

/// There is no BTF, but a search might tell.
fn not_searched(what: &str) -> Unsupported {
    let message = format!("there is no BTF, and memory was not searched for {what}");
    Unsupported::new(Reason::LayoutNotFound, message)
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

/// The tracepoints that any plan asks about: those of system calls, by name, that not every kernel
/// has.
pub fn wanted_tracepoints() -> impl Iterator<Item = &'static str> {
    SYNC_TRACEPOINTS
        .into_iter()
        .chain(SOCKET_TRACEPOINTS)
        .chain(TRANSFER_ENDS.map(|(_, name)| name))
}

/// The symbols that any plan or event asks about. The rest of `/proc/kallsyms` is not kept.
pub fn wanted_symbols() -> impl Iterator<Item = &'static str> {
    let functions = Function::ALL.iter().flat_map(|function| {
        std::iter::once(function.name).chain(function.pointees.iter().copied())
    });
    let told = QUESTIONS.iter().map(|question| question.function);
    INOTIFY_HANDLERS
        .into_iter()
        .chain(told)
        .chain([FAULTABLE, KSYS_WRITE, SOCK_ALLOC_FILE, SOCKET_FILE_OPS])
        .chain(arch::WRITING_CALLS)
        .chain(TRANSFERS.map(|(_, function)| function))
        .chain(FILE_BIRTHS)
        .chain([CREATED_SINCE, FILE_END])
        .chain(functions)
}
