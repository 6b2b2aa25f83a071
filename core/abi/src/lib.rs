//! What the BPF programs and their loaders share: the events that cross the buffer and the
//! configuration that crosses the `CONFIG` map.
//!
//! Everything is `repr(C)`, without implicit padding, and the same for the C programs (a header is
//! generated from this file when they are built) and the Rust programs.
#![no_std]

/// Bytes of a task's name, terminator included: `TASK_COMM_LEN`, include/linux/sched.h.
pub const COMM_LEN: usize = 16;

/// Bytes kept of a file name: `NAME_MAX` and a terminator, include/uapi/linux/limits.h.
pub const NAME_LEN: usize = 256;

/// Bytes kept of a string argument.
pub const TEXT_LEN: usize = 32;

/// Arguments that a probe can capture: 6 in registers, 6 on the stack.
pub const MAX_ARGUMENTS: usize = 12;

/// Threads that can be between entry and exit of a call at the same time.
pub const MAX_PENDING: u32 = 1024;

/// Bytes of the ring buffer: a power of two and a multiple of the page size.
pub const RING_BYTES: u32 = 1 << 20;

/// Pages of each CPU's perf buffer: a power of two.
pub const PERF_PAGES: u32 = 64;

/// [`ProgramConfig::name_kind`]: the argument is a `const unsigned char *`.
pub const NAME_IS_STRING: u32 = 0;
/// [`ProgramConfig::name_kind`]: the argument is a `const struct qstr *`.
pub const NAME_IS_QSTR: u32 = 1;

/// The bits that tell a rename in an fsnotify mask: `FS_MOVED_FROM | FS_MOVED_TO`,
/// include/linux/fsnotify_backend.h.
pub const RENAME_MASK: u32 = 0xc0;

/// The plan's decisions, as the programs read them. Arguments are numbered from 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramConfig {
    /// Addresses below are not read: they are user addresses or not canonical, and
    /// `bpf_probe_read` of one that isn't canonical makes 5.4 warn (`ex_handler_uaccess`,
    /// arch/x86/mm/extable.c).
    pub kernel_address_min: u64,
    /// Only this process is traced.
    pub tgid: u32,
    /// `inotify`: which argument is the event mask.
    pub mask_argument: u32,
    /// `inotify`: which argument is the name.
    pub name_argument: u32,
    /// `inotify`: [`NAME_IS_STRING`] or [`NAME_IS_QSTR`].
    pub name_kind: u32,
    /// `inotify`: which argument is the cookie.
    pub cookie_argument: u32,
    /// `many_args`: how many arguments to capture.
    pub argument_count: u32,
    /// `many_args`: which argument is a string to capture as well; 0 for none.
    pub text_argument: u32,
    /// Where fields are in structures that carry no type information at run time.
    pub layout: Layout,
}

/// Field offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// `struct qstr`, `name`.
    pub qstr_name: u32,
}

/// What every event starts with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventHeader {
    /// `bpf_ktime_get_ns` in the probe: orders events of different CPUs.
    pub time: u64,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// The thread's name, zero-terminated.
    pub comm: [u8; COMM_LEN],
}

/// One completed write(2) that did not fail.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SysWriteEvent {
    /// Who wrote.
    pub header: EventHeader,
    /// Bytes asked for.
    pub count: u64,
    /// Bytes written.
    pub ret: i64,
    /// Where to.
    pub fd: i32,
    /// Zero.
    pub reserved: u32,
}

/// What is known of a write between entry and exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingWrite {
    /// Bytes asked for.
    pub count: u64,
    /// Where to.
    pub fd: i32,
    /// Zero.
    pub reserved: u32,
}

/// One half of a rename, on its way to an inotify group.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InotifyEvent {
    /// Who renamed.
    pub header: EventHeader,
    /// The fsnotify mask, internal bits included.
    pub mask: u32,
    /// Ties the two halves of a rename together.
    pub cookie: u32,
    /// The entry's name in its directory, zero-terminated; what follows the zero is undefined.
    pub name: [u8; NAME_LEN],
}

/// One call of a function, with its arguments as the calling convention delivered them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallEvent {
    /// Who called.
    pub header: EventHeader,
    /// Registers and stack slots, whole: the upper half of a 32-bit argument is undefined.
    /// What follows the last argument is undefined.
    pub arguments: [u64; MAX_ARGUMENTS],
    /// The string argument, zero-terminated; what follows the zero is undefined.
    pub text: [u8; TEXT_LEN],
}

#[cfg(test)]
mod tests {
    use core::mem::size_of;

    use super::*;

    #[test]
    fn no_event_has_implicit_padding() {
        assert_eq!(size_of::<EventHeader>(), 8 + 4 + 4 + COMM_LEN);
        assert_eq!(size_of::<SysWriteEvent>(), size_of::<EventHeader>() + 8 + 8 + 4 + 4);
        assert_eq!(size_of::<PendingWrite>(), 8 + 4 + 4);
        assert_eq!(size_of::<InotifyEvent>(), size_of::<EventHeader>() + 4 + 4 + NAME_LEN);
        assert_eq!(size_of::<CallEvent>(), size_of::<EventHeader>() + 8 * MAX_ARGUMENTS + TEXT_LEN);
        assert_eq!(size_of::<ProgramConfig>(), 8 + 8 * 4);
    }
}
