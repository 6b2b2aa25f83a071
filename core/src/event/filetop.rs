//! Events of `filetop`.

use std::fmt;

use kernlab_abi::{FileTotals, KIND_MASK};
use serde::{Deserialize, Serialize};

use super::{Action, DecodeError, Event, escape, read, with_header};
use crate::scenario::Tracer;

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

impl FileKind {
    /// The kind of an inode with this mode: include/uapi/linux/stat.h.
    pub fn of_mode(mode: u32) -> Self {
        match mode & KIND_MASK {
            0x8000 => FileKind::Regular,
            0x1000 => FileKind::Pipe,
            0xc000 => FileKind::Socket,
            _ => FileKind::Other,
        }
    }
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

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are valid FileTotals.
    let totals: FileTotals = unsafe { read(Tracer::Filetop, record)? };
    let action = Action::Transferred {
        kind: FileKind::of_mode(totals.mode),
        name: escape(&totals.name),
        reads: totals.reads,
        bytes_read: totals.bytes_read,
        writes: totals.writes,
        bytes_written: totals.bytes_written,
    };
    Ok(with_header(&totals.header, action))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::file(0o100_644, FileKind::Regular)]
    #[case::pipe(0o010_600, FileKind::Pipe)]
    #[case::socket(0o140_777, FileKind::Socket)]
    #[case::device(0o020_666, FileKind::Other)]
    #[case::eventfd(0o000_600, FileKind::Other)]
    fn the_mode_tells_the_kind(#[case] mode: u32, #[case] expected: FileKind) {
        assert_eq!(FileKind::of_mode(mode), expected);
    }
}
