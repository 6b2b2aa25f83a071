//! The root file system of programs, if the host gave the guest a disk with one.
//!
//! The disk is read-only and shared by all guests. What a guest changes is in its memory, in a
//! layer above the disk. The agent itself stays in the initramfs.

use std::{
    ffi::CStr,
    fs, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{chdir, chroot},
};

/// Where the root of programs is mounted.
const ROOT: &CStr = c"/newroot";
/// Where the disk is mounted.
const DISK: &str = "/disk";
/// The file system of the layer above the disk.
const CHANGES: &str = "/changes";

/// Directories of the agent that programs see in their root.
const SHARED: [&str; 4] = ["proc", "sys", "dev", "tmp"];

/// Whether the root is mounted.
static MOUNTED: AtomicBool = AtomicBool::new(false);

/// Why the root could not be mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    #[error("make a directory for the root file system: {0}")]
    Directory(#[source] io::Error),
    #[error("mount the disk {device}, which holds the root file system: {error}{}", advice(.error))]
    Disk { device: String, error: Errno },
    #[error("mount a layer above the root file system's disk: {0} (the kernel needs OVERLAY_FS)")]
    Layer(#[source] Errno),
    #[error("mount /{dir} in the root file system: {error}")]
    Inside { dir: &'static str, error: Errno },
}

fn advice(error: &Errno) -> &'static str {
    match error {
        Errno::ENOENT => " (the kernel needs VIRTIO_PCI and VIRTIO_BLK)",
        Errno::ENODEV => " (the kernel needs SQUASHFS)",
        _ => "",
    }
}

/// The root directory of programs, if it is not the agent's.
pub(crate) fn jobs_root() -> Option<&'static Path> {
    MOUNTED.load(Ordering::Relaxed).then_some(root())
}

fn root() -> &'static Path {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    Path::new(OsStr::from_bytes(ROOT.to_bytes()))
}

/// Mounts the disk, such as `vda`, as the root of programs.
pub(crate) fn mount_disk(device: &str) -> Result<(), RootError> {
    let device = format!("/dev/{device}");
    let make = |dir: &Path| fs::create_dir_all(dir).map_err(RootError::Directory);
    make(Path::new(DISK))?;
    make(Path::new(CHANGES))?;
    make(root())?;
    let read_only = MsFlags::MS_RDONLY;
    mount(Some(device.as_str()), DISK, Some("squashfs"), read_only, None::<&str>)
        .map_err(|error| RootError::Disk { device, error })?;
    let none = MsFlags::empty();
    mount(Some("changes"), CHANGES, Some("tmpfs"), none, Some("mode=755"))
        .map_err(RootError::Layer)?;
    let (upper, work) = (format!("{CHANGES}/upper"), format!("{CHANGES}/work"));
    make(Path::new(&upper))?;
    make(Path::new(&work))?;
    let layers = format!("lowerdir={DISK},upperdir={upper},workdir={work}");
    mount(Some("root"), root(), Some("overlay"), none, Some(layers.as_str()))
        .map_err(RootError::Layer)?;
    for dir in SHARED {
        let place = mount_point(dir).map_err(RootError::Directory)?;
        let bound = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&*Path::new("/").join(dir)), &*place, None::<&str>, bound, None::<&str>)
            .map_err(|error| RootError::Inside { dir, error })?;
    }
    // What an image has there belongs to the machine on which it was made.
    let place = mount_point("run").map_err(RootError::Directory)?;
    mount(Some("run"), &*place, Some("tmpfs"), none, Some("mode=755"))
        .map_err(|error| RootError::Inside { dir: "run", error })?;
    MOUNTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// A directory of the new root. A link would be followed to the agent's files, so it is replaced.
fn mount_point(name: &str) -> io::Result<std::path::PathBuf> {
    let place = root().join(name);
    if place.symlink_metadata().is_ok_and(|file| !file.is_dir()) {
        fs::remove_file(&place)?;
    }
    fs::create_dir_all(&place)?;
    Ok(place)
}

/// Does something where absolute paths, and absolute links, are those of programs.
pub(crate) fn inside<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if jobs_root().is_none() {
        return work();
    }
    let in_root = || {
        // From here on, this thread has a root directory of its own.
        unshare(CloneFlags::CLONE_FS)?;
        chroot(ROOT)?;
        chdir(c"/")?;
        work()
    };
    thread::scope(|scope| match scope.spawn(in_root).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Lets a program start in `dir` of the root of programs.
pub(crate) fn enter(command: &mut Command, dir: &'static CStr) {
    let has_root = jobs_root().is_some();
    // SAFETY: both calls are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if has_root {
                chroot(ROOT)?;
            }
            Ok(chdir(dir)?)
        });
    }
}
