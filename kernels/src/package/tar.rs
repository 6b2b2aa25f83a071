//! Tar archives: the data of Debian packages, and plain archives.

use std::io::{self, Read};

use super::{Kind, Limits, Member, PackageError};
use crate::compression::{Bounded, Compression};

/// Calls `visit` for every member that is not a directory.
pub(super) fn for_each_member<E: From<PackageError>>(
    archive: &mut dyn Read,
    compression: Compression,
    limits: Limits,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let data = compression.reader(archive).map_err(PackageError::from)?;
    let mut archive = tar::Archive::new(Bounded::new(data, limits.unpacked));
    for entry in archive.entries().map_err(PackageError::from)? {
        let mut entry = entry.map_err(PackageError::from)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let entry_type = entry.header().entry_type();
        let kind = if entry_type.is_file() {
            Kind::File
        } else if entry_type.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default();
            Kind::Link(String::from_utf8_lossy(&target).into_owned())
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
