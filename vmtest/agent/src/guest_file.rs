//! Files that the host sends, at the place where programs look for them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::root;

/// The lab's programs. They are needed beside the root of programs, too.
const OWN: &str = "/bin/kernlab-";

/// A file that is being written. In a guest with two roots it may have two copies.
pub(crate) struct GuestFile {
    copies: Vec<File>,
}

impl GuestFile {
    /// Opens the file, and creates it and its directory if necessary.
    pub(crate) fn open(path: &Path, mode: u32, append: bool) -> io::Result<Self> {
        let open = || open(path, mode, append);
        let mut copies = vec![root::inside(open)?];
        let is_own = path.to_str().is_some_and(|path| path.starts_with(OWN));
        if is_own && root::jobs_root().is_some() {
            copies.push(open()?);
        }
        Ok(GuestFile { copies })
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.copies.iter_mut().try_for_each(|copy| copy.write_all(bytes))
    }
}

fn open(path: &Path, mode: u32, append: bool) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut options = File::options();
    options.create(true).mode(mode);
    if append {
        options.append(true)
    } else {
        options.write(true).truncate(true)
    };
    options.open(path)
}
