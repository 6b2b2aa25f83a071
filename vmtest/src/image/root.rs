//! Root file systems for guests: a read-only disk, made once from a tar archive or a directory, and
//! shared by all guests.
//!
//! The disk is a squashfs, because every distribution's kernel has it, at least as a module. (ext4 is
//! a module elsewhere than in cloud kernels, and needs tools to be written; erofs came with 5.4.) Its
//! blocks are not compressed: a translated guest would spend more time on decompressing them than
//! reading takes.

pub(crate) mod archive;
mod directory;
pub(crate) mod squashfs;
pub(crate) mod tree;

use std::{
    fmt::Debug,
    fs,
    io::{self, BufReader},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use kernlab_kernels::{
    Arch, ContentDigests, Digest, Observer, Part, Store, StoreError, replace_private_file,
};
use serde::{Deserialize, Serialize};

use self::tree::{Content, Kind, Node, Tree};
use crate::{suite::payload::Machine, unused};

/// A part of each image's name. Raise it with every change of how an image is made.
const VERSION: u32 = 4;

/// An image that was unused for this long is removed.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The disk image of a root file system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RootImage {
    /// The path of the file, which is named after the digest.
    pub path: PathBuf,
    /// Identifies the content: of an archive, the digest of the file; of a directory, the digest of
    /// all its names, modes, sizes, inodes and times.
    pub digest: Digest,
    /// The architecture of its shell; none if it has no shell, or one that the lab has no kernels for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
}

/// Why the image of a root file system could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The archive or the directory can't be read.
    #[error("could not read {path}, the source of the guest's root file system")]
    Read {
        /// The archive, the directory, or a file in it.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is no tar archive.
    #[error(
        "{path} is not a tar archive: expected what `docker export` or `mmdebstrap` writes, as it is \
         or compressed with gzip, xz or zstd"
    )]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// It is a device, a pipe or a socket, which may have no end.
    #[error("{0} is neither a directory nor a file with a tar archive")]
    NotAFile(PathBuf),
    /// The archive would fill the disk or the memory.
    #[error("{path} has more than {what}")]
    TooLarge {
        /// The archive.
        path: PathBuf,
        /// Of what it has too much.
        what: &'static str,
    },
    /// The archive is cut off.
    #[error("{0} is cut off: the mark at the end of a tar archive is missing")]
    CutOff(PathBuf),
    /// An entry of the archive can't be part of a root file system.
    #[error("the entry {name:?} of {path} {why}")]
    Entry {
        /// The archive.
        path: PathBuf,
        /// The entry's name.
        name: PathBuf,
        /// Completes "the entry ...".
        why: &'static str,
    },
    /// Nothing is in it.
    #[error("{0} is empty")]
    Empty(PathBuf),
    /// The image can't be written.
    #[error("could not write the image of a guest's root file system to {path}")]
    Write {
        /// The file or directory on the host.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file system can't be laid out.
    #[error("could not lay out the root file system of {path}")]
    Layout {
        /// The archive or the directory.
        path: PathBuf,
        /// The error.
        source: squashfs::LayoutError,
    },
    /// Another process makes the image and does not finish, or the store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Maps the identity of an archive, in the note's file name, to the image that was made.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    image: RootImage,
    length: u64,
}

/// The images of this machine.
#[derive(Clone, Debug)]
pub struct RootStore {
    dir: PathBuf,
    store: Store,
}

impl RootStore {
    /// The images beside the kernels in this store.
    pub fn of(store: &Store) -> Self {
        RootStore { dir: store.root().join(Part::Roots.name()), store: store.clone() }
    }

    /// The image of a tar archive or of a directory: made now, or found if that did not change.
    pub fn image_of(&self, source: &Path, observer: &dyn Observer) -> Result<RootImage, RootError> {
        let read = |error| RootError::Read { path: source.to_owned(), source: error };
        let real = fs::canonicalize(source).map_err(read)?;
        let metadata = fs::metadata(&real).map_err(read)?;
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(RootError::NotAFile(source.to_owned()));
        }
        let found = match metadata.is_dir() {
            true => {
                let tree = directory::read(&real)?;
                Found { identity: directory::identity(&tree), tree: Some(tree) }
            }
            false => Found { identity: identity(&real, &metadata), tree: None },
        };
        let note = self.dir.join(format!("{}.json", found.identity));
        let digests = self.store.content_digests();
        if let Some(image) = recall(&note, &digests) {
            return Ok(image);
        }
        // If several processes want an image, one makes it and the others wait.
        let _lock = self.store.lock(&format!("root-{}", found.identity))?;
        if let Some(image) = recall(&note, &digests) {
            return Ok(image);
        }
        let name = source.display();
        observer.notice(&format!("{name}: converting it to a disk image, which is done once"));
        self.make(&real, found, &note)
    }

    fn make(&self, source: &Path, found: Found, note: &Path) -> Result<RootImage, RootError> {
        let Found { identity, tree } = found;
        let read = |error| RootError::Read { path: source.to_owned(), source: error };
        fs::create_dir_all(&self.dir).map_err(|error| self.write_error(error))?;
        let image = match tree {
            Some(tree) => {
                let image = RootImage { arch: arch(&tree, None), ..self.place(identity) };
                self.write(source, &tree, None, &image)?;
                image
            }
            None => {
                let file = fs::File::open(source).map_err(read)?;
                let (digest, _) = Digest::of_reader(&mut BufReader::with_capacity(1 << 20, &file))
                    .map_err(read)?;
                let plain = archive::uncompressed(source, file, &self.dir)?;
                let tree = archive::read(source, &plain)?;
                let image = RootImage { arch: arch(&tree, Some(&plain)), ..self.place(digest) };
                if !image.path.is_file() || !self.store.content_digests().is_as_made(&image.path) {
                    self.write(source, &tree, Some(&plain), &image)?;
                }
                image
            }
        };
        let length = fs::metadata(&image.path).map_err(|error| self.write_error(error))?.len();
        let text = serde_json::to_vec(&Note { image: image.clone(), length });
        text.map_err(io::Error::from)
            .and_then(|text| {
                replace_private_file(note, &text)?;
                unused::remove(&self.dir, Part::Roots, KEPT_FOR, SystemTime::now())
            })
            .map_err(|error| self.write_error(error))?;
        Ok(image)
    }

    fn place(&self, digest: Digest) -> RootImage {
        let path = self.dir.join(format!("{digest}.{VERSION}.squashfs"));
        RootImage { path, digest, arch: None }
    }

    /// Writes the image, which appears under its name when it is complete.
    fn write(
        &self,
        source: &Path,
        tree: &Tree,
        archive: Option<&fs::File>,
        image: &RootImage,
    ) -> Result<(), RootError> {
        if tree.is_empty() {
            return Err(RootError::Empty(source.to_owned()));
        }
        let mut file =
            tempfile::NamedTempFile::new_in(&self.dir).map_err(|error| self.write_error(error))?;
        squashfs::write(tree, archive, file.as_file_mut())
            .map_err(|error| RootError::Layout { path: source.to_owned(), source: error })?;
        // After a crash, the file must not appear under its name without its content.
        file.as_file().sync_all().map_err(|error| self.write_error(error))?;
        self.store.content_digests().note_made(file.path(), &image.path);
        file.persist(&image.path).map_err(|error| self.write_error(error.error))?;
        Ok(())
    }

    fn write_error(&self, source: io::Error) -> RootError {
        match StoreError::io("write", &self.dir, source) {
            StoreError::Io { path, source, .. } => RootError::Write { path, source },
            full => RootError::Store(full),
        }
    }
}

/// What an image is made of.
struct Found {
    identity: Digest,
    /// The content of a directory; that of an archive is read when it is needed.
    tree: Option<Tree>,
}

/// Identifies an archive by what changes when it is written, as make(1) does: hashing hundreds of
/// megabytes would cost every guest a second.
fn identity(path: &Path, file: &fs::Metadata) -> Digest {
    let state = state(file);
    Digest::of(format!("root {VERSION} {path:?} {state:?}").as_bytes())
}

/// What changes when a file is written or replaced: its place and size, and times of which no program
/// can set the last.
fn state(file: &fs::Metadata) -> impl Debug + use<> {
    (
        (file.dev(), file.ino(), file.size()),
        (file.mtime(), file.mtime_nsec()),
        (file.ctime(), file.ctime_nsec()),
    )
}

/// The architecture of the shell in a root file system.
fn arch(tree: &Tree, archive: Option<&fs::File>) -> Option<Arch> {
    let Node { kind: Kind::File(content), .. } = tree.resolve(Path::new("/bin/sh"))? else {
        return None;
    };
    let machine = match content {
        Content::Archived { position, .. } => {
            let mut header = [0; Machine::HEADER];
            archive?.read_exact_at(&mut header, *position).ok()?;
            Machine::of_header(&header)
        }
        Content::File(path) => Machine::of_file(path).ok()?,
    };
    match machine? {
        Machine::Known(arch) => Some(arch),
        Machine::Other(_) => None,
    }
}

/// How precisely the time of the last use is recorded. An image whose time is set is read again to
/// learn that its content is the same, which takes seconds.
const USE_RESOLUTION: Duration = Duration::from_secs(24 * 60 * 60);

/// The image that a note names, if it is still as it was made. Updates the times of both.
fn recall(note: &Path, digests: &ContentDigests) -> Option<RootImage> {
    let Note { image, length } = serde_json::from_slice(&fs::read(note).ok()?).ok()?;
    // A store that was copied has images of its own.
    let is_whole = image.path.parent() == note.parent()
        && fs::metadata(&image.path).is_ok_and(|file| file.len() == length)
        && digests.is_as_made(&image.path);
    let touch = |path: &Path| unused::touch(path, USE_RESOLUTION).is_ok();
    (is_whole && touch(&image.path) && touch(note)).then_some(image)
}

#[cfg(test)]
mod tests;
