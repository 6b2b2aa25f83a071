//! Payloads as archives in the store.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Read, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use kernlab_kernels::{Digest, Part, Store};
use tar::{Builder, EntryType, Header};

use super::{Entry, Payload};
use crate::unused;

/// An archive that was unused for this long is removed.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The size limit for all archives, in bytes on disk: each build of a program has its own. Those that a run may
/// still use count, and stay.
const ROOM: u64 = 4 << 30;

/// How long after its last use a run may use an archive again.
const IN_USE: Duration = Duration::from_secs(6 * 60 * 60);

/// How precisely the time of the last use is recorded. An archive whose time is set is read again to
/// learn that its content is the same.
const USE_RESOLUTION: Duration = Duration::from_secs(60 * 60);

/// An archive could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to pack {what} for the guest")]
pub struct ArchiveError {
    /// The file, or the archive itself.
    what: String,
    source: io::Error,
}

impl ArchiveError {
    /// Whether the store has no room for the archive, or can't be written.
    pub(crate) fn is_about_the_store(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        matches!(
            self.source.kind(),
            FileTooLarge | QuotaExceeded | ReadOnlyFilesystem | StorageFull
        )
    }
}

fn failed(what: &Path) -> impl Fn(io::Error) -> ArchiveError {
    let what = what.display().to_string();
    move |source| ArchiveError { what: what.clone(), source }
}

/// Notes that an archive is used.
pub(crate) fn touch(path: &Path) {
    // If that fails, the archive is only removed a little earlier.
    let _ = unused::touch(path, USE_RESOLUTION);
}

impl Payload {
    /// The payload in two parts: what the system provides, which rarely changes, and the rest: small
    /// files, and what is at or below one of the places `own`.
    pub fn split(self, own: &[PathBuf]) -> (Payload, Payload) {
        let (complete, foreign, has_root) = (Vec::new(), self.foreign, self.has_root);
        let own: BTreeSet<&Path> = own.iter().map(PathBuf::as_path).collect();
        let is_own = |path: &Path| path.ancestors().any(|place| own.contains(place));
        let (system, rest) = self.entries.into_iter().partition(|(guest, entry)| match entry {
            Entry::Text(_) => guest.starts_with("/etc/"),
            Entry::File(host) => !is_own(host),
            Entry::Link(_) | Entry::Dir => !is_own(Path::new(guest)),
        });
        let library_path = self.library_path;
        let of = |entries| Payload {
            entries,
            complete: complete.clone(),
            foreign,
            has_root,
            library_path: library_path.clone(),
        };
        (of(system), of(rest))
    }

    /// The number of bytes of all files.
    pub fn size(&self) -> u64 {
        let size = |entry: &Entry| match entry {
            Entry::File(host) => fs::metadata(host).map_or(0, |file| file.len()),
            Entry::Text(text) => text.len() as u64,
            Entry::Link(_) | Entry::Dir => 0,
        };
        // Every file takes whole pages of the guest's memory.
        self.entries.values().map(|entry| size(entry).next_multiple_of(4096)).sum()
    }

    /// The path of the payload as an archive in the store, which is written if necessary.
    pub fn archive(&self, store: &Store) -> Result<PathBuf, ArchiveError> {
        self.archived(store).map(|(path, _)| path)
    }

    /// The path of the payload as an archive in the store, and whether it was there before.
    pub(crate) fn archived(&self, store: &Store) -> Result<(PathBuf, bool), ArchiveError> {
        let dir = store.root().join(Part::Archives.name());
        let path = dir.join(format!("{}.tar", self.identity()?));
        let digests = store.content_digests();
        let is_damaged = || self.is_another(&path).unwrap_or(!digests.is_as_made(&path));
        if path.exists() && !is_damaged() {
            touch(&path);
            return Ok((path, true));
        }
        fs::create_dir_all(&dir).map_err(failed(&dir))?;
        let now = SystemTime::now();
        unused::remove(&dir, Part::Archives, KEPT_FOR, now)
            .and_then(|()| {
                unused::make_room(&dir, Part::Archives, ROOM, IN_USE + USE_RESOLUTION, now)
            })
            .map_err(failed(&dir))?;
        let file = tempfile::NamedTempFile::new_in(&dir).map_err(failed(&dir))?;
        self.write(&file)?;
        if self.has_files() {
            // After a crash, the file must not appear under its name without its content.
            file.as_file().sync_all().map_err(failed(&path))?;
            digests.note_made(file.path(), &path);
        }
        // Guests that have a damaged one open keep it.
        file.persist(&path).map_err(|error| failed(&path)(error.error))?;
        Ok((path, false))
    }

    fn has_files(&self) -> bool {
        self.files().next().is_some()
    }

    /// Whether an archive has another content than this payload of texts, of which nothing is noted:
    /// there is one for each cell. None if there are files, which take long to read.
    fn is_another(&self, path: &Path) -> Option<bool> {
        if self.has_files() {
            return None;
        }
        let mut expected = Vec::new();
        let written = self.write(&mut expected).is_ok();
        Some(!written || !fs::read(path).is_ok_and(|found| found == expected))
    }

    /// Identifies every file by what changes when it is written, as make(1) does.
    fn identity(&self) -> Result<Digest, ArchiveError> {
        let mut text = String::new();
        for (guest, entry) in &self.entries {
            text.push_str(&format!("{guest:?} {entry:?}"));
            if let Entry::File(host) = entry {
                let file = fs::metadata(host).map_err(failed(host))?;
                let times = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
                text.push_str(&format!(" {} {} {} {times:?}", file.dev(), file.ino(), file.size()));
                if file.is_file() && file.size() == 0 {
                    let content = File::open(host).and_then(content_without_size);
                    text.push_str(&Digest::of(&content.map_err(failed(host))?).to_string());
                }
            }
            text.push('\n');
        }
        Ok(Digest::of(text.as_bytes()))
    }

    fn write(&self, file: impl io::Write) -> Result<(), ArchiveError> {
        let mut archive = Builder::new(BufWriter::new(file));
        for (guest, entry) in &self.entries {
            append(&mut archive, guest, entry).map_err(match entry {
                Entry::File(host) => failed(host),
                _ => failed(Path::new(guest)),
            })?;
        }
        let written = archive.into_inner().and_then(|mut file| file.flush());
        written.map_err(failed(Path::new("the archive")))
    }
}

fn append(archive: &mut Builder<impl io::Write>, guest: &str, entry: &Entry) -> io::Result<()> {
    let name = guest.trim_start_matches('/');
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    match entry {
        Entry::File(host) => {
            let file = File::open(host)?;
            let state = file.metadata()?;
            header.set_entry_type(EntryType::Regular);
            header.set_mode(state.permissions().mode() & 0o7777);
            header.set_mtime(state.mtime().try_into().unwrap_or_default());
            match state.len() {
                0 => {
                    let content = content_without_size(file)?;
                    let size = content.len() as u64;
                    append_file(archive, &mut header, name, &content[..], size)
                }
                size => append_file(archive, &mut header, name, file, size),
            }
        }
        Entry::Text(text) => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, name, text.as_bytes())
        }
        Entry::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            archive.append_link(&mut header, name, target)
        }
        Entry::Dir => {
            header.set_entry_type(EntryType::Directory);
            // Anybody may write to the directories for temporary files.
            let mode = if matches!(guest, "/tmp" | "/var/tmp") { 0o1777 } else { 0o755 };
            header.set_mode(mode);
            header.set_size(0);
            archive.append_data(&mut header, name, io::empty())
        }
    }
}

/// The most that is read of a file which says that it is empty, in bytes.
const MOST_WITHOUT_SIZE: u64 = 64 << 20;

/// The content of a file which says that it is empty: those of /proc have content all the same.
fn content_without_size(file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(MOST_WITHOUT_SIZE).read_to_end(&mut content)?;
    Ok(content)
}

/// Appends a file that had this size when it was opened.
fn append_file(
    archive: &mut Builder<impl io::Write>,
    header: &mut Header,
    name: &str,
    content: impl Read,
    size: u64,
) -> io::Result<()> {
    header.set_size(size);
    // Bytes that were added since would be mistaken for the next entry.
    let mut content = content.take(size);
    archive.append_data(header, name, &mut content)?;
    match content.limit() {
        0 => Ok(()),
        missing => Err(io::Error::other(format!(
            "it has {missing} bytes less than the {size} that its size says: it may have changed meanwhile"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends a file that had five bytes when it was opened.
    fn append_five(archive: &mut Builder<Vec<u8>>, content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        append_file(archive, &mut header, "file", content, 5)
    }

    #[test]
    fn a_file_of_proc_has_its_content() {
        let mut archive = Builder::new(Vec::new());
        let version = Entry::File("/proc/version".into());
        append(&mut archive, "/version", &version).unwrap();
        let archive = archive.into_inner().unwrap();
        let expected = fs::read("/proc/version").unwrap();
        assert!(memchr::memmem::find(&archive, &expected).is_some());
    }

    #[test]
    fn a_file_that_grows_does_not_damage_what_follows() {
        let mut archive = Builder::new(Vec::new());
        // It grows by more than an entry is padded with.
        let grown = b"12345".repeat(1000);
        for content in [&grown[..], b"12345"] {
            append_five(&mut archive, content).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let mut archive = tar::Archive::new(&*bytes);
        let contents = archive.entries().unwrap().map(|entry| {
            let mut content = String::new();
            entry.unwrap().read_to_string(&mut content).unwrap();
            content
        });
        assert_eq!(contents.collect::<Vec<_>>(), ["12345", "12345"]);
    }

    #[test]
    fn a_file_that_shrinks_is_not_packed() {
        let error = append_five(&mut Builder::new(Vec::new()), b"123").unwrap_err().to_string();
        assert_eq!(
            error,
            "it has 2 bytes less than the 5 that its size says: it may have changed meanwhile"
        );
    }
}
