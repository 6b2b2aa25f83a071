//! The file that a guest's memory is in.

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

/// The unit of a guest's memory, in bytes. Many are empty, and holes in the file.
const PAGE: usize = 4096;
/// Bytes read at once.
const PIECE: usize = 256 * PAGE;

/// A file without content and without a name.
pub(super) fn empty(length: u64) -> io::Result<File> {
    let file = File::from(memfd_create(c"guest-memory", MFdFlags::MFD_CLOEXEC)?);
    file.set_len(length)?;
    Ok(file)
}

/// Another file with the same content.
pub(super) fn copy(file: &File) -> io::Result<File> {
    let copy = empty(file.metadata()?.size())?;
    for_each_page(file, |offset, page| copy.write_all_at(page, offset))?;
    Ok(copy)
}

/// Hands every page that isn't empty to `use_page`, with its offset, and returns a checksum of them all.
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

/// Where data or a hole begins; none if there is no more of it.
fn seek(file: &File, from: u64, whence: Whence) -> io::Result<Option<u64>> {
    match lseek64(file, from.cast_signed(), whence) {
        Ok(at) => Ok(Some(at.cast_unsigned())),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
