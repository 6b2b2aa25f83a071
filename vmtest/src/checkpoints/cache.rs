//! Checkpoints on disk: a directory for each, which a rename makes appear as a whole.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use kernlab_kernels::{Part, replace_private_file};
use kernlab_proto::Hello;
use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::lab::{Checkpoint, for_each_page};

/// The size limit for the checkpoints of all kernels, in bytes on disk. Those that were unused for
/// the longest time are removed first.
const ROOM: u64 = 8 << 30;

/// What the name of a checkpoint that is being written begins with.
const UNFINISHED: &str = ".new-";

/// How often a directory is made again, because another process took it for a leftover and removed it.
const ATTEMPTS: u32 = 16;

const NOTE: &str = "state.json";
const DEVICES: &str = "devices";
const MEMORY: &str = "memory";

/// The metadata of a checkpoint: what it consists of, and how to tell that it is intact.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// See [`Key::contents`].
    contents: String,
    hello: Hello,
    kernel_log: String,
    devices: u32,
    memory: u32,
    /// The state of the memory file when its checksum was last verified.
    seen: Seen,
}

/// Identifies a file that was not changed since, neither by a process nor by a crash of the host.
/// The file is too large to be read each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    length: u64,
    changed: (i64, i64),
    boot: String,
}

impl Seen {
    fn of(file: &File) -> io::Result<Self> {
        let state = file.metadata()?;
        Ok(Seen {
            inode: state.ino(),
            length: state.size(),
            changed: (state.ctime(), state.ctime_nsec()),
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned(),
        })
    }
}

/// The result of a lookup in the cache.
#[derive(Debug)]
pub(super) enum Taken {
    Whole(Checkpoint),
    Nothing,
    /// There may be a checkpoint, and it can't be read.
    Unreadable(io::Error),
    /// The checkpoint is damaged, for this reason.
    Damaged(String),
}

#[derive(Clone, Debug)]
pub(super) struct CheckpointCache {
    dir: PathBuf,
    /// How many bytes all checkpoints may take.
    room: u64,
}

impl CheckpointCache {
    pub(super) fn at(dir: PathBuf) -> Self {
        CheckpointCache { dir, room: ROOM }
    }

    pub(super) fn place(&self, key: &Key) -> PathBuf {
        self.dir.join(key.to_string())
    }

    /// Opens a checkpoint. It stays usable if it is removed in the meantime.
    pub(super) fn take(&self, key: &Key) -> Taken {
        let place = self.place(key);
        match read(&place, key.contents()) {
            Ok(Some(state)) => Taken::Whole(state),
            Ok(None) => Taken::Nothing,
            Err(_) if !place.exists() => Taken::Nothing,
            // That the host has no descriptor left, say, tells nothing about the checkpoint.
            Err(Damage::Io(error)) if !is_of_content(&error) => Taken::Unreadable(error),
            Err(why) => Taken::Damaged(why.to_string()),
        }
    }

    /// Stores a checkpoint, replacing any other of the same key, and makes room for it.
    pub(super) fn put(&self, key: &Key, state: &Checkpoint) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        self.remove_unfinished();
        let (scratch, _lock) = self.scratch()?;
        write(scratch.path(), key.contents(), state)?;
        self.discard(key);
        fs::rename(scratch.keep(), self.place(key))?;
        self.make_room()
    }

    /// A directory to write a checkpoint in. It is locked: without the lock, it is a leftover.
    fn scratch(&self) -> io::Result<(tempfile::TempDir, File)> {
        for _ in 0..ATTEMPTS {
            let scratch = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&self.dir)?;
            // Another process may take it for a leftover before it is locked.
            let Ok(lock) = File::open(scratch.path()) else { continue };
            if lock.try_lock().is_ok() && scratch.path().exists() {
                return Ok((scratch, lock));
            }
        }
        Err(io::Error::other("other processes remove every new directory"))
    }

    /// Removes what killed processes did not finish: it has tens of megabytes.
    fn remove_unfinished(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|name| Part::Checkpoints.makes_unfinished(name)) {
                continue;
            }
            // The kernel has released the lock of a process that is gone.
            let lock = File::open(entry.path()).and_then(|dir| Ok(dir.try_lock().map(|()| dir)?));
            if lock.is_ok() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes a checkpoint, and those of guests that were restored from it. Running guests are not
    /// affected.
    pub(super) fn discard(&self, key: &Key) {
        // A process that finds the rest finds it damaged, and removes it too.
        let _ = fs::remove_dir_all(self.place(key));
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if key.is_origin_of(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes checkpoints that were unused for the longest time, and leftovers of killed
    /// processes.
    fn make_room(&self) -> io::Result<()> {
        let mut places = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| Part::Checkpoints.makes(name)) {
                continue;
            }
            let used = fs::metadata(path.join(NOTE)).and_then(|note| note.modified());
            // Another process may be cleaning up or storing a checkpoint right now.
            let Ok(used) = used.or_else(|_| fs::metadata(&path)?.modified()) else { continue };
            places.push((used, size(&path), path));
        }
        places.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut taken = 0;
        for (_, size, path) in places {
            taken += size;
            if taken > self.room {
                let _ = fs::remove_dir_all(path);
            }
        }
        Ok(())
    }
}

/// The size of a checkpoint on disk, in bytes.
fn size(place: &Path) -> u64 {
    [NOTE, DEVICES, MEMORY]
        .into_iter()
        .filter_map(|name| fs::metadata(place.join(name)).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its metadata can't be read: {0}")]
    Note(#[from] serde_json::Error),
    #[error("the checksum of its {0} is wrong")]
    Checksum(&'static str),
}

/// None if the checkpoint has other contents.
fn read(place: &Path, contents: &str) -> Result<Option<Checkpoint>, Damage> {
    let path = place.join(NOTE);
    let mut note: Note = serde_json::from_slice(&fs::read(&path)?)?;
    if note.contents != contents {
        return Ok(None);
    }
    let devices = fs::read(place.join(DEVICES))?;
    if crc32fast::hash(&devices) != note.devices {
        return Err(Damage::Checksum(DEVICES));
    }
    // QEMU opens this descriptor again for writing, although it never writes.
    let memory = File::options().read(true).write(true).open(place.join(MEMORY))?;
    let seen = Seen::of(&memory)?;
    if seen == note.seen {
        // The modification time records the last use. Only making room depends on it.
        let touched = File::options().append(true).open(&path);
        let _ = touched.and_then(|note| note.set_modified(SystemTime::now()));
    } else if for_each_page(&memory, |_, _| Ok(()))? == note.memory {
        note.seen = seen;
        // Otherwise the memory is only read once more.
        let _ = replace(&path, &note);
    } else {
        return Err(Damage::Checksum(MEMORY));
    }
    Ok(Some(Checkpoint { hello: note.hello, kernel_log: note.kernel_log, devices, memory }))
}

/// Whether an error tells of a file that is missing, or too short.
fn is_of_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

fn replace(path: &Path, note: &Note) -> io::Result<()> {
    replace_private_file(path, &serde_json::to_vec(note)?)
}

fn write(place: &Path, contents: &str, state: &Checkpoint) -> io::Result<()> {
    let path = place.join(MEMORY);
    let memory = File::options().create_new(true).read(true).write(true).open(path)?;
    memory.set_len(state.memory.metadata()?.len())?;
    let checksum = for_each_page(&state.memory, |offset, page| memory.write_all_at(page, offset))?;
    fs::write(place.join(DEVICES), &state.devices)?;
    let note = Note {
        contents: contents.to_owned(),
        hello: state.hello.clone(),
        kernel_log: state.kernel_log.clone(),
        devices: crc32fast::hash(&state.devices),
        memory: checksum,
        seen: Seen::of(&memory)?,
    };
    fs::write(place.join(NOTE), serde_json::to_vec(&note)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 64 << 20;

    fn state() -> Checkpoint {
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(LENGTH).unwrap();
        memory.write_all_at(b"low", 5).unwrap();
        memory.write_all_at(b"high", LENGTH - 4).unwrap();
        let hello = Hello {
            release: "6.1.0".to_owned(),
            version: "#1".to_owned(),
            processors: 1,
            user_space_ms: 1,
            ready_ms: 2,
            notes: vec![],
        };
        Checkpoint { hello, kernel_log: "<6>log".to_owned(), devices: b"devices".to_vec(), memory }
    }

    fn key(name: &str) -> Key {
        Key::for_test(name, "")
    }

    fn cache_with(names: &[&str]) -> (tempfile::TempDir, CheckpointCache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = CheckpointCache::at(dir.path().join("checkpoints"));
        for name in names {
            cache.put(&key(name), &state()).unwrap();
        }
        (dir, cache)
    }

    #[test]
    fn what_was_put_there_is_taken() {
        let (_dir, cache) = cache_with(&["one"]);
        let Taken::Whole(state) = cache.take(&key("one")) else { panic!("it is not intact") };
        assert_eq!(state.hello.release, "6.1.0");
        assert_eq!((state.kernel_log.as_str(), &*state.devices), ("<6>log", &b"devices"[..]));
        assert_eq!(state.memory.metadata().unwrap().len(), LENGTH);
        let mut bytes = [0; 4];
        state.memory.read_exact_at(&mut bytes, LENGTH - 4).unwrap();
        assert_eq!(&bytes, b"high");
        assert!(size(&cache.place(&key("one"))) < 1 << 20, "empty pages take room");
        assert!(matches!(cache.take(&key("other")), Taken::Nothing));
    }

    #[test]
    fn a_state_that_was_only_touched_is_taken_and_one_that_was_changed_is_not() {
        let (_dir, cache) = cache_with(&["one"]);
        let memory =
            File::options().write(true).open(cache.place(&key("one")).join(MEMORY)).unwrap();
        memory.set_modified(SystemTime::now()).unwrap();
        assert!(matches!(cache.take(&key("one")), Taken::Whole(_)));
        memory.write_all_at(b"x", 4096).unwrap();
        let Taken::Damaged(why) = cache.take(&key("one")) else {
            panic!("the damage went unnoticed")
        };
        assert_eq!(why, "the checksum of its memory is wrong");
    }

    #[test]
    fn after_a_crash_of_the_host_the_memory_is_read_again() {
        let (_dir, cache) = cache_with(&["one"]);
        let place = cache.place(&key("one"));
        let note = fs::read_to_string(place.join(NOTE)).unwrap();
        let boot = Seen::of(&File::open(place.join(MEMORY)).unwrap()).unwrap().boot;
        assert!(note.contains(&boot));
        let of_another_boot = |memory: u32| {
            let mut note: Note = serde_json::from_str(&note.replace(&boot, "another")).unwrap();
            note.memory ^= memory;
            fs::write(place.join(NOTE), serde_json::to_vec(&note).unwrap()).unwrap();
        };
        of_another_boot(0);
        assert!(matches!(cache.take(&key("one")), Taken::Whole(_)));
        assert!(fs::read_to_string(place.join(NOTE)).unwrap().contains(&boot));
        of_another_boot(1);
        assert!(matches!(cache.take(&key("one")), Taken::Damaged(_)));
    }

    #[test]
    fn of_states_with_other_contents_the_last_one_is_kept() {
        let (_dir, cache) = cache_with(&["one"]);
        let (old, new) = (Key::for_test("two", "old"), Key::for_test("two", "new"));
        cache.put(&old, &state()).unwrap();
        assert!(matches!(cache.take(&old), Taken::Whole(_)));
        assert!(matches!(cache.take(&new), Taken::Nothing));
        cache.put(&new, &state()).unwrap();
        assert!(matches!(cache.take(&new), Taken::Whole(_)));
        assert!(matches!(cache.take(&old), Taken::Nothing));
        assert!(matches!(cache.take(&key("one")), Taken::Whole(_)));
    }

    #[test]
    fn a_state_is_removed_with_those_that_came_of_it() {
        let (_dir, cache) = cache_with(&["one", "one.program", "one.other", "on", "one1"]);
        cache.discard(&key("one.other"));
        let left = || {
            ["one", "one.program", "one.other", "on", "one1"]
                .map(|name| matches!(cache.take(&key(name)), Taken::Whole(_)))
        };
        assert_eq!(left(), [true, true, false, true, true]);
        cache.discard(&key("one"));
        assert_eq!(left(), [false, false, false, true, true]);
    }

    #[test]
    fn every_damage_is_noticed() {
        for name in [NOTE, DEVICES, MEMORY] {
            for damage in [&b""[..], b"something else"] {
                let (_dir, cache) = cache_with(&["one"]);
                fs::write(cache.place(&key("one")).join(name), damage).unwrap();
                let taken = cache.take(&key("one"));
                assert!(matches!(taken, Taken::Damaged(_)), "{name}: {taken:?}");
            }
            let (_dir, cache) = cache_with(&["one"]);
            fs::remove_file(cache.place(&key("one")).join(name)).unwrap();
            assert!(matches!(cache.take(&key("one")), Taken::Damaged(_)), "{name}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_not_damaged() {
        let (_dir, cache) = cache_with(&["one"]);
        let note = cache.place(&key("one")).join(NOTE);
        fs::remove_file(&note).unwrap();
        fs::create_dir(&note).unwrap();
        let taken = cache.take(&key("one"));
        assert!(matches!(taken, Taken::Unreadable(_)), "{taken:?}");
    }

    #[test]
    fn what_a_killed_process_did_not_finish_is_removed() {
        let (_dir, cache) = cache_with(&[]);
        let left = cache.dir.join(".new-aB3xyz");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("memory"), "begun").unwrap();
        let (written, lock) = cache.scratch().unwrap();
        cache.put(&key("one"), &state()).unwrap();
        assert!(!left.exists());
        assert!(written.path().exists(), "another process still writes it");
        drop(lock);
        cache.put(&key("one"), &state()).unwrap();
        assert!(!written.path().exists());
        assert!(matches!(cache.take(&key("one")), Taken::Whole(_)));
    }

    #[test]
    fn a_damaged_state_is_replaced() {
        let (_dir, cache) = cache_with(&["one"]);
        fs::write(cache.place(&key("one")).join(NOTE), "{").unwrap();
        cache.put(&key("one"), &state()).unwrap();
        assert!(matches!(cache.take(&key("one")), Taken::Whole(_)));
    }

    #[test]
    fn the_state_that_was_not_used_for_the_longest_time_goes_first() {
        let (_dir, mut cache) = cache_with(&["one", "two", "three"]);
        assert_eq!(cache.room, 8_589_934_592, "8 GiB, as docs/runner.md says");
        for (name, seconds) in [("one", 300), ("two", 200), ("three", 100)] {
            let note =
                File::options().write(true).open(cache.place(&key(name)).join(NOTE)).unwrap();
            let time = SystemTime::now() - std::time::Duration::from_secs(seconds);
            note.set_modified(time).unwrap();
        }
        assert!(matches!(cache.take(&key("one")), Taken::Whole(_)), "using it updates its time");
        cache.room = 7 * size(&cache.place(&key("one"))) / 2;
        cache.put(&key("four"), &state()).unwrap();
        let left = ["one", "two", "three", "four"]
            .map(|name| matches!(cache.take(&key(name)), Taken::Whole(_)));
        assert_eq!(left, [true, false, true, true]);
    }
}
