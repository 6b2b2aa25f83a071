//! The pure decision, from what is known of a kernel, of which symbols to probe with which layout.

use std::fmt;

use kernlab_abi::{NAME_IS_QSTR, NAME_IS_STRING, ProgramConfig};
use serde::{Deserialize, Serialize};

use crate::{
    arch,
    btf::Prototype,
    facts::KernelFacts,
    function::Function,
    outcome::Reason,
    scenario::{Scenario, Tracer},
};

/// Which programs to attach where, and how they are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// Whose programs.
    pub tracer: Tracer,
    /// Every program with the place that it is attached to.
    pub attach: Vec<AttachPoint>,
    /// How events reach user space.
    pub buffer: BufferKind,
    /// How programs read kernel memory.
    pub read: ReadHelper,
    /// Where field offsets come from.
    pub types: TypeSource,
    /// What the programs read at run time; `tgid` is filled in when the traced process is known.
    pub config: ProgramConfig,
}

/// A program and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachPoint {
    /// The program's name, the same in the C and the Rust object.
    pub program: String,
    /// The place.
    pub target: Target,
}

/// A place in the kernel that a program can be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The tracepoint `category:name`.
    Tracepoint {
        /// `syscalls`, for example.
        category: String,
        /// `sys_enter_write`, for example.
        name: String,
    },
    /// The entry of a kernel function.
    Kprobe {
        /// As in `/proc/kallsyms`.
        symbol: String,
    },
}

/// How events reach user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BufferKind {
    /// One ring shared by all CPUs: `BPF_MAP_TYPE_RINGBUF`.
    Ring,
    /// A buffer per CPU: `BPF_MAP_TYPE_PERF_EVENT_ARRAY`.
    Perf,
}

impl BufferKind {
    /// `ring` or `perf`: part of the name of a compiled object.
    pub fn name(self) -> &'static str {
        match self {
            BufferKind::Ring => "ring",
            BufferKind::Perf => "perf",
        }
    }
}

/// How programs read kernel memory. Every read is guarded by `kernel_address_min` as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadHelper {
    /// `bpf_probe_read_kernel`.
    Split,
    /// `bpf_probe_read`, where the split helpers are missing; both loaders rewrite the call.
    Legacy,
}

/// Where the programs' field offsets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TypeSource {
    /// CO-RE relocations against the kernel's BTF, where the backend has them.
    Core,
    /// The plan's layout.
    Layout,
}

/// Why a tracer can't work on a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// The code.
    pub reason: Reason,
    /// What is missing or different.
    pub message: String,
}

impl Unsupported {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Unsupported { reason, message: message.into() }
    }
}

/// Decides how `scenario` is traced on the kernel that `facts` describe.
pub fn plan(scenario: &Scenario, facts: &KernelFacts) -> Result<ProbePlan, Unsupported> {
    let mut config = ProgramConfig {
        kernel_address_min: arch::kernel_address_min(facts.five_level_paging),
        ..ProgramConfig::default()
    };
    let attach = match scenario.tracer {
        Tracer::SysWrite => sys_write(),
        Tracer::Inotify => inotify(facts, &mut config)?,
        Tracer::ManyArgs => many_args(Function::of_scenario(scenario), facts, &mut config)?,
    };
    Ok(ProbePlan {
        tracer: scenario.tracer,
        attach,
        buffer: if facts.ring_buffer.is_yes() { BufferKind::Ring } else { BufferKind::Perf },
        read: if facts.probe_read_kernel.is_yes() { ReadHelper::Split } else { ReadHelper::Legacy },
        types: if facts.btf.is_some() { TypeSource::Core } else { TypeSource::Layout },
        config,
    })
}

/// `offsetof(struct qstr, name)`: a u64 of hash and length comes first on every release since
/// 3.9 (include/linux/dcache.h). Every kernel with BTF in the matrix checks it.
pub const QSTR_NAME: u32 = 8;

fn sys_write() -> Vec<AttachPoint> {
    // The BPF context of a syscall tracepoint has its arguments at 16 on every kernel, whatever the
    // tracepoint's format file says: struct syscall_tp_t, kernel/trace/trace_syscalls.c.
    ["sys_enter_write", "sys_exit_write"]
        .map(|name| AttachPoint {
            program: name.to_owned(),
            target: Target::Tracepoint { category: "syscalls".to_owned(), name: name.to_owned() },
        })
        .to_vec()
}

fn kprobe(program: &str, symbol: &str) -> AttachPoint {
    AttachPoint {
        program: program.to_owned(),
        target: Target::Kprobe { symbol: symbol.to_owned() },
    }
}

/// The functions that hand an event to an inotify group, newest first. Both are reached through a
/// pointer in `inotify_fsnotify_ops`, so neither is ever inlined.
///
/// `inotify_handle_inode_event` replaced the other in 5.11 (commit 1a2620a99803) and in 5.10.4.
pub(crate) const INOTIFY_HANDLERS: [&str; 2] =
    ["inotify_handle_inode_event", "inotify_handle_event"];

fn inotify(
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    let Some(handler) = INOTIFY_HANDLERS.into_iter().find(|name| facts.has_symbol(name)) else {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has none of {}", INOTIFY_HANDLERS.join(", ")),
        ));
    };
    let prototype = match &facts.btf {
        Some(btf) => btf.prototype(handler).ok_or_else(|| {
            Unsupported::new(Reason::MissingBtf, format!("BTF does not describe {handler}"))
        })?,
        // One prototype in all releases that have it: fs/notify/inotify/inotify_fsnotify.c.
        None if handler == "inotify_handle_inode_event" => Prototype::known(&[
            ("struct fsnotify_mark *", "inode_mark"),
            ("u32", "mask"),
            ("struct inode *", "inode"),
            ("struct inode *", "dir"),
            ("const struct qstr *", "name"),
            ("u32", "cookie"),
        ]),
        None => {
            return Err(Unsupported::new(
                Reason::MissingBtf,
                format!(
                    "{handler} passes the name as a string up to 5.1 and as a qstr from 5.2 on, and \
                     without BTF there is no telling which"
                ),
            ));
        }
    };
    let position = |names: &[&str]| {
        prototype.position(names).ok_or_else(|| {
            Unsupported::new(
                Reason::SignatureChanged,
                format!("{handler} has no parameter {}: {prototype}", names.join(" or ")),
            )
        })
    };
    let (name_argument, name) = position(&["name", "file_name"])?;
    config.mask_argument = position(&["mask"])?.0;
    config.cookie_argument = position(&["cookie"])?.0;
    config.name_argument = name_argument;
    config.name_kind = match name.type_name.as_str() {
        "const struct qstr *" => NAME_IS_QSTR,
        "const unsigned char *" => NAME_IS_STRING,
        other => {
            return Err(Unsupported::new(
                Reason::SignatureChanged,
                format!("{handler} passes the name as {other}: {prototype}"),
            ));
        }
    };
    config.layout.qstr_name = match &facts.btf {
        Some(btf) => btf.member_offset("qstr", "name").ok_or_else(|| {
            Unsupported::new(Reason::MissingField, "struct qstr has no field name")
        })?,
        None => QSTR_NAME,
    };
    Ok(vec![kprobe("inotify_rename", handler)])
}

fn many_args(
    function: &Function,
    facts: &KernelFacts,
    config: &mut ProgramConfig,
) -> Result<Vec<AttachPoint>, Unsupported> {
    if !facts.has_symbol(function.name) {
        return Err(Unsupported::new(
            Reason::MissingSymbol,
            format!("the kernel has no {}: {}", function.name, function.needs),
        ));
    }
    match &facts.btf {
        Some(btf) => {
            let found = btf.prototype(function.name).ok_or_else(|| {
                Unsupported::new(
                    Reason::MissingBtf,
                    format!("BTF does not describe {}", function.name),
                )
            })?;
            if !function.matches(&found) {
                return Err(Unsupported::new(
                    Reason::SignatureChanged,
                    format!("expected {function}, the kernel has {}{found}", function.name),
                ));
            }
        }
        None if function.changed_between_releases => {
            return Err(Unsupported::new(
                Reason::MissingBtf,
                format!(
                    "the parameters of {} differ between releases, and without BTF there is no \
                     telling which these are",
                    function.name
                ),
            ));
        }
        None => {}
    }
    config.argument_count = function.parameters.len() as u32;
    config.text_argument = function.text_argument().unwrap_or(0);
    Ok(vec![kprobe("function_call", function.name)])
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tracepoint { category, name } => write!(f, "tracepoint {category}:{name}"),
            Target::Kprobe { symbol } => write!(f, "kprobe {symbol}"),
        }
    }
}

#[cfg(test)]
mod tests;
