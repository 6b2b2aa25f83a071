//! Files by several names, in several directories, on several file systems.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use kernlab_core::discovery::{Access, FileSubject, Status};
use nix::unistd::mkdtemp;

use super::number;

/// Names share their beginning, so that none is found in place of another. This one is longer than
/// what fits into a directory entry.
const LONG: &str = "kernlab-a-name-too-long-for-the-place-that-a-directory-entry-has-for-names";

/// Open files.
pub(super) struct Files {
    open: Vec<File>,
    subjects: Vec<FileSubject>,
    /// Entries by the path and the number of times that it was unlinked.
    entries: BTreeMap<(PathBuf, u32), u32>,
    dir: PathBuf,
}

impl Files {
    pub(super) fn open() -> Result<Self> {
        let template = std::env::temp_dir().join("kernlab-layout-XXXXXX");
        let dir = mkdtemp(&template).context("creating a directory")?;
        let mut files =
            Files { open: Vec::new(), subjects: Vec::new(), entries: BTreeMap::new(), dir };
        files.in_dir()?;
        files.elsewhere()?;
        Ok(files)
    }

    pub(super) fn subjects(&self) -> &[FileSubject] {
        &self.subjects
    }

    fn in_dir(&mut self) -> Result<()> {
        let dir = self.dir.clone();
        let short = dir.join("kernlab-a");
        let inner = dir.join("kernlab-folder");
        let twin = dir.join("kernlab-twin");
        for (path, mode) in [(&short, 0o640), (&dir.join("kernlab-b"), 0o600)] {
            create(path, mode)?;
        }
        create(&dir.join(LONG), 0o755)?;
        create(&twin, 0o444)?;
        fs::hard_link(&short, dir.join("kernlab-link")).context("linking a file")?;
        fs::create_dir(&inner).context("creating a directory")?;
        create(&inner.join("kernlab-a"), 0o604)?;

        let parent = self.add(&dir, Access::Read, 0)?;
        self.add(&short, Access::Read, 0)?;
        self.add(&dir.join("kernlab-b"), Access::Write, 0)?;
        self.add(&short, Access::Both, 0)?;
        self.add(&dir.join("kernlab-link"), Access::Read, 0)?;
        self.add(&dir.join(LONG), Access::Write, 0)?;
        let inner_parent = self.add(&inner, Access::Read, 0)?;
        self.add(&inner.join("kernlab-a"), Access::Both, 0)?;
        // Two entries of one name in one directory: the first is kept by its open file.
        self.add(&twin, Access::Read, 0)?;
        fs::remove_file(&twin).context("unlinking a file")?;
        create(&twin, 0o400)?;
        self.add(&twin, Access::Write, 1)?;

        for file in &mut self.subjects {
            if file.fd != parent {
                file.parent = Some(parent);
            }
        }
        if let Some(last) = self.subjects.iter_mut().find(|file| file.status.mode & 0o777 == 0o604)
        {
            last.parent = Some(inner_parent);
        }
        Ok(())
    }

    /// Files whose directory is the root of a file system.
    fn elsewhere(&mut self) -> Result<()> {
        for (root, names) in [("/dev", &["null", "zero"][..]), ("/proc", &["version"])] {
            let root = Path::new(root);
            let above = fs::metadata(root.join("..")).context("looking above a mount")?;
            let here = fs::metadata(root).with_context(|| format!("finding {}", root.display()))?;
            if here.dev() == above.dev() {
                continue;
            }
            let first = self.subjects.len();
            let mount = self.add(root, Access::Read, 0)?;
            self.subjects[first].name = "/".to_owned();
            for name in names {
                self.add(&root.join(name), Access::Read, 0)?;
            }
            for file in &mut self.subjects[first..] {
                (file.parent, file.mount_root) = (Some(mount), Some(mount));
            }
        }
        Ok(())
    }

    /// Opens a file, of which `unlinked` others had the name before.
    fn add(&mut self, path: &Path, access: Access, unlinked: u32) -> Result<u32> {
        let file = OpenOptions::new()
            .read(access != Access::Write)
            .write(access != Access::Read)
            .open(path)
            .with_context(|| format!("opening {}", path.display()))?;
        let metadata = file.metadata().with_context(|| format!("looking at {}", path.display()))?;
        let device = |number| Status::kernel_device(libc::major(number), libc::minor(number));
        let next = self.entries.len() as u32;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fd = number(file.as_raw_fd());
        self.subjects.push(FileSubject {
            fd,
            entry: *self.entries.entry((path.to_owned(), unlinked)).or_insert(next),
            name,
            parent: None,
            mount_root: None,
            access,
            status: Status {
                inode: metadata.ino(),
                mode: metadata.mode() as u16,
                rdev: device(metadata.rdev()),
                device: device(metadata.dev()),
            },
        });
        self.open.push(file);
        Ok(fd)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("could not remove {}: {error}", self.dir.display());
        }
    }
}

fn create(path: &Path, mode: u32) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map(drop)
        .with_context(|| format!("creating {}", path.display()))
}
