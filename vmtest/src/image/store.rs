//! Stores images for later use.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{Base, ImageError};
use crate::unused;
use kernlab_kernels::{
    ContentDigests, Digest, Module, Observer, Part, Store, replace_private_file,
};

/// An image that was unused for this long is removed.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// An initramfs on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initramfs {
    /// The path of the file.
    pub path: PathBuf,
    /// The digest of its content.
    pub digest: Digest,
}

/// The files that go into an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The program that becomes PID 1.
    pub agent: PathBuf,
    /// The modules, in the order in which the agent loads them.
    pub modules: Vec<Module>,
}

impl Contents {
    fn build(&self) -> Result<Vec<u8>, ImageError> {
        Base::new(&self.agent)?.with_modules(&self.modules)
    }

    /// Identifies the agent by what changes when it is written, as make(1) does: hashing its
    /// content would cost every cell a tenth of a second. Modules are small, and already read.
    fn identity(&self) -> Result<Digest, ImageError> {
        let host = &self.agent;
        let file =
            fs::metadata(host).map_err(|source| ImageError::Read { path: host.clone(), source })?;
        let place = (file.dev(), file.ino());
        let state = (file.size(), file.mtime(), file.mtime_nsec(), file.ctime_nsec());
        let mut text = format!("{host:?} {place:?} {state:?}\n");
        for Module { name, content } in &self.modules {
            text.push_str(&format!("{name} {}\n", Digest::of(content)));
        }
        Ok(Digest::of(text.as_bytes()))
    }
}

/// Maps the identity in its file name to the image that was made.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    image: Initramfs,
    length: u64,
}

/// A directory of images, each named by the digest of its content.
#[derive(Clone, Debug)]
pub struct ImageStore {
    dir: PathBuf,
    digests: ContentDigests,
}

impl ImageStore {
    /// A store in this directory, which is created when it is needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        ImageStore { digests: ContentDigests::at(dir.join("digests")), dir }
    }

    /// The images of this machine, beside its kernels.
    pub fn of(store: &Store) -> Self {
        let dir = store.root().join(Part::Images.name());
        ImageStore { dir, digests: store.content_digests() }
    }

    /// The image with these contents: made now, or found if the files did not change.
    /// An image with another content than it was made with is made again.
    pub fn image_of(
        &self,
        contents: &Contents,
        observer: &dyn Observer,
    ) -> Result<Initramfs, ImageError> {
        let note = self.dir.join(format!("{}.json", contents.identity()?));
        match self.recall(&note) {
            Recalled::Whole(image) => return Ok(image),
            Recalled::Nothing => {}
            Recalled::Damaged(path) => {
                let path = path.display();
                observer.notice(&format!("the initramfs {path} is damaged, making it again"));
            }
        }
        let bytes = contents.build()?;
        let image = self.keep(&bytes)?;
        let remembered = Note { image: image.clone(), length: bytes.len() as u64 };
        let written = serde_json::to_vec(&remembered).map_err(io::Error::from);
        written
            .and_then(|text| self.write(&note, &text))
            .map_err(|source| ImageError::Write { path: note, source })?;
        Ok(image)
    }

    /// Stores an image unless it is already there. Removes images that were unused for a week.
    pub fn keep(&self, image: &[u8]) -> Result<Initramfs, ImageError> {
        let digest = Digest::of(image);
        let path = self.dir.join(format!("{digest}.cpio"));
        let known = fs::read(&path).is_ok_and(|kept| kept == image);
        let written = if known { touch(&path) } else { self.write(&path, image) };
        written.map_err(|source| ImageError::Write { path: path.clone(), source })?;
        Ok(Initramfs { path, digest })
    }

    /// The image that a note names, if it is still intact. Updates the times of both.
    fn recall(&self, note: &Path) -> Recalled {
        let read = fs::read(note).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let Some(Note { image, length }) = read else { return Recalled::Nothing };
        // A store that was copied has images of its own.
        if image.path.parent() != Some(&self.dir) {
            return Recalled::Nothing;
        }
        if !fs::metadata(&image.path).is_ok_and(|file| file.len() == length)
            || !self.digests.of(&image.path).is_ok_and(|digest| digest == image.digest)
        {
            return match image.path.exists() {
                true => Recalled::Damaged(image.path),
                false => Recalled::Nothing,
            };
        }
        match touch(&image.path).and_then(|()| touch(note)) {
            Ok(()) => Recalled::Whole(image),
            Err(_) => Recalled::Nothing,
        }
    }

    fn write(&self, path: &Path, image: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        replace_private_file(path, image)?;
        unused::remove(&self.dir, Part::Images, KEPT_FOR, SystemTime::now())
    }
}

enum Recalled {
    Whole(Initramfs),
    Nothing,
    Damaged(PathBuf),
}

/// How precisely the time of the last use is recorded. A file whose time is set is read again to learn
/// that its content is the same.
const USE_RESOLUTION: Duration = Duration::from_secs(60 * 60);

fn touch(path: &Path) -> io::Result<()> {
    unused::touch(path, USE_RESOLUTION)
}

#[cfg(test)]
mod tests {
    use kernlab_kernels::Silent;

    use super::*;

    fn contents(dir: &Path) -> Contents {
        let agent = dir.join("agent");
        fs::write(&agent, b"\x7fELF agent").unwrap();
        Contents { agent, modules: Vec::new() }
    }

    #[test]
    fn the_same_contents_make_the_same_image() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images"));
        let contents = contents(dir.path());
        let first = store.image_of(&contents, &Silent).unwrap();
        assert_eq!(store.image_of(&contents, &Silent).unwrap(), first);
        assert_eq!(fs::read(&first.path).unwrap(), contents.build().unwrap());
        let elsewhere = ImageStore::new(dir.path().join("elsewhere"));
        assert_eq!(elsewhere.image_of(&contents, &Silent).unwrap().digest, first.digest);
    }

    #[test]
    fn a_program_that_was_built_again_makes_another_image() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images"));
        let contents = contents(dir.path());
        let first = store.image_of(&contents, &Silent).unwrap();
        fs::write(&contents.agent, b"\x7fELF other").unwrap();
        assert_ne!(store.image_of(&contents, &Silent).unwrap().digest, first.digest);
    }

    #[test]
    fn a_note_on_a_torn_image_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images"));
        let contents = contents(dir.path());
        let image = store.image_of(&contents, &Silent).unwrap();
        let whole = contents.build().unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&b"torn"[..], &flipped] {
            fs::write(&image.path, damaged).unwrap();
            assert_eq!(store.image_of(&contents, &Silent).unwrap(), image);
            assert_eq!(fs::read(&image.path).unwrap(), whole);
        }
    }

    #[test]
    fn a_copy_of_a_store_does_not_use_the_images_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let contents = contents(dir.path());
        let first = dir.path().join("first");
        let image = ImageStore::new(&first).image_of(&contents, &Silent).unwrap();
        let second = dir.path().join("second");
        fs::create_dir(&second).unwrap();
        for file in fs::read_dir(&first).unwrap().flatten() {
            if file.path().is_file() {
                fs::copy(file.path(), second.join(file.file_name())).unwrap();
            }
        }
        let copied = ImageStore::new(&second).image_of(&contents, &Silent).unwrap();
        assert_eq!((copied.digest, copied.path.parent()), (image.digest, Some(&*second)));
    }

    #[test]
    fn a_damaged_image_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path());
        let kept = store.keep(b"an image").unwrap();
        fs::write(&kept.path, b"torn").unwrap();
        assert_eq!(store.keep(b"an image").unwrap(), kept);
        assert_eq!(fs::read(&kept.path).unwrap(), b"an image");
    }

    #[test]
    fn images_that_nobody_uses_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path());
        let kept = store.keep(b"an image").unwrap();
        let soon = SystemTime::now() + Duration::from_secs(60);
        unused::remove(&store.dir, Part::Images, KEPT_FOR, soon).unwrap();
        assert!(kept.path.exists());
        unused::remove(&store.dir, Part::Images, KEPT_FOR, soon + KEPT_FOR).unwrap();
        assert!(!kept.path.exists());
    }
}
