//! What a process prepared, so that its traces in kernel memory can be recognised.

use std::net::SocketAddr;

/// Everything that is known of the objects to search for. They exist as long as the search lasts.
#[derive(Clone, Debug)]
pub struct Subjects {
    /// Addresses below are never read.
    pub kernel_address_min: u64,
    /// Threads that share one table of descriptors; two at least.
    pub sharers: Vec<TaskSubject>,
    /// A thread of the same process with a table of its own: a copy, grown for a large descriptor.
    pub loner: TaskSubject,
    /// Open in all tables: descriptors with those that were duplicated from them.
    pub duplicates: Vec<(u32, u32)>,
    /// Open in the loner's table only, beyond the initial size of a table, with the descriptor that
    /// it was duplicated from.
    pub high: (u32, u32),
    /// Not open in any table, but smaller than some that are.
    pub closed: Vec<u32>,
    /// Files and directories, open in all tables.
    pub files: Vec<FileSubject>,
    /// Sockets, open in all tables.
    pub sockets: Vec<SocketSubject>,
    /// The address of `socket_file_ops`, where the kernel's symbol table lists it.
    pub socket_file_ops: Option<u64>,
}

/// A thread.
#[derive(Clone, Debug)]
pub struct TaskSubject {
    /// Of its `struct task_struct`.
    pub address: u64,
    /// Its name: 15 bytes, and no other thread has it.
    pub comm: String,
    /// Its thread id, which is not the process id.
    pub pid: u32,
    /// Its process id.
    pub tgid: u32,
}

/// An open file or directory.
#[derive(Clone, Debug)]
pub struct FileSubject {
    /// Descriptor.
    pub fd: u32,
    /// Which directory entry it was opened by: the same number means the same entry.
    pub entry: u32,
    /// The entry's name; `/` for the root of a file system.
    pub name: String,
    /// The descriptor of the directory that holds the entry, if that is open as well. The root of a
    /// file system holds itself.
    pub parent: Option<u32>,
    /// The descriptor of the root of the mount that it was opened in, if that is open as well.
    pub mount_root: Option<u32>,
    /// How it was opened.
    pub access: Access,
    /// What fstat(2) says.
    pub status: Status,
}

/// How a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`.
    Both,
}

/// A part of `struct stat`, with device numbers as the kernel has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// `st_ino`.
    pub inode: u64,
    /// `st_mode`: type and permissions.
    pub mode: u16,
    /// `st_rdev`, see [`kernel_device`](Status::kernel_device).
    pub rdev: u32,
    /// `st_dev`, see [`kernel_device`](Status::kernel_device).
    pub device: u32,
}

/// A socket.
#[derive(Clone, Debug)]
pub struct SocketSubject {
    /// Descriptor.
    pub fd: u32,
    /// `AF_INET`, ...
    pub family: u16,
    /// `SOCK_STREAM`, ...
    pub kind: u16,
    /// `IPPROTO_TCP`, ... of an internet socket.
    pub protocol: Option<u8>,
    /// Of an internet socket with ports: what getsockname(2) and getpeername(2) say. The address
    /// and port of an unconnected socket's peer are zero.
    pub endpoints: Option<(SocketAddr, SocketAddr)>,
    /// `TCP_ESTABLISHED`, ..., which other protocols use as well: include/net/tcp_states.h.
    pub state: Option<u8>,
}

impl Status {
    /// A device number as the kernel keeps it: `MKDEV`, include/linux/kdev_t.h.
    pub fn kernel_device(major: u32, minor: u32) -> u32 {
        major << 20 | minor
    }

    /// `S_IFMT`: is it of this type?
    pub(super) fn is(&self, file_type: u16) -> bool {
        self.mode & 0o170_000 == file_type
    }
}
