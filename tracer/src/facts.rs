//! Gathers the facts of the running kernel.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use kernlab_core::{
    btf::{Btf, Types},
    facts::{KernelFacts, QueryLog},
    tracer::wanted_tracepoints,
};

use crate::{arch, symbols, trial};

/// Everything that a plan may depend on, seen from user space; type information from `btf_file` if
/// there is one.
pub(crate) fn live(btf_file: Option<&Path>) -> Result<KernelFacts> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the release")?;
    let symbols = symbols::wanted().context("reading /proc/kallsyms")?;
    let five_level_paging =
        arch::large_address_space().context("finding the size of the address space")?;
    Ok(KernelFacts {
        release: release.trim_end().to_owned(),
        arch: arch::ARCH,
        symbols,
        tracepoints: tracepoints(),
        btf: btf(btf_file)?.map(Types::from),
        btf_file: btf_file.map(Path::to_owned),
        discovered: None,
        ring_buffer: trial::ring_buffer(),
        probe_read_kernel: trial::probe_read_kernel(),
        uprobes: Path::new("/sys/bus/event_source/devices/uprobe/type").exists(),
        kcore: Path::new("/proc/kcore").exists(),
        five_level_paging,
        asked: QueryLog::default(),
    })
}

/// The wanted tracepoints of system calls.
fn tracepoints() -> BTreeSet<String> {
    let exists = |name: &&str| tracepoint(name).is_some();
    wanted_tracepoints().filter(exists).map(str::to_owned).collect()
}

/// The directory of a system call's tracepoint, looked for where tracefs may be mounted.
pub(crate) fn tracepoint(name: &str) -> Option<PathBuf> {
    TRACEFS
        .into_iter()
        .map(|tracefs| Path::new(tracefs).join("events/syscalls").join(name))
        .find(|dir| dir.exists())
}

/// All tracepoints that have a format, as `category:name`.
pub(crate) fn all_tracepoints() -> Result<BTreeSet<String>> {
    let events = TRACEFS.map(|tracefs| Path::new(tracefs).join("available_events"));
    let events = events.iter().find(|events| events.exists()).context("tracefs is not mounted")?;
    let names = fs::read_to_string(events).context("reading the tracepoints")?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// Where tracefs may be mounted.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// BTF from a file, or the kernel's own.
pub(crate) fn btf(file: Option<&Path>) -> Result<Option<Btf>> {
    let bytes = match file {
        Some(path) => Some(fs::read(path).with_context(|| format!("reading {}", path.display()))?),
        None => btf_bytes()?,
    };
    let path = file.unwrap_or(Path::new(BTF));
    let parse = |bytes| Btf::parse(bytes).with_context(|| format!("parsing {}", path.display()));
    bytes.map(parse).transpose()
}

/// The kernel's own BTF as far as user space sees it: one without, or with the directory hidden, has none.
pub(crate) fn btf_bytes() -> Result<Option<Vec<u8>>> {
    match fs::read(BTF) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {BTF}")),
    }
}

const BTF: &str = "/sys/kernel/btf/vmlinux";
