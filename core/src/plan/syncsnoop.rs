//! Where the programs of `syncsnoop` go.

use super::{AttachPoint, Unsupported, tracepoint};
use crate::{facts::KernelFacts, outcome::Reason};

/// The entries of the calls: the first thing that can be seen of them, and the last that can be
/// relied on. 7.3 inlines `vfs_fsync_range` into fsync(2), fs/sync.c.
pub(crate) const SYNC_TRACEPOINTS: [&str; 6] = [
    "sys_enter_sync",
    "sys_enter_syncfs",
    "sys_enter_fsync",
    "sys_enter_fdatasync",
    "sys_enter_msync",
    "sys_enter_sync_file_range",
];

/// Every call that the kernel has: one that it lacks can't be made.
pub(super) fn attach(facts: &KernelFacts) -> Result<Vec<AttachPoint>, Unsupported> {
    let attach: Vec<AttachPoint> = SYNC_TRACEPOINTS
        .into_iter()
        .filter(|&name| facts.has_tracepoint(name))
        .map(|name| tracepoint(name, "syscalls", name))
        .collect();
    if attach.is_empty() {
        return Err(Unsupported::new(
            Reason::MissingConfig,
            "system calls have no tracepoints: CONFIG_FTRACE_SYSCALLS",
        ));
    }
    Ok(attach)
}
