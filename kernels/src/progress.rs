//! Progress events, and the observer that receives them.

use std::{error::Error, path::Path};

use crate::catalog::{lock::LockedKernel, lock_file::LockFileError, matrix::Source};

/// Receives progress events, and may display them. All progress of the lab is reported this way.
///
/// Several kernels may be fetched at once, so each call names its kernel.
pub trait Observer: Sync {
    /// Receives an event of a kernel.
    fn observe(&self, kernel: &str, event: Event<'_>);

    /// Receives another message for the user, such as a checkpoint that had to be made again. One
    /// line.
    fn notice(&self, line: &str);
}

/// A progress event.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Waiting for another process that is adding to the lock.
    WaitForLock,
    /// The entry is not in the lock, so its repository is queried.
    Resolve {
        /// The entry's source.
        source: &'a Source,
    },
    /// The entry was resolved and added to the lock.
    Locked {
        /// The new lock entry.
        kernel: &'a LockedKernel,
        /// The path of the lock.
        file: &'a Path,
    },
    /// The entry was resolved, but the lock can't be written. The result is used only by this
    /// process.
    NotLocked {
        /// What would have been locked.
        kernel: &'a LockedKernel,
        error: &'a LockFileError,
    },
    /// Waiting for another process that is downloading a file.
    Wait {
        /// The file name.
        file: &'a str,
    },
    /// The download of a file starts, or resumes where an earlier one stopped.
    Download {
        /// The file name.
        file: &'a str,
        /// How many bytes are already in the store.
        done: u64,
        /// The size of the file.
        size: u64,
    },
    /// The current download has made progress.
    Progress {
        /// The number of bytes received, counted from the start of the file.
        done: u64,
    },
    /// The current file is complete and has the right digest.
    Downloaded,
    /// A URL failed. The next one is tried, if there is one.
    AddressFailed { url: &'a str, error: &'a dyn Error },
    /// The kernel is bootable, or its preparation failed.
    Ready,
    /// The packages are being unpacked. Omitted if that was done before.
    Unpack,
    /// Programs that the build lacks are being installed.
    InstallTools {
        /// The log of the installation.
        log: &'a Path,
    },
    /// The installation failed.
    ToolsNotInstalled {
        /// The log of the installation.
        log: &'a Path,
        /// Why it could not be started, if that is what failed.
        error: Option<&'a dyn Error>,
    },
    /// Waiting for another process that is building the kernel.
    WaitForBuild,
    /// The kernel is being built. Omitted if that was done before.
    Build {
        /// The log of the build.
        log: &'a Path,
    },
    /// An option that the entry requests has a different value after configuration.
    OptionLost {
        /// `CONFIG_X=y, now n`.
        difference: &'a str,
    },
    /// A file was compiled or linked.
    Made {
        /// The number of files so far.
        files: u64,
        /// `CC init/main.o`.
        file: &'a str,
    },
    /// The kernel is built.
    Built {
        /// How many files were compiled or linked.
        files: u64,
        /// The time from unpacking the source to now.
        seconds: u64,
    },
}

/// An observer that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _kernel: &str, _event: Event<'_>) {}

    fn notice(&self, _line: &str) {}
}
