//! bpf(2) and perf_event_open(2) by hand: what must work before either backend's loader is trusted,
//! and must not depend on which of them is in use.

mod assembler;
mod attach;
mod map;
mod program;
mod remaining;

pub(crate) use self::{
    assembler::{Assembler, Condition, Register, Width},
    attach::{attach_by_type, attach_kprobe, attach_syscall_entry},
    map::{Array, MapKind, create, create_of_type},
    program::{
        ProgramKind, Sizes, load, load_for_entry, load_of_type, load_with_log, sizes, skipped_runs,
    },
    remaining::{Loaded, PINS, pinned},
};

use std::os::fd::{FromRawFd as _, OwnedFd};

use kernlab_core::plan::ReadHelper;
use nix::errno::Errno;

/// Helpers by number: include/uapi/linux/bpf.h.
pub(crate) const FUNC_MAP_LOOKUP_ELEM: u32 = 1;
const FUNC_PROBE_READ: u32 = 4;
pub(crate) const FUNC_GET_CURRENT_PID_TGID: u32 = 14;
pub(crate) const FUNC_GET_CURRENT_TASK: u32 = 35;
pub(crate) const FUNC_PROBE_READ_KERNEL: u32 = 113;

/// The helper's number.
pub(crate) fn read_function(helper: ReadHelper) -> u32 {
    match helper {
        ReadHelper::Split => FUNC_PROBE_READ_KERNEL,
        ReadHelper::Legacy => FUNC_PROBE_READ,
    }
}

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
#[derive(Clone, Copy)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    ProgramLoad = 5,
    ProgramGetNextId = 11,
    ObjectGetInfo = 15,
    RawTracepointOpen = 17,
}

/// # Safety
///
/// What the attributes point to must be valid for the command, and any bytes must be a valid `T`.
unsafe fn bpf<T>(command: Command, attributes: &mut T) -> Result<libc::c_long, Errno> {
    let attributes = std::ptr::from_mut(attributes);
    // SAFETY: the attributes are valid for their size, and the caller vouches for the rest.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, attributes, size_of::<T>())
    };
    Errno::result(result)
}

/// # Safety
///
/// `fd` must be a descriptor that was just opened, and that has no other owner.
unsafe fn own(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}
