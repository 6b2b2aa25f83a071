//! What the BPF programs and their loaders share: the events that cross the buffer and the
//! configuration that crosses the `CONFIG` map.
//!
//! Everything is `repr(C)`, without implicit padding (`layout.rs`), and the same for the C programs (a header is
//! generated from this file when they are built) and the Rust programs.

#![warn(missing_docs)]
#![no_std]

mod file;
mod layout;

pub use file::*;
pub use layout::{LAYOUTS, MemberLayout, StructLayout};

/// Bytes of a task's name, terminator included: `TASK_COMM_LEN`, include/linux/sched.h.
pub const COMM_LEN: usize = 16;

/// Bytes kept of a file name: `NAME_MAX` and a terminator, include/uapi/linux/limits.h.
pub const NAME_LEN: usize = 256;

/// Bytes kept of a string argument.
pub const TEXT_LEN: usize = 32;

/// Arguments that a probe can capture: 6 or 8 in registers, the others on the stack.
pub const MAX_ARGUMENTS: usize = 12;

/// Words of an internet address of either version: `struct in6_addr`, include/uapi/linux/in6.h.
pub const ADDRESS_WORDS: usize = 4;

/// `AF_INET`, include/linux/socket.h.
pub const AF_INET: u16 = 2;
/// `AF_INET6`, include/linux/socket.h.
pub const AF_INET6: u16 = 10;

/// Arguments of user-space functions that are captured: 6 or 8 in registers, the others on the stack.
pub const USER_ARGUMENTS: usize = 10;

/// Bytes that `guarded_read` reads.
pub const READ_LEN: usize = 8;

/// [`ReadEvent::outcome`]: the bytes were read.
pub const READ_DONE: u32 = 0;
/// [`ReadEvent::outcome`]: the program itself refused the address.
pub const READ_REFUSED_BY_GUARD: u32 = 1;
/// [`ReadEvent::outcome`]: the kernel's helper refused the address.
pub const READ_REFUSED_BY_KERNEL: u32 = 2;

/// Threads that can be between entry and exit of a call at the same time.
pub const MAX_PENDING: u32 = 256;

/// The slot of the map `emitted` that counts all events which the loader should receive. The other slots
/// say why some of them never reached the buffer.
pub const EMITTED: u32 = 0;
/// Slot of `emitted`: a call's entry was still in the map `pending` when its thread made the next one.
pub const LOST_UNSEEN: u32 = 1;
/// Slot of `emitted`: the map `pending` had no room for a call.
pub const LOST_PENDING: u32 = 2;
/// Slot of `emitted`: the map `births` had no room for a file.
pub const LOST_BIRTHS: u32 = 3;
/// Slot of `emitted`: the map `totals` had no room for a file.
pub const LOST_TOTALS: u32 = 4;
/// How many slots there are.
pub const EMITTED_SLOTS: u32 = 5;

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

/// [`SyncEvent::call`]: sync(2).
pub const CALL_SYNC: u32 = 0;
/// [`SyncEvent::call`]: syncfs(2).
pub const CALL_SYNCFS: u32 = 1;
/// [`SyncEvent::call`]: fsync(2).
pub const CALL_FSYNC: u32 = 2;
/// [`SyncEvent::call`]: fdatasync(2).
pub const CALL_FDATASYNC: u32 = 3;
/// [`SyncEvent::call`]: msync(2).
pub const CALL_MSYNC: u32 = 4;
/// [`SyncEvent::call`]: sync_file_range(2).
pub const CALL_SYNC_FILE_RANGE: u32 = 5;

/// The plan's decisions, as the programs read them. Arguments are numbered from 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramConfig {
    /// Addresses below are not read: they are user addresses or not canonical, and
    /// `bpf_probe_read` of one that isn't canonical makes 5.4 warn (`ex_handler_uaccess`,
    /// arch/x86/mm/extable.c).
    pub kernel_address_min: u64,
    /// `socket_write`: the `f_op` of every file that is a socket, the address of `socket_file_ops`.
    pub socket_file_ops: u64,
    /// Addresses from here on can't belong to a process, for programs that read its memory.
    pub user_address_end: u64,
    /// The bits of a user address that processors ignore, and programs may keep a tag in.
    pub user_address_tag: u64,
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
    /// `socket_write`: the bits of the u16 at `sock_sk_protocol` that are the protocol.
    pub protocol_mask: u32,
    /// `filelife`: which argument of `vfs_create` is the dentry; 0 if the program has to find out.
    pub create_dentry_argument: u32,
    /// `filelife`: which argument of `vfs_unlink` is the dentry; 0 if the program has to find out.
    pub unlink_dentry_argument: u32,
    /// Where fields are in structures that carry no type information at run time.
    pub layout: Layout,
}

/// Field offsets in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// `struct qstr`, `name`.
    pub qstr_name: u32,
    /// `struct task_struct`, `files`.
    pub task_struct_files: u32,
    /// `struct files_struct`, `fdt`.
    pub files_struct_fdt: u32,
    /// `struct fdtable`, `max_fds`.
    pub fdtable_max_fds: u32,
    /// `struct fdtable`, `fd`.
    pub fdtable_fd: u32,
    /// `struct file`, `f_op`.
    pub file_f_op: u32,
    /// `struct file`, `private_data`.
    pub file_private_data: u32,
    /// `struct socket`, `type`.
    pub socket_type: u32,
    /// `struct socket`, `sk`.
    pub socket_sk: u32,
    /// `struct socket`, `ops`.
    pub socket_ops: u32,
    /// `struct proto_ops`, `family`.
    pub proto_ops_family: u32,
    /// `struct sock`, the first byte of `sk_protocol`.
    pub sock_sk_protocol: u32,
    /// `struct sock_common`, `skc_family`.
    pub sock_common_skc_family: u32,
    /// `struct sock_common`, `skc_rcv_saddr`.
    pub sock_common_skc_rcv_saddr: u32,
    /// `struct sock_common`, `skc_daddr`.
    pub sock_common_skc_daddr: u32,
    /// `struct sock_common`, `skc_v6_rcv_saddr`.
    pub sock_common_skc_v6_rcv_saddr: u32,
    /// `struct sock_common`, `skc_v6_daddr`.
    pub sock_common_skc_v6_daddr: u32,
    /// `struct sock_common`, `skc_num`.
    pub sock_common_skc_num: u32,
    /// `struct sock_common`, `skc_dport`.
    pub sock_common_skc_dport: u32,
    /// `struct file`, `f_inode`.
    pub file_f_inode: u32,
    /// `struct file`, `f_mode`.
    pub file_f_mode: u32,
    /// `struct file`, `f_path`.
    pub file_f_path: u32,
    /// `struct path`, `dentry`.
    pub path_dentry: u32,
    /// `struct dentry`, `d_parent`.
    pub dentry_d_parent: u32,
    /// `struct dentry`, `d_name`.
    pub dentry_d_name: u32,
    /// `struct dentry`, `d_inode`.
    pub dentry_d_inode: u32,
    /// `struct inode`, `i_mode`.
    pub inode_i_mode: u32,
    /// `struct inode`, `i_ino`.
    pub inode_i_ino: u32,
    /// `struct inode`, `i_sb`.
    pub inode_i_sb: u32,
    /// `struct super_block`, `s_dev`.
    pub super_block_s_dev: u32,
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

/// A socket that is about to get its file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockAllocEvent {
    /// Who asked for it.
    pub header: EventHeader,
    /// `SOCK_*`.
    pub socket_type: u16,
    /// `AF_*`.
    pub family: u16,
    /// Zero.
    pub reserved: u32,
}

/// A completed write(2), writev(2), sendto(2) or sendmsg(2) to a socket that did not fail.
///
/// Only in the families [`AF_INET`], whose addresses are in the first word, and [`AF_INET6`] do
/// addresses and ports have a meaning.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketWriteEvent {
    /// Who wrote.
    pub header: EventHeader,
    /// Bytes written.
    pub ret: i64,
    /// The socket's own address, in network byte order.
    pub local_address: [u32; ADDRESS_WORDS],
    /// The address of the socket's peer, in network byte order.
    pub remote_address: [u32; ADDRESS_WORDS],
    /// Where to.
    pub fd: i32,
    /// `AF_*`.
    pub family: u16,
    /// `IPPROTO_*` in the families of the internet.
    pub protocol: u16,
    /// The socket's own port, in host byte order.
    pub local_port: u16,
    /// The port of the socket's peer, in network byte order; 0 if it has none.
    pub remote_port: u16,
    /// Zero.
    pub reserved: u32,
}

/// What is known of a write to a socket between entry and exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingSocketWrite {
    /// Address of the `struct sock`.
    pub sock: u64,
    /// The descriptor.
    pub fd: i32,
    /// The socket's own port then, in host byte order.
    pub local_port: u16,
    /// Zero.
    pub reserved: u16,
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
    /// The string argument, zero-terminated; what follows the zero is undefined, and so is all of it if the
    /// function has none.
    pub text: [u8; TEXT_LEN],
}

/// A thread asks for data to be written back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncEvent {
    /// Who called.
    pub header: EventHeader,
    /// Which way: one of the `CALL_` constants.
    pub call: u32,
    /// Zero.
    pub reserved: u32,
}

/// One completed call of a function in user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserCallEvent {
    /// Who called.
    pub header: EventHeader,
    /// Registers and stack slots, whole: the upper bits of a narrower argument are undefined. So is what
    /// follows the last argument.
    pub arguments: [u64; USER_ARGUMENTS],
    /// The register with the result, whole as well.
    pub ret: u64,
}

/// What tells the calls of a function that are under way apart: a thread can be in several of them, each with
/// its place on the stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserCallKey {
    /// `bpf_get_current_pid_tgid`.
    pub thread: u64,
    /// The stack pointer once the function has returned.
    pub stack: u64,
}

/// One attempt to read kernel memory at an address that came from user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadEvent {
    /// Whose address.
    pub header: EventHeader,
    /// Where to read.
    pub address: u64,
    /// What was there; zeros if nothing was read.
    pub bytes: [u8; READ_LEN],
    /// [`READ_DONE`], [`READ_REFUSED_BY_GUARD`] or [`READ_REFUSED_BY_KERNEL`].
    pub outcome: u32,
    /// Zero.
    pub reserved: u32,
}
