//! What a suite wants of its guest.

use std::{collections::BTreeMap, path::PathBuf};

/// A file or directory that the guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// On this machine, as written.
    pub host: PathBuf,
    /// In the guest, if it is not the same path.
    pub guest: Option<String>,
}

/// How a suite's guest differs from others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestSpec {
    /// How many processors it has.
    pub cpus: Option<u32>,
    /// Its memory, in mebibytes.
    pub memory_mib: Option<u32>,
    /// Which hierarchy of control groups is mounted.
    pub cgroup: Option<Cgroup>,
    /// Modules of the kernel that are loaded first.
    pub modules: Vec<String>,
    /// The `lsm=` parameter of the kernel.
    pub lsm: Option<String>,
    /// Kernel parameters at run time, by name with dots: `kernel.bpf_stats_enabled`.
    pub sysctl: BTreeMap<String, String>,
    /// Whether tracer and workload run in a network namespace of their own.
    pub netns: bool,
}

/// A version of control groups: Documentation/admin-guide/cgroup-v2.rst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroup {
    /// A hierarchy per controller.
    V1,
    /// One hierarchy.
    V2,
}
