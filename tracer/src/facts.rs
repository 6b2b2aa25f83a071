//! Gathers the facts of the running kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use kernlab_core::{
    btf::{Btf, Types},
    facts::{Asked, KernelFacts, wanted_symbols, wanted_tracepoints},
};

use crate::trial;

/// Everything that a plan may depend on, seen from user space; type information from `btf_file` if
/// there is one.
pub(crate) fn live(btf_file: Option<&Path>) -> Result<KernelFacts> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the release")?;
    let kallsyms = kallsyms().context("reading /proc/kallsyms")?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    Ok(KernelFacts {
        release: release.trim_end().to_owned(),
        symbols: symbols(&kallsyms),
        tracepoints: tracepoints(),
        btf: btf(btf_file)?.map(Types::from),
        btf_file: btf_file.map(Path::to_owned),
        discovered: None,
        ring_buffer: trial::ring_buffer(),
        probe_read_kernel: trial::probe_read_kernel(),
        uprobes: Path::new("/sys/bus/event_source/devices/uprobe/type").exists(),
        five_level_paging: cpuinfo
            .lines()
            .find(|line| line.starts_with("flags"))
            .is_some_and(|flags| flags.split_ascii_whitespace().any(|flag| flag == "la57")),
        asked: Asked::default(),
    })
}

/// The wanted tracepoints of system calls.
fn tracepoints() -> BTreeSet<String> {
    let exists = |name: &&str| tracepoint(name).is_some();
    wanted_tracepoints().filter(exists).map(str::to_owned).collect()
}

/// The folder of a system call's tracepoint, looked for where tracefs may be mounted.
pub(crate) fn tracepoint(name: &str) -> Option<PathBuf> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .map(|tracefs| Path::new(tracefs).join("events/syscalls").join(name))
        .find(|folder| folder.exists())
}

/// BTF from a file, or the kernel's own.
fn btf(file: Option<&Path>) -> Result<Option<Btf>> {
    let bytes = match file {
        Some(path) => Some(fs::read(path).with_context(|| format!("reading {}", path.display()))?),
        None => btf_bytes()?,
    };
    let path = file.unwrap_or(Path::new(BTF));
    let parse = |bytes| Btf::parse(bytes).with_context(|| format!("parsing {}", path.display()));
    bytes.map(parse).transpose()
}

/// The kernel's own BTF as far as user space sees it: one without, or with the folder hidden, has none.
pub(crate) fn btf_bytes() -> Result<Option<Vec<u8>>> {
    match fs::read(BTF) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {BTF}")),
    }
}

/// The kernel's symbol table, from the agent's copy if there is one: the kernel needs a while to
/// print it.
pub(crate) fn kallsyms() -> io::Result<Vec<u8>> {
    match fs::read("/run/kallsyms") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::read("/proc/kallsyms"),
        other => other,
    }
}

/// The wanted symbols of the kernel itself: those of modules have a fourth column. Lines are
/// `address type name`.
fn symbols(kallsyms: &[u8]) -> BTreeMap<String, u64> {
    let wanted: BTreeSet<&[u8]> = wanted_symbols().map(str::as_bytes).collect();
    // There are some 200,000 lines, and their lengths and first letters tell most of them apart.
    let shape = |name: &[u8]| (usize::from(name[0]), 1_u64 << (name.len() % 64));
    let mut shapes = [0_u64; 256];
    for (first, length) in wanted.iter().map(|name| shape(name)) {
        shapes[first] |= length;
    }
    kallsyms
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let name = line.get(ADDRESS_DIGITS + 3..).filter(|name| !name.is_empty())?;
            let (first, length) = shape(name);
            if shapes[first] & length == 0 || !wanted.contains(name) {
                return None;
            }
            let address = str::from_utf8(&line[..ADDRESS_DIGITS]).ok()?;
            let address = u64::from_str_radix(address, 16).ok()?;
            Some((str::from_utf8(name).ok()?.to_owned(), address))
        })
        .collect()
}

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Before the name come an address, a blank, a letter and another blank.
const ADDRESS_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wanted_symbols_of_the_kernel_itself_are_kept() {
        let kallsyms = b"ffffffff81000000 T _stext\n\
                        ffffffff81234560 T key_alloc\n\
                        ffffffff81234570 t key_alloc.cold\n\
                        ffffffffc0000000 t process_vm_rw\t[module]\n";
        assert_eq!(
            symbols(kallsyms),
            BTreeMap::from([("key_alloc".into(), 0xffff_ffff_8123_4560)])
        );
    }
}
