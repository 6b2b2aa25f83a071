//! The content of a store, and which parts of it can be removed.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    Part, Store, StoreError,
    artifact::{BUILT, UNPACKED},
};
use crate::digest::Digest;

/// What to keep as long as there is space.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) objects: BTreeSet<Digest>,
    /// By artifact key.
    pub(crate) artifacts: BTreeSet<String>,
}

impl Wanted {
    fn has_object(&self, path: &Path) -> bool {
        self.objects.iter().any(|digest| is_named(path, digest))
    }

    fn kind_of_artifact(&self, path: &Path) -> Kind {
        let has = |description: &str| path.join(description).exists();
        if self.artifacts.iter().any(|key| is_named(path, key)) {
            Kind::Named
        } else if has(UNPACKED) {
            Kind::Unnamed
        } else if has(BUILT) {
            Kind::Built
        } else {
            Kind::Derived
        }
    }
}

/// The kinds of items in a store, in the order in which they are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Left by a killed process, and of no use to later ones: what it did not finish, and locks.
    Leftover,
    /// A download that no lock names, or a kernel unpacked from such a download.
    Unnamed,
    /// Made on this machine from other items, and quickly made again: a saved guest, a module.
    Derived,
    /// A kernel that was built on this machine, which takes minutes.
    Built,
    /// A complete or partial download that a lock names, or a kernel unpacked from such a download.
    Named,
}

/// A unit that is kept or removed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// A file, or a directory with its content.
    pub path: PathBuf,
    pub kind: Kind,
    /// The disk space it takes, in bytes.
    pub size: u64,
    used: SystemTime,
}

/// Which items of a store to remove, and which to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    pub remove: Vec<Item>,
    pub keep: Vec<Item>,
}

impl Sweep {
    /// Without a bound, removes leftovers and downloads that no lock names. With a bound, removes
    /// as much as is needed to shrink the store to that many bytes; within a kind, the least
    /// recently used items first.
    fn of(mut items: Vec<Item>, bound: Option<u64>) -> Self {
        items.sort_by(|a, b| (a.kind, a.used, &a.path).cmp(&(b.kind, b.used, &b.path)));
        let mut size: u64 = items.iter().map(|item| item.size).sum();
        let (remove, keep) = items.into_iter().partition(|item| {
            let goes = match (item.kind, bound) {
                (Kind::Leftover, _) => true,
                (kind, None) => kind == Kind::Unnamed,
                (_, Some(bound)) => size > bound,
            };
            if goes {
                size -= item.size;
            }
            goes
        });
        Sweep { remove, keep }
    }
}

impl Store {
    /// Determines what can be removed; see [`Store::remove`].
    pub(crate) fn sweep(&self, wanted: &Wanted, bound: Option<u64>) -> Result<Sweep, StoreError> {
        let mut items = Vec::new();
        for part in Part::ALL {
            for path in self.made(part)? {
                match part {
                    Part::Objects => {
                        let files = entries(&path)?.into_iter();
                        for path in files.filter(|path| is_made(path, Part::Partial)) {
                            let is_wanted = wanted.has_object(&path);
                            let kind = if is_wanted { Kind::Named } else { Kind::Unnamed };
                            items.push(Item::new(path, kind)?);
                        }
                    }
                    Part::Partial => {
                        let is_wanted = wanted.has_object(&path);
                        let kind = if is_wanted { Kind::Named } else { Kind::Leftover };
                        items.push(Item::new(path, kind)?);
                    }
                    Part::Artifacts => {
                        let kind = wanted.kind_of_artifact(&path);
                        items.push(Item::new(path, kind)?);
                    }
                    Part::Scratch => items.push(Item::new(path, Kind::Leftover)?),
                    Part::Locks => {
                        // A lock is an empty file.
                        let found = fs::symlink_metadata(&path);
                        if found.is_ok_and(|found| found.is_file() && found.len() == 0) {
                            items.push(Item::new(path, Kind::Leftover)?);
                        }
                    }
                    Part::Logs
                    | Part::Archives
                    | Part::Checkpoints
                    | Part::Guest
                    | Part::Images
                    | Part::Roots
                    | Part::Digests
                    | Part::Runner => {
                        // Nobody else uses the store, so nobody writes it any more.
                        let name = path.file_name().and_then(|name| name.to_str());
                        let is_unfinished = name.is_some_and(|name| part.makes_unfinished(name));
                        let kind = if is_unfinished { Kind::Leftover } else { Kind::Derived };
                        items.push(Item::new(path, kind)?);
                    }
                }
            }
        }
        Ok(Sweep::of(items, bound))
    }

    /// The entries of a part that the lab made.
    fn made(&self, part: Part) -> Result<Vec<PathBuf>, StoreError> {
        let all = entries(&self.root.join(part.name()))?;
        Ok(all.into_iter().filter(|path| is_made(path, part)).collect())
    }

    /// Removes what a sweep lists. Requires exclusive use of the store.
    pub(crate) fn remove(&self, sweep: &Sweep) -> Result<(), StoreError> {
        for Item { path, .. } in &sweep.remove {
            let removed = match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
                Ok(_) => fs::remove_file(path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Item {
    fn new(path: PathBuf, kind: Kind) -> Result<Self, StoreError> {
        let metadata = fs::symlink_metadata(&path);
        let metadata = metadata.map_err(|error| StoreError::io("examine", &path, error))?;
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let size = size(&path).map_err(|error| StoreError::io("examine", &path, error))?;
        Ok(Item { path, kind, size, used })
    }
}

fn is_made(path: &Path, part: Part) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| part.makes(name))
}

fn is_named(path: &Path, name: impl ToString) -> bool {
    path.file_name().is_some_and(|found| *found == *name.to_string())
}

/// The content of a directory; empty if it does not exist.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| StoreError::io("read", dir, error)),
    }
}

/// The disk space that a file or a directory takes. A saved guest's memory is a sparse file.
fn size(path: &Path) -> io::Result<u64> {
    const BLOCK: u64 = 512;
    let metadata = fs::symlink_metadata(path)?;
    let mut total = metadata.blocks() * BLOCK;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            total += size(&entry?.path())?;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_bound(None, "leftover unnamed unnamed-old")]
    #[case::a_large_bound(Some(100), "leftover")]
    #[case::just_enough(Some(60), "leftover")]
    #[case::one_less(Some(59), "leftover unnamed-old")]
    #[case::smaller(Some(35), "leftover unnamed-old unnamed derived")]
    #[case::nothing(Some(0), "leftover unnamed-old unnamed derived named-old named")]
    fn what_goes(#[case] bound: Option<u64>, #[case] expected: &str) {
        let item = |(name, kind, age): (&str, Kind, u64)| Item {
            path: name.into(),
            kind,
            size: 12,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(100 - age),
        };
        let items = [
            ("named", Kind::Named, 1),
            ("leftover", Kind::Leftover, 0),
            ("unnamed", Kind::Unnamed, 2),
            ("named-old", Kind::Named, 9),
            ("derived", Kind::Derived, 9),
            ("unnamed-old", Kind::Unnamed, 3),
        ];
        let sweep = Sweep::of(items.map(item).to_vec(), bound);
        let names = |items: &[Item]| -> BTreeSet<String> {
            items.iter().map(|item| item.path.to_string_lossy().into_owned()).collect()
        };
        let expected: BTreeSet<_> = expected.split(' ').map(str::to_owned).collect();
        assert_eq!(names(&sweep.remove), expected);
        assert_eq!(sweep.keep.len(), 6 - expected.len());
    }

    #[test]
    fn a_store_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_exclusive(dir.path()).unwrap();
        let object = |content: &[u8]| {
            let digest = Digest::of(content);
            let mut partial = store.partial(digest, content.len() as u64).unwrap();
            partial.append(content).unwrap();
            partial.commit(&store).unwrap().unwrap()
        };
        let (wanted, unwanted) = (object(b"wanted"), object(b"unwanted"));
        let begun = |content: &[u8]| {
            store.partial(Digest::of(content), 100).unwrap().append(b"begin").unwrap();
            dir.path().join("partial").join(Digest::of(content).to_string())
        };
        let (wanted_part, unwanted_part) = (begun(b"wanted too"), begun(b"unwanted too"));
        let named_key = Digest::of(b"named").to_string();
        let artifact = |name: &str, file: &str| {
            let key = Digest::of(name.as_bytes()).to_string();
            let make = |scratch: &Path| {
                let path = scratch.join(file);
                fs::write(&path, "x").map_err(|error| StoreError::io("write", &path, error))
            };
            let whole = |path: &Path| path.join(file).exists().then_some(());
            store.artifact(&key, whole, make).unwrap().0
        };
        let description = UNPACKED;
        let (named, unnamed) = (artifact("named", description), artifact("unnamed", description));
        let derived = artifact("derived", "module.ko");
        let built = artifact("built", BUILT);
        let left = dir.path().join("scratch").join(Digest::of(b"left").to_string());
        fs::create_dir_all(left.join("behind")).unwrap();
        let guest = dir.path().join("checkpoints").join(Digest::of(b"guest").to_string());
        fs::create_dir_all(&guest).unwrap();
        let unfinished =
            ["checkpoints/.new-aB3xyz", "roots/.tmpaB3xyz"].map(|name| dir.path().join(name));
        for path in &unfinished {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "begun").unwrap();
        }

        let digests = [wanted.digest(), Digest::of(b"wanted too")];
        let wanted_things = Wanted { objects: digests.into(), artifacts: [named_key].into() };
        let sweep = store.sweep(&wanted_things, None).unwrap();
        assert!(unwanted.path().exists(), "a sweep alone removes nothing");
        store.remove(&sweep).unwrap();
        for path in [wanted.path(), &wanted_part, &named, &derived, &built, &guest] {
            assert!(path.exists(), "{}", path.display());
        }
        let [guest, root] = &unfinished;
        for path in [unwanted.path(), &unwanted_part, &unnamed, &left, guest, root] {
            assert!(!path.exists(), "{}", path.display());
        }
        let sweep = store.sweep(&wanted_things, Some(0)).unwrap();
        assert!(sweep.keep.is_empty(), "{:?}", sweep.keep);
        store.remove(&sweep).unwrap();
        store.remove(&sweep).unwrap();
        assert!(!wanted.path().exists());
        assert_eq!(store.sweep(&wanted_things, None).unwrap(), Sweep::default());
    }

    #[test]
    fn what_the_lab_does_not_make_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_exclusive(dir.path()).unwrap();
        // Everything that came into a store after it was one.
        let files = [
            ".ssh/id_ed25519",
            "photos/cat.jpg",
            "images/cat.jpg",
            "archives/backup.tar",
            "objects/notes.txt",
            "objects/ab/notes.txt",
            "artifacts/thesis/all.tex",
            "partial/download.iso",
            "scratch/ideas.md",
            "locks/key",
            "logs/syslog",
            "runner/results/all.csv",
        ];
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "mine").unwrap();
        }
        // A lock that has content is none.
        let no_lock = dir.path().join("locks/first-draft");
        fs::write(&no_lock, "mine").unwrap();
        let ours = dir.path().join("images").join(format!("{}.cpio", Digest::of(b"x")));
        fs::write(&ours, "ours").unwrap();
        let sweep = store.sweep(&Wanted::default(), Some(0)).unwrap();
        store.remove(&sweep).unwrap();
        for file in files {
            assert_eq!(fs::read(dir.path().join(file)).unwrap(), b"mine", "{file}");
        }
        assert!(no_lock.exists());
        assert!(!ours.exists(), "what the lab makes goes");
    }
}
