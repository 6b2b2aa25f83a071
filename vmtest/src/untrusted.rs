//! Files that may come from another machine: reading them must neither wait nor fill the memory.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// The largest file that is read at once, in bytes: as much as a guest may send.
pub(crate) const LARGEST: u64 = 512 << 20;

/// Whether a symbolic link may stand for the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// The user has named the file.
    Follow,
    /// A link could name any file of this machine.
    Refuse,
}

/// Opens a regular file, and nothing on which a reader could wait: a pipe might never end, and a device never
/// does.
pub(crate) fn open(path: &Path, links: Links) -> io::Result<File> {
    let flags = match links {
        Links::Follow => libc::O_NONBLOCK,
        Links::Refuse => libc::O_NONBLOCK | libc::O_NOFOLLOW,
    };
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// The bytes of a regular file.
pub(crate) fn read(path: &Path, links: Links) -> io::Result<Vec<u8>> {
    let bytes = read_start(path, links, LARGEST + 1)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 512 MiB")),
        false => Ok(bytes),
    }
}

/// At most so many bytes from the start of a regular file.
pub(crate) fn read_start(path: &Path, links: Links, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, links)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
