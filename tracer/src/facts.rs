//! Gathers the facts of the running kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use anyhow::{Context as _, Result};
use kernlab_core::{
    btf::Btf,
    facts::{KernelFacts, wanted_symbols},
};

use crate::trial;

/// Everything that a plan may depend on, seen from user space.
pub(crate) fn live() -> Result<KernelFacts> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the release")?;
    let kallsyms = fs::read_to_string("/proc/kallsyms").context("reading /proc/kallsyms")?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    Ok(KernelFacts {
        release: release.trim_end().to_owned(),
        symbols: symbols(&kallsyms),
        btf: btf()?,
        ring_buffer: trial::ring_buffer(),
        probe_read_kernel: trial::probe_read_kernel(),
        five_level_paging: cpuinfo
            .lines()
            .find(|line| line.starts_with("flags"))
            .is_some_and(|flags| flags.split_ascii_whitespace().any(|flag| flag == "la57")),
    })
}

/// BTF as far as user space sees it: a kernel without, or with the folder hidden, has none.
fn btf() -> Result<Option<Btf>> {
    match fs::read("/sys/kernel/btf/vmlinux") {
        Ok(bytes) => Btf::parse(bytes).map(Some).context("parsing /sys/kernel/btf/vmlinux"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("reading /sys/kernel/btf/vmlinux"),
    }
}

/// The wanted symbols of the kernel itself: those of modules have a fourth column. Lines are
/// `address type name`.
fn symbols(kallsyms: &str) -> BTreeMap<String, u64> {
    let wanted: BTreeSet<&str> = wanted_symbols().collect();
    kallsyms
        .lines()
        .filter_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            let (_, name) = rest.split_once(' ')?;
            let address =
                wanted.contains(name).then(|| u64::from_str_radix(address, 16).ok())??;
            Some((name.to_owned(), address))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wanted_symbols_of_the_kernel_itself_are_kept() {
        let kallsyms = "ffffffff81000000 T _stext\n\
                        ffffffff81234560 T key_alloc\n\
                        ffffffff81234570 t key_alloc.cold\n\
                        ffffffffc0000000 t process_vm_rw\t[module]\n";
        assert_eq!(
            symbols(kallsyms),
            BTreeMap::from([("key_alloc".into(), 0xffff_ffff_8123_4560)])
        );
    }
}
