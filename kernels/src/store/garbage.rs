//! What a store holds, and what of it may go.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    Store, StoreError,
    artifact::{BUILT, UNPACKED},
};
use crate::digest::Digest;

/// What must stay as long as there is room.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) objects: BTreeSet<Digest>,
    /// By their keys.
    pub(crate) artifacts: BTreeSet<String>,
}

/// What something in a store is, in the order in which it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Left by a process that was killed, and of no use to a later one.
    Leftover,
    /// A download that no lock names, or a kernel unpacked from such.
    Unnamed,
    /// Made on this machine from something else, and made again in seconds: a saved guest, a
    /// module.
    Derived,
    /// A kernel that was built on this machine, which takes minutes.
    Built,
    /// A download that a lock names, whole or in part, or a kernel unpacked from such.
    Named,
}

/// Something that goes or stays as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// A file, or a directory with all that is in it.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// How much of the disk it takes, in bytes.
    pub size: u64,
    used: SystemTime,
}

/// What a store holds, divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// What goes.
    pub remove: Vec<Item>,
    /// What stays.
    pub keep: Vec<Item>,
}

impl Sweep {
    /// Without a bound, leftovers and what nobody names go; with one, as much as it takes to be
    /// within so many bytes, what was not used for the longest time first.
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
    /// Says what would go; see [`Store::remove`].
    pub(crate) fn sweep(&self, wanted: &Wanted, bound: Option<u64>) -> Result<Sweep, StoreError> {
        let mut items = Vec::new();
        for dir in entries(&self.root.join("objects"))? {
            for path in entries(&dir)? {
                let is_wanted = wanted.objects.iter().any(|digest| is_named(&path, digest));
                let kind = if is_wanted { Kind::Named } else { Kind::Unnamed };
                items.push(Item::new(path, kind)?);
            }
        }
        for path in entries(&self.root.join("partial"))? {
            let is_wanted = wanted.objects.iter().any(|digest| is_named(&path, digest));
            let kind = if is_wanted { Kind::Named } else { Kind::Leftover };
            items.push(Item::new(path, kind)?);
        }
        for path in entries(&self.root.join("artifacts"))? {
            let is_wanted = wanted.artifacts.iter().any(|key| is_named(&path, key));
            let has = |description: &str| path.join(description).exists();
            let kind = if is_wanted {
                Kind::Named
            } else if has(UNPACKED) {
                Kind::Unnamed
            } else if has(BUILT) {
                Kind::Built
            } else {
                Kind::Derived
            };
            items.push(Item::new(path, kind)?);
        }
        for path in entries(&self.root.join("scratch"))? {
            items.push(Item::new(path, Kind::Leftover)?);
        }
        for path in entries(&self.root.join("locks"))? {
            items.push(Item::new(path, Kind::Leftover)?);
        }
        // Other parts of the lab keep what they make beside the kernels.
        for path in entries(&self.root)? {
            let is_ours = super::PARTS.iter().any(|part| is_named(&path, part));
            if !is_ours && path.is_dir() {
                for path in entries(&path)? {
                    items.push(Item::new(path, Kind::Derived)?);
                }
            }
        }
        Ok(Sweep::of(items, bound))
    }

    /// Removes what a sweep says. Only for who has the store alone.
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

fn is_named(path: &Path, name: impl ToString) -> bool {
    path.file_name().is_some_and(|found| *found == *name.to_string())
}

/// What is in a directory; nothing if it does not exist.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| StoreError::io("read", dir, error)),
    }
}

/// What a file or a tree takes of the disk: a saved guest's memory has holes.
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
        let artifact = |key: &str, file: &str| {
            let make = |scratch: &Path| {
                let path = scratch.join(file);
                fs::write(&path, "x").map_err(|error| StoreError::io("write", &path, error))
            };
            let whole = |path: &Path| path.join(file).exists().then_some(());
            store.artifact(key, whole, make).unwrap().0
        };
        let description = UNPACKED;
        let (named, unnamed) = (artifact("named", description), artifact("unnamed", description));
        let derived = artifact("derived", "module.ko");
        let built = artifact("built", BUILT);
        fs::create_dir_all(dir.path().join("scratch/left/behind")).unwrap();
        fs::create_dir_all(dir.path().join("checkpoints/guest")).unwrap();

        let digests = [wanted.digest(), Digest::of(b"wanted too")];
        let wanted_things =
            Wanted { objects: digests.into(), artifacts: ["named".to_owned()].into() };
        let sweep = store.sweep(&wanted_things, None).unwrap();
        assert!(unwanted.path().exists(), "a sweep alone removes nothing");
        store.remove(&sweep).unwrap();
        let guest = dir.path().join("checkpoints/guest");
        for path in [wanted.path(), &wanted_part, &named, &derived, &built, &guest] {
            assert!(path.exists(), "{}", path.display());
        }
        let left = dir.path().join("scratch/left");
        for path in [unwanted.path(), &unwanted_part, &unnamed, &left] {
            assert!(!path.exists(), "{}", path.display());
        }
        let sweep = store.sweep(&wanted_things, Some(0)).unwrap();
        assert!(sweep.keep.is_empty(), "{:?}", sweep.keep);
        store.remove(&sweep).unwrap();
        store.remove(&sweep).unwrap();
        assert!(!wanted.path().exists());
        assert_eq!(store.sweep(&wanted_things, None).unwrap(), Sweep::default());
    }
}
