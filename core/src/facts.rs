//! What is known of a kernel before anything is probed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    arch::Arch,
    btf::{Prototype, Types},
    discovery::Discovered,
    outcome::Reason,
    unsupported::Unsupported,
};

/// The operations of every file that is a socket: net/socket.c.
pub const SOCKET_FILE_OPS: &str = "socket_file_ops";

/// Everything that a plan may depend on.
#[derive(Clone, Debug)]
pub struct KernelFacts {
    /// `uname -r`.
    pub release: String,
    /// The kernel's architecture.
    pub arch: Arch,
    /// Addresses of those of `tracer::wanted_symbols` that the kernel has.
    pub symbols: BTreeMap<String, u64>,
    /// Those of `tracer::wanted_tracepoints` that the kernel has.
    pub tracepoints: BTreeSet<String>,
    /// Type information that user space can see, or was given.
    pub btf: Option<Types>,
    /// The file that `btf` was read from, if it is not the kernel's own.
    pub btf_file: Option<PathBuf>,
    /// What a search of kernel memory found; none as long as there was none. It is made only where
    /// a plan needs it: [`KernelFacts::lacks_layout`].
    pub discovered: Option<Discovered>,
    /// Can a `BPF_MAP_TYPE_RINGBUF` be created?
    pub ring_buffer: ProbeResult,
    /// May a kprobe program call `bpf_probe_read_kernel`?
    pub probe_read_kernel: ProbeResult,
    /// Can programs be attached to functions in user space?
    pub uprobes: bool,
    /// Is the kernel's memory there as a file, `/proc/kcore`?
    pub kcore: bool,
    /// Does the kernel run with the larger of its address spaces: five-level page tables on x86-64, 52
    /// bits on arm64?
    pub five_level_paging: bool,
    /// What was asked so far: what a plan depends on.
    pub asked: QueryLog,
}

/// Something that a plan wants to know of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dependency {
    /// Is there this function or object?
    Symbol(String),
    /// Is there this tracepoint of a system call?
    Tracepoint(String),
    /// Which parameters has this function?
    Prototype(String),
    /// Where has this structure this field?
    Field(String, String),
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dependency::Symbol(name) => write!(f, "the symbol {name}"),
            Dependency::Tracepoint(name) => write!(f, "the tracepoint {name}"),
            Dependency::Prototype(function) => write!(f, "the parameters of {function}"),
            Dependency::Field(structure, field) => write!(f, "the field {structure}.{field}"),
        }
    }
}

/// Remembers every question. It changes no answer.
#[derive(Clone, Debug, Default)]
pub struct QueryLog(RefCell<BTreeSet<Dependency>>);

impl QueryLog {
    fn note(&self, dependency: Dependency) {
        self.0.borrow_mut().insert(dependency);
    }

    /// What `questions` returns, with what it asked.
    pub(crate) fn during<T>(&self, questions: impl FnOnce() -> T) -> (T, BTreeSet<Dependency>) {
        let before = self.0.take();
        let answer = questions();
        let asked = self.0.borrow().clone();
        self.0.borrow_mut().extend(before);
        (answer, asked)
    }

    /// All questions, each once.
    pub fn into_dependencies(self) -> BTreeSet<Dependency> {
        self.0.into_inner()
    }
}

impl KernelFacts {
    /// Does the kernel's symbol table list `name`?
    pub fn has_symbol(&self, name: &str) -> bool {
        self.asked.note(Dependency::Symbol(name.to_owned()));
        self.symbols.contains_key(name)
    }

    /// Does the symbol table list data, as with `CONFIG_KALLSYMS_ALL`? Told by data that nearly every kernel
    /// has. No plan depends on these symbols themselves.
    pub fn lists_data(&self) -> bool {
        const DATA: [&str; 3] = [SOCKET_FILE_OPS, "key_type_keyring", "key_type_user"];
        DATA.iter().any(|&name| self.symbols.contains_key(name))
    }

    /// Is there the tracepoint `name` of a system call?
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.asked.note(Dependency::Tracepoint(name.to_owned()));
        self.tracepoints.contains(name)
    }

    /// The parameters of a kernel function as BTF has them; none where it does not describe it, or
    /// where there is none.
    pub fn described(&self, function: &str) -> Option<Prototype> {
        self.asked.note(Dependency::Prototype(function.to_owned()));
        self.btf.as_ref()?.prototype(function)
    }

    /// May a plan that was refused like this succeed once memory has been searched?
    pub fn lacks_layout(&self, refusal: &Unsupported) -> bool {
        refusal.reason == Reason::LayoutNotFound && self.discovered.is_none()
    }

    /// What `f_op` of a file points to that is a socket: from the symbol table, which lists data only
    /// with `CONFIG_KALLSYMS_ALL`, or as discovered.
    pub fn socket_file_ops(&self) -> Result<u64, Unsupported> {
        self.asked.note(Dependency::Symbol(SOCKET_FILE_OPS.to_owned()));
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
        self.asked.note(Dependency::Field(structure.to_owned(), field.to_owned()));
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
        self.asked.note(Dependency::Prototype(function.to_owned()));
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

impl LayoutSource {
    /// `btf`, `discovery` or `nowhere`.
    pub fn name(self) -> &'static str {
        match self {
            LayoutSource::Btf => "btf",
            LayoutSource::External => "external",
            LayoutSource::Discovery => "discovery",
            LayoutSource::Nowhere => "nowhere",
        }
    }
}

/// There is no BTF, but a search might tell.
fn not_searched(what: &str) -> Unsupported {
    let message = format!("there is no BTF, and memory was not searched for {what}");
    Unsupported::new(Reason::LayoutNotFound, message)
}

/// The answer to a feature probe. Features are tried, never inferred from a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeResult {
    /// It worked.
    Yes,
    /// The kernel refused it as something that it doesn't know.
    No,
    /// It failed for another reason, with this errno: nothing is known.
    CouldNotTell(i32),
}

impl fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeResult::Yes => f.write_str("yes"),
            ProbeResult::No => f.write_str("no"),
            ProbeResult::CouldNotTell(errno) => write!(f, "could not tell (errno {errno})"),
        }
    }
}

impl ProbeResult {
    /// Only a clear yes is one.
    pub fn is_yes(self) -> bool {
        self == ProbeResult::Yes
    }
}
