//! What the name of a program's section says: of which type the program is, and where it belongs.
//!
//! The names are those that libbpf's manual lists (docs/program_types.rst there); Aya's loader takes a
//! part of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a section's name says that its program belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The entry of a kernel function.
    Kprobe(String),
    /// The return of a kernel function.
    Kretprobe(String),
    /// All kernel functions that a pattern names, at once.
    KprobeMulti(String),
    /// A system call, by its name without the architecture's prefix.
    SystemCall(String),
    /// A tracepoint, as `/sys/kernel/tracing/events` has it.
    Tracepoint {
        /// `syscalls`.
        category: String,
        /// `sys_enter_write`.
        name: String,
    },
    /// A tracepoint's arguments as the kernel passes them.
    RawTracepoint(String),
    /// The same with type information.
    BtfTracepoint(String),
    /// The entry of a function, with type information.
    FunctionEntry(String),
    /// The return of a function, with type information.
    FunctionExit(String),
    /// The result of a function, which the program may replace.
    FunctionResult(String),
    /// A hook of a security module: `file_open`.
    SecurityHook(String),
    /// An iterator over objects of the kernel: `task`.
    Iterator(String),
    /// A function of a user-space program.
    UserFunction {
        /// The executable or library.
        binary: String,
        /// The function, which an offset may follow: `malloc+4`.
        function: String,
        /// Whether it is about the return.
        on_return: bool,
    },
    /// A statically defined tracepoint of a user-space program.
    UserTracepoint(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Kprobe(function) => write!(f, "kprobe {function}"),
            Place::Kretprobe(function) => write!(f, "kretprobe {function}"),
            Place::KprobeMulti(pattern) => write!(f, "kprobes {pattern}"),
            Place::SystemCall(name) => write!(f, "system call {name}"),
            Place::Tracepoint { category, name } => write!(f, "tracepoint {category}:{name}"),
            Place::RawTracepoint(name) => write!(f, "raw tracepoint {name}"),
            Place::BtfTracepoint(name) => write!(f, "tracepoint {name} by its type"),
            Place::FunctionEntry(function) => write!(f, "fentry {function}"),
            Place::FunctionExit(function) => write!(f, "fexit {function}"),
            Place::FunctionResult(function) => write!(f, "result of {function}"),
            Place::SecurityHook(hook) => write!(f, "security hook {hook}"),
            Place::Iterator(over) => write!(f, "iterator {over}"),
            Place::UserFunction { binary, function, .. } => write!(f, "{binary}:{function}"),
            Place::UserTracepoint(name) => write!(f, "user tracepoint {name}"),
        }
    }
}

impl Place {
    /// The kernel function that it names, without what may follow it: `+0x10`.
    pub fn function(&self) -> Option<&str> {
        match self {
            Place::Kprobe(name)
            | Place::Kretprobe(name)
            | Place::FunctionEntry(name)
            | Place::FunctionExit(name)
            | Place::FunctionResult(name) => {
                Some(name.split_once('+').map_or(name.as_str(), |(function, _)| function))
            }
            _ => None,
        }
    }

    /// Whether a loader looks it up in the kernel's type information.
    pub fn needs_btf(&self) -> bool {
        matches!(
            self,
            Place::BtfTracepoint(_)
                | Place::FunctionEntry(_)
                | Place::FunctionExit(_)
                | Place::FunctionResult(_)
                | Place::SecurityHook(_)
                | Place::Iterator(_)
        )
    }
}

/// A kind of section: what its name begins with, the type of its programs, and how to read the rest.
type Kind = (&'static str, &'static str, fn(&str) -> Option<Place>);

/// More specific names come first.
const KINDS: &[Kind] = &[
    ("kprobe.multi", "kprobe", |rest| Some(Place::KprobeMulti(rest.to_owned()))),
    ("kretprobe.multi", "kprobe", |rest| Some(Place::KprobeMulti(rest.to_owned()))),
    ("kprobe.session", "kprobe", |rest| Some(Place::KprobeMulti(rest.to_owned()))),
    ("uprobe.multi", "kprobe", |rest| user_function(rest, false)),
    ("uretprobe.multi", "kprobe", |rest| user_function(rest, true)),
    ("uprobe.session", "kprobe", |rest| user_function(rest, false)),
    ("kprobe", "kprobe", |rest| Some(Place::Kprobe(rest.to_owned()))),
    ("kretprobe", "kprobe", |rest| Some(Place::Kretprobe(rest.to_owned()))),
    ("uprobe", "kprobe", |rest| user_function(rest, false)),
    ("uretprobe", "kprobe", |rest| user_function(rest, true)),
    ("ksyscall", "kprobe", |rest| Some(Place::SystemCall(rest.to_owned()))),
    ("kretsyscall", "kprobe", |rest| Some(Place::SystemCall(rest.to_owned()))),
    ("usdt", "kprobe", |rest| Some(Place::UserTracepoint(rest.to_owned()))),
    ("tracepoint", "tracepoint", tracepoint),
    ("tp_btf", "tracing", |rest| Some(Place::BtfTracepoint(rest.to_owned()))),
    ("tp", "tracepoint", tracepoint),
    ("raw_tracepoint.w", "raw_tracepoint_writable", raw_tracepoint),
    ("raw_tp.w", "raw_tracepoint_writable", raw_tracepoint),
    ("raw_tracepoint", "raw_tracepoint", raw_tracepoint),
    ("raw_tp", "raw_tracepoint", raw_tracepoint),
    ("fentry", "tracing", |rest| Some(Place::FunctionEntry(rest.to_owned()))),
    ("fexit", "tracing", |rest| Some(Place::FunctionExit(rest.to_owned()))),
    ("fmod_ret", "tracing", |rest| Some(Place::FunctionResult(rest.to_owned()))),
    ("iter", "tracing", |rest| Some(Place::Iterator(rest.to_owned()))),
    ("lsm_cgroup", "lsm", nowhere),
    ("lsm", "lsm", |rest| Some(Place::SecurityHook(rest.to_owned()))),
    ("freplace", "ext", nowhere),
    ("xdp", "xdp", nowhere),
    ("tc", "sched_cls", nowhere),
    ("tcx", "sched_cls", nowhere),
    ("netkit", "sched_cls", nowhere),
    ("classifier", "sched_cls", nowhere),
    ("action", "sched_act", nowhere),
    ("socket", "socket_filter", nowhere),
    ("cgroup_skb", "cgroup_skb", nowhere),
    ("cgroup", "cgroup", nowhere),
    ("perf_event", "perf_event", nowhere),
    ("sockops", "sock_ops", nowhere),
    ("sk_skb", "sk_skb", nowhere),
    ("sk_msg", "sk_msg", nowhere),
    ("sk_lookup", "sk_lookup", nowhere),
    ("sk_reuseport", "sk_reuseport", nowhere),
    ("flow_dissector", "flow_dissector", nowhere),
    ("struct_ops", "struct_ops", nowhere),
    ("syscall", "syscall", nowhere),
    ("netfilter", "netfilter", nowhere),
    ("lirc_mode2", "lirc_mode2", nowhere),
];

/// What a section's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The type of its programs, as in [`PROGRAM_TYPES`](crate::bpf::PROGRAM_TYPES).
    pub program_type: &'static str,
    /// Where they belong; none if the name doesn't say.
    pub place: Option<Place>,
}

impl Section {
    /// Reads a section's name; none if it isn't one for programs that a loader would know.
    pub fn of(name: &str) -> Option<Section> {
        // libbpf doesn't load these unless it is told to.
        let name = name.strip_prefix('?').unwrap_or(name);
        let (kind, rest) = name.split_once('/').map_or((name, ""), |(kind, rest)| (kind, rest));
        // A sleepable program.
        let kind = kind.strip_suffix(".s").unwrap_or(kind);
        let (_, program_type, place) = KINDS.iter().find(|(known, ..)| {
            let suffix = kind.strip_prefix(known);
            suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('.'))
        })?;
        let place = Some(rest).filter(|rest| !rest.is_empty()).and_then(place);
        Some(Section { program_type, place })
    }
}

fn nowhere(_: &str) -> Option<Place> {
    None
}

fn tracepoint(rest: &str) -> Option<Place> {
    let (category, name) = rest.split_once('/')?;
    Some(Place::Tracepoint { category: category.to_owned(), name: name.to_owned() })
}

fn raw_tracepoint(rest: &str) -> Option<Place> {
    Some(Place::RawTracepoint(rest.to_owned()))
}

fn user_function(rest: &str, on_return: bool) -> Option<Place> {
    let (binary, function) = rest.rsplit_once(':')?;
    Some(Place::UserFunction {
        binary: binary.to_owned(),
        function: function.to_owned(),
        on_return,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::bpf::PROGRAM_TYPES;

    #[rstest]
    #[case("kprobe/vfs_open", "kprobe", Some("kprobe vfs_open"))]
    #[case("kretprobe/vfs_open", "kprobe", Some("kretprobe vfs_open"))]
    #[case("?kprobe/vfs_open", "kprobe", Some("kprobe vfs_open"))]
    #[case("kprobe", "kprobe", None)]
    #[case("kprobe.multi/vfs_*", "kprobe", Some("kprobes vfs_*"))]
    #[case(
        "tracepoint/syscalls/sys_enter_write",
        "tracepoint",
        Some("tracepoint syscalls:sys_enter_write")
    )]
    #[case("tp/sched/sched_switch", "tracepoint", Some("tracepoint sched:sched_switch"))]
    #[case("tp_btf/sched_switch", "tracing", Some("tracepoint sched_switch by its type"))]
    #[case("raw_tp/sys_enter", "raw_tracepoint", Some("raw tracepoint sys_enter"))]
    #[case("raw_tp.w/x", "raw_tracepoint_writable", Some("raw tracepoint x"))]
    #[case("fentry.s/do_unlinkat", "tracing", Some("fentry do_unlinkat"))]
    #[case("lsm.s/file_open", "lsm", Some("security hook file_open"))]
    #[case("uprobe//usr/bin/bash:readline", "kprobe", Some("/usr/bin/bash:readline"))]
    #[case("ksyscall/openat", "kprobe", Some("system call openat"))]
    #[case("xdp", "xdp", None)]
    #[case("xdp.frags/devmap", "xdp", None)]
    #[case("tc/ingress", "sched_cls", None)]
    #[case("perf_event", "perf_event", None)]
    fn a_name_tells_type_and_place(
        #[case] name: &str,
        #[case] program_type: &str,
        #[case] place: Option<&str>,
    ) {
        let section = Section::of(name).unwrap();
        assert_eq!(section.program_type, program_type);
        assert_eq!(section.place.map(|place| place.to_string()).as_deref(), place);
    }

    #[rstest]
    #[case(".text")]
    #[case(".maps")]
    #[case("kprobes/vfs_open")]
    #[case("license")]
    fn other_sections_have_no_programs_of_a_known_kind(#[case] name: &str) {
        assert_eq!(Section::of(name), None);
    }

    #[test]
    fn what_follows_a_function_is_no_part_of_its_name() {
        assert_eq!(Place::Kprobe("vfs_open+0x10".to_owned()).function(), Some("vfs_open"));
    }

    /// `cgroup` has many types, by what follows.
    #[test]
    fn every_kind_has_a_program_type() {
        for (name, program_type, _) in KINDS {
            let known = PROGRAM_TYPES.iter().any(|(_, known)| known == program_type);
            assert!(known || *name == "cgroup", "{name}");
        }
    }
}
