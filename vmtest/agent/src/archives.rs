//! Archives of files for the guest, in the format of tar(1).

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    path::Path,
    thread,
};

use kernlab_proto::suite::ARCHIVES;
use nix::mount::{MsFlags, mount};

use crate::root;

/// Unpacks an archive into the root directory of programs.
fn unpack(archive: impl Read + Send) -> io::Result<()> {
    root::inside(|| unpack_into("/", archive))
}

fn unpack_into(dir: impl AsRef<Path>, archive: impl Read) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    // Anybody may write to directories for temporary files.
    archive.set_preserve_permissions(true);
    archive.unpack(dir)
}

/// Unpacks an archive whose bytes `fill` passes to the function that it is given.
pub(crate) fn unpack_from(
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<()> {
    make_room();
    let (reader, mut writer) = io::pipe()?;
    let unpacking = thread::spawn(move || {
        let mut reader = reader;
        let unpacked = unpack(&mut reader);
        // What follows the end of an archive is padding. After an error, the writer is not stopped
        // by a broken pipe, which would hide the error.
        let drained = io::copy(&mut reader, &mut io::sink());
        unpacked.and(drained.map(drop))
    });
    let filled = fill(&mut |bytes| writer.write_all(bytes));
    drop(writer);
    let unpacked = unpacking.join().unwrap_or_else(|_| Err(io::Error::other("unpacking failed")));
    filled.and(unpacked)
}

/// Unpacks the archives that the host has written to files, and removes these files.
pub(crate) fn unpack_waiting() -> io::Result<()> {
    root::inside(|| {
        let dir = Path::new(ARCHIVES);
        let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        files.sort();
        make_room();
        for file in &files {
            unpack_into("/", File::open(file)?)?;
            fs::remove_file(file)?;
        }
        fs::remove_dir(dir)
    })
}

/// Lets files fill most of the memory: by default, a file system in memory takes half of it. It is
/// not an error if the root is of another kind, which has no limit.
fn make_room() {
    for dir in ["/", "/tmp", "/changes"] {
        let _ = mount(None::<&str>, dir, None::<&str>, MsFlags::MS_REMOUNT, Some("size=90%"));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn all_permissions_are_preserved() {
        let mut archive = tar::Builder::new(Vec::new());
        let modes =
            [("tmp", tar::EntryType::Directory, 0o1777), ("su", tar::EntryType::Regular, 0o4755)];
        for (name, kind, mode) in modes {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(0);
            archive.append_data(&mut header, name, io::empty()).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        unpack_into(dir.path(), &*archive.into_inner().unwrap()).unwrap();
        for (name, _, mode) in modes {
            let found = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(found & 0o7777, mode, "{name}");
        }
    }
}
