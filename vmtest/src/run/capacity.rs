//! How many guests this machine has room for.

use std::{fs, num::NonZero, thread};

/// QEMU's own memory in mebibytes: 50 for itself and its translated code, and some headroom.
const QEMU_MIB: u64 = 96;

/// How many guests with `memory_mib` of memory run side by side without waiting for processors or
/// exhausting the host's memory.
pub(crate) fn guests(memory_mib: u32) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let available = [
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_mib(&text)),
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| limit_mib(&text)),
    ];
    fit(processors, available.into_iter().flatten().min(), memory_mib)
}

fn fit(processors: usize, available_mib: Option<u64>, memory_mib: u32) -> usize {
    let room = available_mib.map(|available| available / (u64::from(memory_mib) + QEMU_MIB));
    let room = room.and_then(|room| usize::try_from(room).ok());
    processors.min(room.unwrap_or(usize::MAX)).max(1)
}

/// The memory that is available without swapping, from `/proc/meminfo`.
fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

/// A container's memory limit: a number of bytes, or `max` for none.
fn limit_mib(memory_max: &str) -> Option<u64> {
    Some(memory_max.trim().parse::<u64>().ok()? >> 20)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::processors_are_scarce(4, Some(16_000), 256, 4)]
    #[case::memory_is_scarce(16, Some(2_000), 256, 5)]
    #[case::a_large_guest(16, Some(8_000), 2048, 3)]
    #[case::no_room_at_all(4, Some(100), 256, 1)]
    #[case::nobody_knows(4, None, 256, 4)]
    fn guests_fill_what_is_scarce(
        #[case] processors: usize,
        #[case] available_mib: Option<u64>,
        #[case] memory_mib: u32,
        #[case] expected: usize,
    ) {
        assert_eq!(fit(processors, available_mib, memory_mib), expected);
    }

    #[test]
    fn the_kernel_says_what_is_left() {
        let meminfo =
            "MemTotal:       24689724 kB\nMemFree:  100 kB\nMemAvailable:   20971520 kB\n";
        assert_eq!(available_mib(meminfo), Some(20480));
        assert_eq!(available_mib("MemTotal: 1 kB\n"), None);
        assert_eq!((limit_mib("1073741824\n"), limit_mib("max\n")), (Some(1024), None));
    }
}
