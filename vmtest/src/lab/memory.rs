//! The file with a guest's memory.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

use nix::{
    errno::Errno,
    sys::memfd::{MFdFlags, memfd_create},
    unistd::{Whence, lseek64},
};

/// The unit of a guest's memory, in bytes. Many pages are empty, and are holes in the file.
const PAGE: usize = 4096;
/// Bytes to read at once.
const PIECE: usize = 256 * PAGE;

/// Creates an empty file without a name.
pub(super) fn empty(length: u64) -> io::Result<File> {
    let file = File::from(memfd_create(c"guest-memory", MFdFlags::MFD_CLOEXEC)?);
    file.set_len(length)?;
    Ok(file)
}

/// Copies a file to a new one without a name.
pub(super) fn copy(file: &File) -> io::Result<File> {
    let copy = empty(file.metadata()?.size())?;
    for_each_page(file, |offset, page| copy.write_all_at(page, offset))?;
    Ok(copy)
}

/// Calls `use_page` for every page that isn't empty, with its offset, and returns a checksum of
/// these pages.
pub(crate) fn for_each_page(
    file: &File,
    mut use_page: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<u32> {
    const EMPTY: [u8; PAGE] = [0; PAGE];
    let mut checksum = crc32fast::Hasher::new();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while let Some(data) = seek(file, at, Whence::SeekData)? {
        let end = seek(file, data, Whence::SeekHole)?.unwrap_or(data);
        at = data - data % PAGE as u64;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let piece = &mut buffer[..length];
            file.read_exact_at(piece, at)?;
            for page in piece.chunks(PAGE) {
                if page != &EMPTY[..page.len()] {
                    checksum.update(&at.to_le_bytes());
                    checksum.update(page);
                    use_page(at, page)?;
                }
                at += page.len() as u64;
            }
        }
    }
    Ok(checksum.finalize())
}

/// The next offset of data or of a hole; none if there is none.
fn seek(file: &File, from: u64, whence: Whence) -> io::Result<Option<u64>> {
    match lseek64(file, from.cast_signed(), whence) {
        Ok(at) => Ok(Some(at.cast_unsigned())),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
