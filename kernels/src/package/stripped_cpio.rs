//! Members without headers of their own: rpm's form of a cpio archive for files beyond 4 GiB, and
//! since rpm 6 for all. A member begins with its number in the package's list of files.
//!
//! The format is described in `docs/manual/format_v6.md` of rpm's source.

use std::{collections::HashMap, io::Read};

use super::PackageError;
use crate::repository::rpm::header::{Header, tag};

/// What a member begins with.
pub(super) const MAGIC: &[u8] = b"07070X";

/// The eight digits of the number, and what fills them up to a multiple of four.
const NUMBER: usize = 8;
const FILLED: usize = 10;

/// A file as the package lists it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// With a leading `./`.
    pub(super) path: String,
    pub(super) mode: u32,
    /// How many bytes of it are in the archive.
    pub(super) size: u64,
}

/// All of them; empty if the list is not one.
pub(super) fn list(header: &Header) -> Vec<Listed> {
    let dirs = header.strings(tag::DIR_NAMES);
    let names = header.strings(tag::FILE_NAMES);
    let indexes = header.numbers(tag::DIR_INDEXES);
    let modes = header.numbers(tag::FILE_MODES);
    let inodes = header.numbers(tag::FILE_INODES);
    let sizes = match header.numbers(tag::LONG_FILE_SIZES) {
        sizes if sizes.is_empty() => header.numbers(tag::FILE_SIZES),
        sizes => sizes,
    };
    // Of files that are one and the same, the last has the content.
    let last: HashMap<_, _> = inodes.iter().enumerate().map(|(at, inode)| (*inode, at)).collect();
    let listed = |(at, name): (usize, &&str)| {
        let dir = dirs.get(usize::try_from(*indexes.get(at)?).ok()?)?;
        let has_content = inodes.get(at).and_then(|inode| last.get(inode)).is_none_or(|l| *l == at);
        Some(Listed {
            path: format!("./{}{name}", dir.trim_start_matches('/')),
            mode: u32::try_from(*modes.get(at)?).ok()?,
            size: if has_content { *sizes.get(at)? } else { 0 },
        })
    };
    names.iter().enumerate().map_while(listed).collect()
}

/// Reads which file comes next, behind the magic number.
pub(super) fn next<'a>(
    archive: &mut dyn Read,
    files: &'a [Listed],
) -> Result<&'a Listed, PackageError> {
    let mut number = [0; FILLED];
    archive.read_exact(&mut number)?;
    let number = std::str::from_utf8(&number[..NUMBER]).ok();
    let number = number.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    let why = "its payload has a file that is not in its list";
    number.and_then(|number| files.get(number)).ok_or(PackageError::NotAPackage(why))
}

/// How many bytes fill content up to where the next member begins.
pub(super) fn padding(size: u64) -> usize {
    (size.wrapping_neg() % 4) as usize
}
