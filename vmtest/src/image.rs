//! The guest's initramfs: the agent as PID 1, and the modules that a kernel needs. It is written
//! without root and without tools, and the same input gives the same bytes.

mod archive;
pub mod root;
mod store;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use kernlab_kernels::Module;

use self::archive::Archive;
pub use self::store::{Contents, ImageStore, Initramfs};

/// Why an initramfs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file that goes into the image can't be read.
    #[error("could not read {path} for the guest's initramfs")]
    Read {
        /// The file on the host.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The image can't be written.
    #[error("could not write the guest's initramfs to {path}")]
    Write {
        /// The directory or file on the host.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A module's name has a slash or a line break.
    #[error("{0:?} is not the name of a kernel module")]
    ModuleName(String),
    /// The file is too long for an archive entry.
    #[error("{path} has {length} bytes, which is more than an initramfs can hold")]
    TooLong {
        /// The file in the guest.
        path: String,
        /// Its length.
        length: u64,
    },
}

/// The part of the image that all kernels share.
#[derive(Clone, Debug)]
pub struct Base {
    archive: Vec<u8>,
}

impl Base {
    /// Packs the agent.
    pub fn new(agent: &Path) -> Result<Self, ImageError> {
        let mut archive = Archive::default();
        // The kernel opens it for PID 1 before any file system is mounted.
        archive.character_device("/dev/console", 0o600, 5, 1);
        archive.file("/init", 0o755, &read(agent)?)?;
        Ok(Base { archive: archive.finish() })
    }

    /// Adds a kernel's modules, which the agent loads in this order.
    pub fn with_modules(&self, modules: &[Module]) -> Result<Vec<u8>, ImageError> {
        let mut image = self.archive.clone();
        if modules.is_empty() {
            return Ok(image);
        }
        let mut archive = Archive::default();
        let mut order = String::new();
        for Module { name, content } in modules {
            if name.contains(['/', '\n']) {
                return Err(ImageError::ModuleName(name.clone()));
            }
            archive.file(&format!("/modules/{name}.ko"), 0o644, content)?;
            order.push_str(&format!("{name}.ko\n"));
        }
        archive.file("/modules/order", 0o644, order.as_bytes())?;
        // The kernel unpacks consecutive archives into the same file system.
        image.extend(archive.finish());
        Ok(image)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(dir: &Path) -> Base {
        let agent = dir.join("agent");
        fs::write(&agent, b"\x7fELF agent").unwrap();
        Base::new(&agent).unwrap()
    }

    fn names(image: &[u8]) -> Vec<String> {
        let mut rest = image;
        let mut names = Vec::new();
        while !rest.is_empty() {
            let entry = cpio::newc::Reader::new(rest).unwrap();
            names.push(entry.entry().name().to_owned());
            rest = entry.finish().unwrap();
        }
        names
    }

    #[test]
    fn modules_follow_in_an_archive_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let module = Module { name: "virtio".to_owned(), content: b"module".to_vec() };
        let image = base(dir.path()).with_modules(&[module]).unwrap();
        let expected = [
            "dev",
            "dev/console",
            "init",
            "TRAILER!!!",
            "modules",
            "modules/virtio.ko",
            "modules/order",
            "TRAILER!!!",
        ];
        assert_eq!(names(&image), expected);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Base::new(Path::new("/nonexistent/agent")).unwrap_err();
        let expected = "could not read /nonexistent/agent for the guest's initramfs";
        assert_eq!(error.to_string(), expected);
    }
}
