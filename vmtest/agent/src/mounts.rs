//! The file systems that programs expect.

use std::{fs, io, path::Path};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::root;

/// Source type, directory, file system.
const MOUNTS: [(&str, &str); 7] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tracefs", "/sys/kernel/tracing"),
    ("bpf", "/sys/fs/bpf"),
    ("tmpfs", "/tmp"),
];

/// What some tracers use, and many kernels lack.
const OPTIONAL: [(&str, &str); 3] = [
    ("debugfs", "/sys/kernel/debug"),
    ("securityfs", "/sys/kernel/security"),
    ("tmpfs", "/dev/shm"),
];

/// Mounts all of them, and returns a note on each that the kernel lacks, if it is not optional.
pub(crate) fn mount_all() -> Vec<String> {
    let mut notes = Vec::new();
    for (kind, dir) in MOUNTS {
        let mounted = mount_one(kind, dir);
        let mounted = match mounted {
            // sysfs has this directory since 4.1; before that, tracefs was only available in
            // debugfs.
            Err(_) if kind == "tracefs" => mount_one("debugfs", "/sys/kernel/debug"),
            other => other,
        };
        if let Err(error) = mounted {
            notes.push(format!("mount {kind} on {dir}: {error}"));
        }
    }
    for (kind, dir) in OPTIONAL {
        // A program that needs it will say so.
        let _ = mount_one(kind, dir);
    }
    notes
}

fn mount_one(kind: &str, dir: &str) -> nix::Result<()> {
    // Directories can't be created in sysfs; then the mount reports what is missing.
    let _ = fs::create_dir_all(dir);
    match mount(Some(kind), dir, Some(kind), MsFlags::empty(), None::<&str>) {
        // The kernel mounted it (CONFIG_DEVTMPFS_MOUNT).
        Err(nix::Error::EBUSY) => Ok(()),
        other => other,
    }
}

/// Paths that appear empty until this is dropped.
#[derive(Default)]
pub(crate) struct Hidden {
    paths: Vec<String>,
}

impl Hidden {
    /// Covers each path: directories with an empty read-only file system, files with `/dev/null`.
    /// The error names the path.
    pub(crate) fn cover(paths: &[String]) -> Result<Self, (String, io::Error)> {
        let mut hidden = Hidden::default();
        for path in paths {
            let covered = root::inside(|| cover(path));
            if covered.map_err(|error| (path.clone(), error))? {
                hidden.paths.push(path.clone());
            }
        }
        Ok(hidden)
    }
}

/// Covers a path; `false` if it does not exist.
fn cover(path: &str) -> io::Result<bool> {
    let Ok(metadata) = Path::new(path).metadata() else { return Ok(false) };
    let none = None::<&str>;
    if metadata.is_dir() {
        mount(Some("hidden"), path, Some("tmpfs"), MsFlags::MS_RDONLY, none)?;
    } else {
        mount(Some("/dev/null"), path, none, MsFlags::MS_BIND, none)?;
    }
    Ok(true)
}

impl Drop for Hidden {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            let uncover = || Ok(umount2(path.as_str(), MntFlags::MNT_DETACH)?);
            if let Err(error) = root::inside(uncover) {
                eprintln!("kernlab-agent: could not uncover {path}: {error}");
            }
        }
    }
}
