//! Tar archives: the data of Debian packages, and plain archives.

use std::io::{self, Read};

use super::{Kind, Limits, Member, PackageError};
use crate::compression::{Bounded, Compression};

/// Far more than any name needs, or the extended attributes of a file.
const MAX_NAME: u64 = 64 << 10;

/// The names that precede a member whose header has no room for them.
#[derive(Default)]
struct Names {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

impl Names {
    /// Reads an entry that only names the next one; `false` if it is a member itself.
    fn take(&mut self, kind: tar::EntryType, entry: &mut impl Read) -> Result<bool, PackageError> {
        let mut read = || {
            let mut text = Vec::new();
            entry.take(MAX_NAME + 1).read_to_end(&mut text)?;
            match text.len() as u64 > MAX_NAME {
                true => Err(PackageError::LongName { limit: MAX_NAME }),
                false => Ok(text),
            }
        };
        let without_end = |mut name: Vec<u8>| {
            if name.last() == Some(&0) {
                name.pop();
            }
            name
        };
        if kind.is_gnu_longname() {
            self.path = Some(without_end(read()?));
        } else if kind.is_gnu_longlink() {
            self.target = Some(without_end(read()?));
        } else if kind.is_pax_local_extensions() {
            for record in tar::PaxExtensions::new(&read()?) {
                let record = record.map_err(PackageError::from)?;
                match record.key_bytes() {
                    b"path" => self.path = Some(record.value_bytes().to_vec()),
                    b"linkpath" => self.target = Some(record.value_bytes().to_vec()),
                    _ => {}
                }
            }
        } else if kind.is_pax_global_extensions() {
            read()?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// Calls `visit` for every member that is not a directory.
pub(super) fn for_each_member<E: From<PackageError>>(
    archive: &mut dyn Read,
    compression: Compression,
    limits: Limits,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let data = compression.reader(archive).map_err(PackageError::from)?;
    let mut archive = tar::Archive::new(Bounded::new(data, limits.unpacked));
    let mut names = Names::default();
    // The crate reads names of any length into memory: those that precede a member are read here.
    for entry in archive.entries().map_err(PackageError::from)?.raw(true) {
        let mut entry = entry.map_err(PackageError::from)?;
        let entry_type = entry.header().entry_type();
        if names.take(entry_type, &mut entry)? {
            continue;
        }
        let Names { path, target } = std::mem::take(&mut names);
        let path = path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = String::from_utf8_lossy(&path).into_owned();
        let kind = if entry_type.is_file() {
            Kind::File
        } else if entry_type.is_symlink() {
            let target = target.or_else(|| entry.link_name_bytes().map(|name| name.into_owned()));
            Kind::Link(String::from_utf8_lossy(&target.unwrap_or_default()).into_owned())
        } else {
            Kind::Other
        };
        let mut member = Member::new(&path, kind, &mut entry)?;
        if !entry_type.is_dir() {
            visit(&mut member)?;
        }
    }
    // The rest has no content, but its checksums prove that the content before it is intact.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(PackageError::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// An archive whose first entry, of this kind, claims this size, and has this content.
    fn archive(kind: tar::EntryType, size: u64, content: &[u8]) -> Vec<u8> {
        let entry = |kind, path: &str, size, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_path(path).unwrap();
            header.set_size(size);
            header.set_cksum();
            let mut bytes = [header.as_bytes(), content].concat();
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            bytes
        };
        let mut bytes = entry(kind, "name", size, content);
        bytes.extend(entry(tar::EntryType::Regular, "short", 5, b"image"));
        bytes.extend([0; 1024]);
        bytes
    }

    fn paths(archive: &[u8]) -> Result<Vec<String>, PackageError> {
        let limits = Limits { unpacked: 8 << 30 };
        let mut paths = Vec::new();
        for_each_member(&mut &archive[..], Compression::None, limits, &mut |member| {
            paths.push(member.path.to_owned());
            Ok::<_, PackageError>(())
        })?;
        Ok(paths)
    }

    #[rstest]
    #[case::gnu(tar::EntryType::GNULongName, b"boot/vmlinuz-6.1\0")]
    #[case::pax(tar::EntryType::XHeader, b"25 path=boot/vmlinuz-6.1\n")]
    fn a_name_may_precede_its_member(#[case] kind: tar::EntryType, #[case] name: &[u8]) {
        let archive = archive(kind, name.len() as u64, name);
        assert_eq!(paths(&archive).unwrap(), ["boot/vmlinuz-6.1"]);
    }

    #[rstest]
    #[case::gnu(tar::EntryType::GNULongName)]
    #[case::gnu_link(tar::EntryType::GNULongLink)]
    #[case::pax(tar::EntryType::XHeader)]
    #[case::pax_of_all(tar::EntryType::XGlobalHeader)]
    fn a_name_is_bounded(#[case] kind: tar::EntryType) {
        // It claims 3 GB, and goes on for some time.
        let archive = archive(kind, 3 << 30, &vec![b'a'; 4 << 20]);
        let error = paths(&archive).unwrap_err();
        assert!(matches!(error, PackageError::LongName { .. }), "{error}");
    }
}
