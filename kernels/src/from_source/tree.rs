//! A kernel's source: its origin, its digest, and how it gets into the build directory.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::error::{BuildError, io_error};
use crate::{
    compression::Compression,
    digest::{Digest, Hasher},
    image::FilesError,
    image::members,
    interruption,
    repository::fetch::StoredPackage,
    store::{Store, StoreError},
};

/// Far more than any kernel's source needs.
const MAX_SOURCE: u64 = 16 << 30;
const MAX_MAKEFILE: u64 = 1 << 20;
/// The path of the archive in a package `linux-source-VERSION`.
const IN_PACKAGE: &str = "usr/src/linux-source-";

/// Where a kernel's source is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tree<'a> {
    /// An archive in a package.
    Package(&'a StoredPackage),
    /// A downloaded archive.
    Download(&'a StoredPackage),
    /// An archive on this machine.
    Archive(&'a Path),
    /// A directory, which is never written to.
    Dir(&'a Path),
}

impl Tree<'_> {
    /// A digest of everything in the source.
    pub(super) fn digest(&self, store: &Store) -> Result<Digest, BuildError> {
        match self {
            Tree::Package(package) | Tree::Download(package) => Ok(package.object.digest()),
            Tree::Archive(path) => {
                let shape = shape_of_file(path).map_err(io_error("read", path))?;
                remembered(store, shape, || digest_of_file(path).map_err(io_error("read", path)))
            }
            Tree::Dir(path) => {
                let files = Listing::of(path)?;
                remembered(store, files.shape(), || files.digest())
            }
        }
    }

    /// Unpacks the source below `scratch`, unless it is a directory already, and returns its root.
    pub(crate) fn bring(&self, store: &Store, scratch: &Path) -> Result<PathBuf, BuildError> {
        let dir = scratch.join("source");
        let create = || fs::create_dir(&dir).map_err(io_error("write", &dir));
        let root = match self {
            Tree::Dir(path) => {
                is_clean(path)?;
                (*path).to_owned()
            }
            Tree::Archive(path) => {
                create()?;
                let name = path.display().to_string();
                let file = File::open(path).map_err(io_error("read", path))?;
                unpack_archive(&name, io::BufReader::new(file), &dir)?;
                only_dir(&dir, &name)?
            }
            Tree::Download(package) => {
                create()?;
                members::read(store, package, |reader| {
                    unpack_archive(&package.file, reader, &dir)
                })??;
                only_dir(&dir, &package.file)?
            }
            Tree::Package(package) => {
                create()?;
                let mut found = None;
                members::for_each_member(store, package, |member| {
                    let path = member.path.to_owned();
                    if !path.starts_with(IN_PACKAGE) || !path.contains(".tar") {
                        return Ok::<_, BuildError>(());
                    }
                    let content = member.content().map_err(|source| FilesError::Package {
                        file: package.file.clone(),
                        source,
                    })?;
                    unpack_archive(&path, content, &dir)?;
                    found = Some(path);
                    Ok(())
                })?;
                let name = found.unwrap_or_else(|| package.file.clone());
                only_dir(&dir, &name)?
            }
        };
        if ["Makefile", "Kconfig"].iter().all(|name| root.join(name).is_file()) {
            return Ok(root);
        }
        let place = match self {
            Tree::Package(package) | Tree::Download(package) => package.file.clone(),
            Tree::Archive(path) | Tree::Dir(path) => path.display().to_string(),
        };
        Err(BuildError::NotATree { place })
    }
}

/// The kernel version of a downloaded archive: `5.4.273`.
pub(crate) fn version_of(store: &Store, package: &StoredPackage) -> Result<String, BuildError> {
    let mut version = None;
    members::for_each_member(store, package, |member| {
        let is_makefile = member.path.split_once('/').is_some_and(|(_, path)| path == "Makefile");
        if is_makefile {
            let text = member
                .read(MAX_MAKEFILE)
                .map_err(|source| FilesError::Package { file: package.file.clone(), source })?;
            version = version_in(&String::from_utf8_lossy(&text));
        }
        Ok::<_, BuildError>(())
    })?;
    version.ok_or_else(|| BuildError::NotATree { place: package.file.clone() })
}

/// The version in the first lines of a kernel's Makefile: `VERSION = 5`, `PATCHLEVEL = 4`,
/// `SUBLEVEL = 273`.
pub(super) fn version_in(makefile: &str) -> Option<String> {
    let value = |name: &str| {
        let lines = makefile.lines().take(10).filter_map(|line| line.split_once('='));
        let mut values = lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
        values.next()
    };
    let number = |name| value(name)?.parse::<u32>().ok();
    let (version, patch, sub) = (number("VERSION")?, number("PATCHLEVEL")?, number("SUBLEVEL")?);
    Some(format!("{version}.{patch}.{sub}{}", value("EXTRAVERSION").unwrap_or_default()))
}

/// Refuses a source directory with build output before any work is done. The kernel's own Makefile
/// would refuse it later.
fn is_clean(tree: &Path) -> Result<(), BuildError> {
    let leftovers = [".config", "include/config", "arch/x86/include/generated"];
    match leftovers.iter().any(|path| tree.join(path).exists()) {
        true => Err(BuildError::NotClean(tree.to_owned())),
        false => Ok(()),
    }
}

fn unpack_archive(name: &str, archive: impl Read, dir: &Path) -> Result<(), BuildError> {
    let unpackable = |source| BuildError::Archive { archive: name.to_owned(), source };
    let reader = Compression::of_name(name).reader(archive).map_err(unpackable)?;
    let mut archive = tar::Archive::new(reader.take(MAX_SOURCE));
    archive.set_overwrite(false);
    for entry in archive.entries().map_err(unpackable)? {
        if let Some(signal) = interruption::noted() {
            return Err(BuildError::Interrupted { signal });
        }
        let mut entry = entry.map_err(unpackable)?;
        // `unpack_in` refuses members with `..`, and those that would go through a link out of the
        // directory.
        if !entry.unpack_in(dir).map_err(unpackable)? {
            let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Err(BuildError::Escapes { archive: name.to_owned(), member });
        }
    }
    // Read to the end, to verify the checksums there.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unpackable)?;
    Ok(())
}

/// The only directory in an unpacked archive, which contains the whole source.
fn only_dir(dir: &Path, name: &str) -> Result<PathBuf, BuildError> {
    let entries = fs::read_dir(dir).map_err(io_error("read", dir))?;
    let paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    match &paths[..] {
        [path] if path.is_dir() => Ok(path.clone()),
        _ => Err(BuildError::NotATree { place: name.to_owned() }),
    }
}

/// A digest that is expensive to compute, cached by metadata that is cheap to read. Like make, this
/// takes a file of the same size and time for unchanged.
fn remembered(
    store: &Store,
    shape: Digest,
    content: impl FnOnce() -> Result<Digest, BuildError>,
) -> Result<Digest, BuildError> {
    const FILE: &str = "digest";
    let key = Digest::of(format!("source {shape}").as_bytes()).to_string();
    let read = |path: &Path| fs::read_to_string(path.join(FILE)).ok()?.parse().ok();
    let (_, digest) = store.artifact(&key, read, |scratch| {
        let path = scratch.join(FILE);
        let digest = content()?.to_string();
        fs::write(&path, digest).map_err(|e| BuildError::from(StoreError::io("write", &path, e)))
    })?;
    Ok(digest)
}

fn shape_of_file(path: &Path) -> io::Result<Digest> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let mut hasher = Hasher::default();
    hasher.update(path.as_os_str().as_bytes());
    add_shape(&mut hasher, &metadata);
    Ok(hasher.finish())
}

fn add_shape(hasher: &mut Hasher, metadata: &fs::Metadata) {
    for number in [metadata.ino(), metadata.len(), metadata.mode().into()] {
        hasher.update(&number.to_le_bytes());
    }
    for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()]
    {
        hasher.update(&number.to_le_bytes());
    }
}

fn digest_of_file(path: &Path) -> io::Result<Digest> {
    Ok(Digest::of_reader(&mut File::open(path)?)?.0)
}

/// Every file and link below a directory, in order, except git's own files.
struct Listing {
    root: PathBuf,
    entries: Vec<(PathBuf, fs::Metadata)>,
}

impl Listing {
    fn of(root: &Path) -> Result<Self, BuildError> {
        let mut entries = Vec::new();
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).map_err(io_error("read", &dir))? {
                let entry = entry.map_err(io_error("read", &dir))?;
                if entry.file_name() == ".git" {
                    continue;
                }
                let path = entry.path();
                let metadata = entry.metadata().map_err(io_error("read", &path))?;
                if metadata.is_dir() {
                    dirs.push(path);
                } else if metadata.is_file() || metadata.is_symlink() {
                    entries.push((path, metadata));
                }
            }
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Listing { root: root.to_owned(), entries })
    }

    fn shape(&self) -> Digest {
        let mut hasher = Hasher::default();
        for (path, metadata) in &self.entries {
            hasher.update(path.as_os_str().as_bytes());
            hasher.update(&[0]);
            add_shape(&mut hasher, metadata);
        }
        hasher.finish()
    }

    /// Covers paths relative to the root, executable bits, and contents.
    fn digest(&self) -> Result<Digest, BuildError> {
        let mut hasher = Hasher::default();
        for (path, metadata) in &self.entries {
            let name = path.strip_prefix(&self.root).unwrap_or(path);
            hasher.update(name.as_os_str().as_bytes());
            let content = if metadata.is_symlink() {
                let target = fs::read_link(path).map_err(io_error("read", path))?;
                Digest::of(target.as_os_str().as_bytes())
            } else {
                digest_of_file(path).map_err(io_error("read", path))?
            };
            let kind = match metadata {
                link if link.is_symlink() => "link",
                file if file.mode() & 0o100 != 0 => "program",
                _ => "file",
            };
            hasher.update(format!("\0{kind} {content}\n").as_bytes());
        }
        Ok(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::test_support::archive::{Entry, compress, tar};

    struct Place {
        dir: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path().join("store")).unwrap();
            fs::create_dir(dir.path().join("scratch")).unwrap();
            Place { dir, store }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        }

        fn bring(&self, tree: Tree<'_>) -> Result<PathBuf, BuildError> {
            tree.bring(&self.store, &self.path("scratch"))
        }
    }

    const MEMBERS: [Entry<'_>; 4] = [
        Entry::Dir("linux-6.1/"),
        Entry::File("linux-6.1/Makefile", b"all:"),
        Entry::File("linux-6.1/Kconfig", b""),
        Entry::Link("linux-6.1/scripts", "../linux-6.1"),
    ];

    #[rstest]
    #[case("linux-6.1.tar", Compression::None)]
    #[case("linux-6.1.tar.gz", Compression::Gzip)]
    #[case("linux-6.1.tar.xz", Compression::Xz)]
    fn an_archive_is_unpacked(#[case] name: &str, #[case] compression: Compression) {
        let place = Place::new();
        let archive = place.write(name, &compress(compression, &tar(&MEMBERS)));
        let root = place.bring(Tree::Archive(&archive)).unwrap();
        assert_eq!(root, place.path("scratch/source/linux-6.1"));
        assert_eq!(fs::read(root.join("Makefile")).unwrap(), b"all:");
        assert!(root.join("scripts").is_symlink());
    }

    #[rstest]
    #[case::upwards(Entry::File("linux-6.1/../../evil", b""), "evil\" points outside of it")]
    #[case::through_a_link(Entry::File("linux-6.1/scripts/out/evil", b""), "")]
    #[case::not_one_dir(Entry::File("other", b""), "is not a kernel source")]
    fn an_archive_that_would_write_elsewhere_is_refused(
        #[case] member: Entry<'_>,
        #[case] expected: &str,
    ) {
        let place = Place::new();
        fs::create_dir(place.path("outside")).unwrap();
        let outside = place.path("outside").display().to_string();
        let link = Entry::Link("linux-6.1/scripts/out", &outside);
        let [dir, makefile, kconfig, _] = MEMBERS;
        let scripts = Entry::Dir("linux-6.1/scripts/");
        let members = tar(&[dir, makefile, kconfig, scripts, link, member]);
        let archive = place.write("linux.tar", &members);
        let error = crate::chain(&place.bring(Tree::Archive(&archive)).unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read_dir(place.path("outside")).unwrap().count(), 0);
        assert!(!place.path("evil").exists());
    }

    #[rstest]
    #[case("VERSION = 5\nPATCHLEVEL = 4\nSUBLEVEL = 273\nEXTRAVERSION =\n", Some("5.4.273"))]
    #[case(
        "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 0\nEXTRAVERSION = -rc1\n",
        Some("7.3.0-rc1")
    )]
    #[case("VERSION = 5\n", None)]
    #[case("all:\n", None)]
    fn a_makefile_tells_the_version(#[case] makefile: &str, #[case] version: Option<&str>) {
        assert_eq!(version_in(makefile).as_deref(), version);
    }

    #[test]
    fn other_things_are_no_source() {
        let place = Place::new();
        let text = place.write("text.tar.xz", b"a text");
        let error = crate::chain(&place.bring(Tree::Archive(&text)).unwrap_err());
        assert!(error.contains("cannot unpack "), "{error}");
        let dir = place.path("store");
        let error = crate::chain(&place.bring(Tree::Dir(&dir)).unwrap_err());
        assert!(error.contains("store is not a kernel source"), "{error}");
        place.write("tree/.config", b"");
        let dir = place.path("tree");
        let error = crate::chain(&place.bring(Tree::Dir(&dir)).unwrap_err());
        assert!(error.contains("run `make mrproper` there"), "{error}");
    }

    #[test]
    fn a_dir_is_known_by_its_content() {
        let place = Place::new();
        let (one, other) = (place.path("one"), place.path("other"));
        for tree in ["one", "other"] {
            place.write(&format!("{tree}/a/b"), b"1");
            place.write(&format!("{tree}/c"), b"2");
            place.write(&format!("{tree}/.git/HEAD"), tree.as_bytes());
        }
        let digest = |path: &Path| Tree::Dir(path).digest(&place.store).unwrap();
        let before = digest(&one);
        assert_eq!(before, digest(&one));
        assert_eq!(before, digest(&other), "the same content elsewhere");
        fs::write(one.join("a/b"), b"3").unwrap();
        assert_ne!(before, digest(&one), "another content of the same length");
        fs::write(one.join("a/b"), b"1").unwrap();
        assert_eq!(before, digest(&one), "the first content again");
        fs::rename(one.join("c"), one.join("d")).unwrap();
        assert_ne!(before, digest(&one), "another name");
    }
}
