//! Members without headers of their own: rpm's variant of a cpio archive for files larger than 4
//! GiB, and since rpm 6 for all files. A member starts with its index in the package's file list.
//!
//! The format is described in `docs/manual/format_v6.md` of rpm's source.

use std::{collections::HashMap, io::Read};

use super::PackageError;
use crate::repository::rpm::header::{Header, tag};

/// The magic number of a member.
pub(super) const MAGIC: &[u8] = b"07070X";

/// The eight digits of the index, and the padding to a multiple of four.
const NUMBER: usize = 8;
const FILLED: usize = 10;

/// The longest path, in bytes: far more than any file has.
const MAX_PATH: usize = 1 << 16;

/// A file in the package's file list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed<'a> {
    dir: &'a str,
    name: &'a str,
    pub(super) mode: u32,
    /// How many bytes of it are in the archive.
    pub(super) size: u64,
}

impl Listed<'_> {
    /// With a leading `./`. Made when it is needed: a list can name one long directory for every file.
    pub(super) fn path(&self) -> Result<String, PackageError> {
        let dir = self.dir.trim_start_matches('/');
        match dir.len() + self.name.len() <= MAX_PATH {
            true => Ok(format!("./{dir}{}", self.name)),
            false => Err(PackageError::LongName { limit: MAX_PATH as u64 }),
        }
    }
}

/// All files of the list; empty if the list is malformed.
pub(super) fn list(header: &Header) -> Vec<Listed<'_>> {
    let dirs = header.strings(tag::DIR_NAMES);
    let names = header.strings(tag::FILE_NAMES);
    let indexes = header.numbers(tag::DIR_INDEXES);
    let modes = header.numbers(tag::FILE_MODES);
    let inodes = header.numbers(tag::FILE_INODES);
    let sizes = match header.numbers(tag::LONG_FILE_SIZES) {
        sizes if sizes.is_empty() => header.numbers(tag::FILE_SIZES),
        sizes => sizes,
    };
    // Among hard links to one file, the last has the content.
    let last: HashMap<_, _> = inodes.iter().enumerate().map(|(at, inode)| (*inode, at)).collect();
    let listed = |(at, name)| {
        let dir = dirs.get(usize::try_from(*indexes.get(at)?).ok()?)?;
        let has_content = inodes.get(at).and_then(|inode| last.get(inode)).is_none_or(|l| *l == at);
        Some(Listed {
            dir,
            name,
            mode: u32::try_from(*modes.get(at)?).ok()?,
            size: if has_content { *sizes.get(at)? } else { 0 },
        })
    };
    names.into_iter().enumerate().map_while(listed).collect()
}

/// Reads which file comes next, after the magic number.
pub(super) fn next<'a>(
    archive: &mut dyn Read,
    files: &'a [Listed<'a>],
) -> Result<&'a Listed<'a>, PackageError> {
    let mut number = [0; FILLED];
    archive.read_exact(&mut number)?;
    let number = std::str::from_utf8(&number[..NUMBER]).ok();
    let number = number.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    let why = "its payload has a file that is not in its list";
    number.and_then(|number| files.get(number)).ok_or(PackageError::NotAPackage(why))
}

/// The number of padding bytes between content of this size and the next member.
pub(super) fn padding(size: u64) -> usize {
    (size.wrapping_neg() % 4) as usize
}
