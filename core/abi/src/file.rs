//! What the tracers of files share with their programs.

use crate::{EventHeader, NAME_LEN};

/// Pairs of a thread and a file that are counted in one session.
pub const MAX_TOTALS: u32 = 1024;

/// Files whose creation was seen and whose end wasn't.
pub const MAX_BIRTHS: u32 = 1024;

/// The bits of an inode's mode that tell its kind, and the kind of a directory: `S_IFMT` and
/// `S_IFDIR`, include/uapi/linux/stat.h.
pub const KIND_MASK: u32 = 0xf000;
/// See [`KIND_MASK`].
pub const KIND_DIRECTORY: u32 = 0x4000;

/// The bit of `file.f_mode` that says that opening the file created it, since 4.19:
/// `FMODE_CREATED`, include/linux/fs.h.
pub const FMODE_CREATED: u32 = 0x0010_0000;

/// What is counted as one: a thread's dealings with a file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileKey {
    /// The thread: `pid_tgid`.
    pub thread: u64,
    /// The file's number in its file system.
    pub inode: u64,
    /// The file system.
    pub device: u32,
    /// Zero.
    pub reserved: u32,
}

/// What a thread has read from and written to a file. Calls that fail don't count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTotals {
    /// Who, with the time of the first call.
    pub header: EventHeader,
    /// Calls that read, the end of the file included.
    pub reads: u64,
    /// Bytes that they returned.
    pub bytes_read: u64,
    /// Calls that wrote.
    pub writes: u64,
    /// Bytes that they took.
    pub bytes_written: u64,
    /// The inode's mode: [`KIND_MASK`] tells what kind of file it is.
    pub mode: u32,
    /// Zero.
    pub reserved: u32,
    /// The name that the file was opened by, zero-terminated; what follows the zero is undefined.
    pub name: [u8; NAME_LEN],
}

/// A read or write between entry and exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingTransfer {
    /// Where it will be counted.
    pub key: FileKey,
    /// The totals that it will start if it is the first: zero.
    pub totals: FileTotals,
}

/// The end of a file's name whose creation was seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLifeEvent {
    /// Who unlinked it.
    pub header: EventHeader,
    /// Nanoseconds since the creation.
    pub lifetime: u64,
    /// The name at the end, zero-terminated; what follows the zero is undefined.
    pub name: [u8; NAME_LEN],
}

/// An unlink between entry and exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingUnlink {
    /// Address of the dentry.
    pub dentry: u64,
    /// When the file was created: `bpf_ktime_get_ns`.
    pub born: u64,
}

/// A completed openat(2), whatever came of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenEvent {
    /// Who called.
    pub header: EventHeader,
    /// `O_*`, as they were given.
    pub flags: u32,
    /// The descriptor, or an error's negative number.
    pub ret: i32,
    /// The name as it was given, cut if it is longer, zero-terminated; what follows the zero is
    /// undefined.
    pub name: [u8; NAME_LEN],
}

/// What is known of an openat(2) between entry and exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingOpen {
    /// Address of the name, in the memory of the process.
    pub name: u64,
    /// `O_*`
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}
