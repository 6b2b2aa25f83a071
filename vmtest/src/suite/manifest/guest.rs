//! What a suite wants of its guest.

use std::{collections::BTreeMap, path::PathBuf};

use kernlab_kernels::MEMORY_RANGE_MIB;

/// A file or directory that the guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// On this machine, as written.
    pub host: PathBuf,
    /// In the guest, if it is not the same path.
    pub guest: Option<String>,
}

impl FileSpec {
    /// Parses `HERE` or `HERE=THERE`. The error is a fragment of one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, guest) = match text.split_once('=') {
            Some((host, guest)) => (host, Some(guest)),
            None => (text, None),
        };
        if host.is_empty() {
            return Err(format!("`{text}` names no file of this machine: expected `HERE=THERE`"));
        }
        let guest = guest.map(check_absolute).transpose()?;
        Ok(FileSpec { host: host.into(), guest })
    }
}

/// Refuses what is not a path in a guest.
pub(super) fn check_absolute(path: &str) -> Result<String, String> {
    match path.starts_with('/') {
        true => Ok(path.to_owned()),
        false => Err(format!("`{path}` is a path in the guest, and must begin with `/`")),
    }
}

/// Parses an amount of memory, `512M` or `1G`, into mebibytes. The error is a fragment of one line.
pub fn parse_memory(text: &str) -> Result<u32, String> {
    let (number, factor) = match text.strip_suffix('G') {
        Some(number) => (number, 1024),
        None => (text.strip_suffix('M').unwrap_or(""), 1),
    };
    let size = number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    size.filter(|size| MEMORY_RANGE_MIB.contains(size)).ok_or_else(|| {
        let (least, most) = (MEMORY_RANGE_MIB.start(), MEMORY_RANGE_MIB.end() / 1024);
        format!("`{text}` is not a size of memory: expected `{least}M` to `{most}G`")
    })
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

impl Cgroup {
    /// The versions, with their names.
    pub const NAMES: [(&str, Cgroup); 2] = [("v1", Cgroup::V1), ("v2", Cgroup::V2)];

    /// The name of this version: `v2`.
    pub fn name(self) -> &'static str {
        match self {
            Cgroup::V1 => "v1",
            Cgroup::V2 => "v2",
        }
    }
}
