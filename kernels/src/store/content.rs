//! Digests of files that are too large to be read each time they are used.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Part, Store, StoreError};
use crate::{digest::Digest, replace::replace_private_file};

/// Lists the digests of an artifact's files, in the artifact.
const LIST: &str = ".content.json";

/// The length of a digest in hexadecimal digits, which follows each note.
const DIGEST: usize = 64;

/// A file that was changed this recently may change again without another time: file systems count
/// time in ticks of some milliseconds.
const SETTLED: Duration = Duration::from_secs(1);

/// The digests of files, remembered as long as nothing has written to them.
///
/// A write changes a file's time of change, which no program can set: unlike its size and its time of
/// modification, two different contents never share it. After a reboot every file is read again, so
/// that what a crash or a disk did to it is noticed.
#[derive(Clone, Debug)]
pub struct ContentDigests {
    dir: PathBuf,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    boot: String,
}

impl Seen {
    fn of(state: &fs::Metadata) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Seen {
            device: state.dev(),
            inode: state.ino(),
            size: state.size(),
            modified: (state.mtime(), state.mtime_nsec()),
            changed: (state.ctime(), state.ctime_nsec()),
            boot: boot.trim_end().to_owned(),
        }
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.changed.0).unwrap_or(0);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.saturating_add(1));
        now.duration_since(changed).is_ok_and(|age| age >= SETTLED)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    seen: Seen,
    digest: Digest,
}

/// The content that a file was made with.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    digest: Digest,
}

fn name_of_made(file: &Path) -> Digest {
    Digest::of([b"made ", file.as_os_str().as_encoded_bytes()].concat().as_slice())
}

impl ContentDigests {
    /// Digests that are remembered in this directory, which is made when it is needed.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        ContentDigests { dir: dir.into() }
    }

    /// The digest of a file's content: remembered, or read now.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is not a regular file.
    pub fn of(&self, file: &Path) -> io::Result<Digest> {
        let state = fs::metadata(file)?;
        if !state.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let now = SystemTime::now();
        let seen = Seen::of(&state);
        let name = Digest::of(format!("{} {}", seen.device, seen.inode).as_bytes());
        if let Some(Note { digest, .. }) = self.recall(name).filter(|note: &Note| note.seen == seen)
        {
            return Ok(digest);
        }
        let mut reader = BufReader::with_capacity(1 << 20, File::open(file)?);
        let (digest, _) = Digest::of_reader(&mut reader)?;
        if seen.is_settled(now) && Seen::of(&reader.get_ref().metadata()?) == seen {
            self.remember(name, &Note { seen, digest });
        }
        Ok(digest)
    }

    /// The digest of a file's content, which is read now in any case.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is not a regular file.
    pub fn read(&self, file: &Path) -> io::Result<Digest> {
        let state = fs::metadata(file)?;
        let name = Digest::of(format!("{} {}", state.dev(), state.ino()).as_bytes());
        match fs::remove_file(self.dir.join(format!("{name}.json"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.of(file)
    }

    /// Notes the content of a file that was just made and is about to be moved to `place`, for
    /// [`ContentDigests::is_as_made`]. Then no process finds it there without the note.
    pub fn note_made(&self, file: &Path, place: &Path) {
        if let Ok(digest) = self.of(file) {
            self.remember(name_of_made(place), &Made { digest });
        }
    }

    /// Whether a file has the content that it was made with. A file without a note may be
    /// what a crash left.
    pub fn is_as_made(&self, file: &Path) -> bool {
        let made = self.recall(name_of_made(file));
        made.is_some_and(|Made { digest }| self.of(file).is_ok_and(|found| found == digest))
    }

    /// What was noted under this name.
    pub(crate) fn recall<T: DeserializeOwned>(&self, name: Digest) -> Option<T> {
        let bytes = fs::read(self.dir.join(format!("{name}.json"))).ok()?;
        let (note, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
        // A note that was damaged would make what is whole seem damaged, for good.
        (Digest::of(note).to_string().as_bytes() == digest).then_some(())?;
        serde_json::from_slice(note).ok()
    }

    /// Notes something. If that fails, the file is only read once more.
    pub(crate) fn remember<T: Serialize>(&self, name: Digest, note: &T) {
        let write = || {
            fs::create_dir_all(&self.dir)?;
            let mut note = serde_json::to_vec(note)?;
            let digest = Digest::of(&note).to_string();
            note.extend(digest.as_bytes());
            replace_private_file(&self.dir.join(format!("{name}.json")), &note)
        };
        drop(write());
    }
}

impl Store {
    /// The digests of files that this machine's store remembers.
    pub fn content_digests(&self) -> ContentDigests {
        ContentDigests::at(self.root().join(Part::Digests.name()))
    }

    /// The name of a file of an artifact whose content is no longer what it was when it was made.
    pub fn damage(&self, key: &str) -> Option<String> {
        let artifact = self.artifact_path(key);
        let list = read_list(&artifact)?;
        let digests = self.content_digests();
        let is_whole = |(name, digest): &(String, Digest)| {
            digests.of(&artifact.join(name)).is_ok_and(|found| found == *digest)
        };
        list.into_iter().find(|file| !is_whole(file)).map(|(name, _)| name)
    }

    /// Whether a file of an artifact has another content than it was made with. It is read now in any
    /// case, so that damage of the disk is noticed, too.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn is_damaged(&self, file: &Path) -> io::Result<bool> {
        let Some(list) = file.parent().and_then(read_list) else { return Ok(false) };
        let expected = list.into_iter().find(|(name, _)| file.file_name() == Some(name.as_ref()));
        match expected {
            Some((_, digest)) => Ok(self.content_digests().read(file)? != digest),
            None => Ok(false),
        }
    }

    /// Lists the digests of a directory's files in it.
    pub(super) fn list_content(&self, dir: &Path) -> Result<(), StoreError> {
        let failed = |source| StoreError::io("read", dir, source);
        let mut list = Vec::new();
        let mut dirs = vec![PathBuf::new()];
        while let Some(below) = dirs.pop() {
            for entry in fs::read_dir(dir.join(&below)).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let (kind, name) = (entry.file_type().map_err(failed)?, entry.file_name());
                let path = below.join(&name);
                if kind.is_dir() {
                    dirs.push(path);
                } else if let (true, Some(text)) = (kind.is_file() && name != LIST, path.to_str()) {
                    let digest = self.content_digests().of(&entry.path()).map_err(failed)?;
                    list.push((text.to_owned(), digest));
                }
            }
        }
        list.sort();
        let path = dir.join(LIST);
        serde_json::to_vec_pretty(&list)
            .map_err(io::Error::from)
            .and_then(|list| replace_private_file(&path, &list))
            .map_err(|source| StoreError::io("write", &path, source))
    }

    /// Whether an artifact has no list yet: earlier versions made it.
    pub(super) fn has_no_list(dir: &Path) -> bool {
        !dir.join(LIST).exists()
    }
}

fn read_list(artifact: &Path) -> Option<Vec<(String, Digest)>> {
    let text = match fs::read(artifact.join(LIST)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        text => text.unwrap_or_default(),
    };
    // A list that can't be read is damage as well.
    let list = serde_json::from_slice(&text);
    Some(list.unwrap_or_else(|_| vec![(LIST.to_owned(), Digest::of(b"a readable list"))]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn age(file: &Path, seconds: u64) {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_rewrite_of_the_same_size_and_time_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let digests = ContentDigests::at(dir.path().join("digests"));
        let file = dir.path().join("vmlinux");
        for content in ["one", "two", "six"] {
            fs::write(&file, content).unwrap();
            age(&file, 1000);
            assert_eq!(digests.of(&file).unwrap(), Digest::of(content.as_bytes()), "{content}");
        }
    }

    #[test]
    fn a_digest_is_remembered_of_a_file_that_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let digests = ContentDigests::at(dir.path().join("digests"));
        let file = dir.path().join("vmlinux");
        fs::write(&file, "content").unwrap();
        let seen = Seen::of(&fs::metadata(&file).unwrap());
        assert!(!seen.is_settled(SystemTime::now()), "it may still change in the same tick");
        assert!(seen.is_settled(SystemTime::now() + Duration::from_secs(3)));
        digests.of(&file).unwrap();
        let name = Digest::of(format!("{} {}", seen.device, seen.inode).as_bytes());
        assert!(digests.recall::<Note>(name).is_none());
        digests.remember(name, &Note { seen, digest: Digest::of(b"remembered") });
        assert_eq!(digests.of(&file).unwrap(), Digest::of(b"remembered"), "it is not read again");
    }

    #[test]
    fn after_a_boot_every_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let digests = ContentDigests::at(dir.path().join("digests"));
        let file = dir.path().join("vmlinux");
        fs::write(&file, "content").unwrap();
        let mut seen = Seen::of(&fs::metadata(&file).unwrap());
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(seen.boot, boot.trim_end());
        seen.boot = "another".to_owned();
        let name = Digest::of(format!("{} {}", seen.device, seen.inode).as_bytes());
        digests.remember(name, &Note { seen, digest: Digest::of(b"before the crash") });
        assert_eq!(digests.of(&file).unwrap(), Digest::of(b"content"));
    }

    #[test]
    fn a_flipped_bit_in_an_artifact_is_damage_that_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let build = |scratch: &Path| {
            fs::create_dir(scratch.join("modules")).unwrap();
            fs::write(scratch.join("modules/virtio.ko"), "module").unwrap();
            fs::write(scratch.join("vmlinux"), "a kernel")
                .map_err(|error| StoreError::io("write", scratch, error))
        };
        let has_size =
            |path: &Path| (fs::metadata(path.join("vmlinux")).ok()?.len() == 8).then_some(());
        let (path, ()) = store.artifact("key", has_size, build).unwrap();
        assert_eq!(store.damage("key"), None);
        for name in ["vmlinux", "modules/virtio.ko", LIST] {
            let file = File::options().write(true).open(path.join(name)).unwrap();
            file.write_at(b"b", 0).unwrap();
            assert_eq!(store.damage("key").as_deref(), Some(name));
            let is_damaged = store.is_damaged(&path.join("vmlinux")).unwrap();
            assert_eq!(is_damaged, name == "vmlinux");
            store.artifact("key", has_size, build).unwrap();
            assert_eq!(store.damage("key"), None);
            assert_eq!(fs::read(path.join("vmlinux")).unwrap(), b"a kernel");
        }
        // As earlier versions made it.
        fs::remove_file(path.join(LIST)).unwrap();
        store
            .artifact("key", has_size, |_| panic!("it is whole"))
            .unwrap_or_else(|error: StoreError| panic!("{error}"));
        assert!(path.join(LIST).exists(), "it is protected from now on");
    }

    #[test]
    fn a_damaged_note_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let digests = ContentDigests::at(dir.path());
        let name = Digest::of(b"name");
        digests.remember(name, &"Debian 6.1");
        assert_eq!(digests.recall::<String>(name).as_deref(), Some("Debian 6.1"));
        let path = dir.path().join(format!("{name}.json"));
        let whole = fs::read(&path).unwrap();
        for at in [0, 3, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert_eq!(digests.recall::<String>(name), None, "{at}");
        }
        for length in [0, 10, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(digests.recall::<String>(name), None, "{length}");
        }
    }

    #[test]
    fn a_file_is_as_it_was_made_until_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let digests = ContentDigests::at(dir.path().join("digests"));
        let file = dir.path().join("archive");
        let unfinished = dir.path().join("unfinished");
        fs::write(&unfinished, "content").unwrap();
        digests.note_made(&unfinished, &file);
        fs::rename(&unfinished, &file).unwrap();
        assert!(digests.is_as_made(&file));
        fs::write(&file, "cOntent").unwrap();
        assert!(!digests.is_as_made(&file));
        fs::write(&file, "content").unwrap();
        assert!(digests.is_as_made(&file), "only the content counts");
        fs::remove_file(&file).unwrap();
        assert!(!digests.is_as_made(&file));
        let unknown = dir.path().join("unknown");
        fs::write(&unknown, "content").unwrap();
        assert!(!digests.is_as_made(&unknown), "nothing was noted of it");
    }

    #[test]
    fn what_is_no_file_has_no_digest() {
        let dir = tempfile::tempdir().unwrap();
        let digests = ContentDigests::at(dir.path());
        assert!(digests.of(dir.path()).is_err());
        assert!(digests.of(Path::new("/dev/zero")).is_err());
    }
}
