//! What actions are about.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is behind a descriptor, as far as it matters to who reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A file with content.
    Regular,
    /// A pipe, with or without a name.
    Pipe,
    /// A socket.
    Socket,
    /// Devices, directories, and what has no kind: an eventfd, for example.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Regular => "regular",
            FileKind::Pipe => "pipe",
            FileKind::Socket => "socket",
            FileKind::Other => "other",
        })
    }
}

/// What came of an attempt to read kernel memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadOutcome {
    /// These bytes were there, those outside of printable ASCII escaped.
    Read(String),
    /// The program refused the address.
    RefusedByGuard,
    /// The kernel refused the address.
    RefusedByKernel,
}

impl fmt::Display for ReadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadOutcome::Read(bytes) => write!(f, "\"{bytes}\""),
            ReadOutcome::RefusedByGuard => f.write_str("refused by the guard"),
            ReadOutcome::RefusedByKernel => f.write_str("refused by the kernel"),
        }
    }
}

/// The side of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenameHalf {
    /// `IN_MOVED_FROM`.
    MovedFrom,
    /// `IN_MOVED_TO`.
    MovedTo,
}

impl fmt::Display for RenameHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RenameHalf::MovedFrom => "moved_from",
            RenameHalf::MovedTo => "moved_to",
        })
    }
}

/// A system call that asks for data to be written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncCall {
    /// All file systems.
    Sync,
    /// The file system of a descriptor.
    Syncfs,
    /// A file with all of its metadata.
    Fsync,
    /// A file with as much metadata as it takes to read it back.
    Fdatasync,
    /// A range of a mapping.
    Msync,
    /// A range of a file, without metadata.
    SyncFileRange,
}

impl fmt::Display for SyncCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SyncCall::Sync => "sync",
            SyncCall::Syncfs => "syncfs",
            SyncCall::Fsync => "fsync",
            SyncCall::Fdatasync => "fdatasync",
            SyncCall::Msync => "msync",
            SyncCall::SyncFileRange => "sync_file_range",
        })
    }
}
