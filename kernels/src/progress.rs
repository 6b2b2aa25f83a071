//! What happens, told to an observer.

use std::{error::Error, path::Path};

use crate::catalog::{lock::LockedKernel, lock_file::LockFileError, matrix::Source};

/// Hears what happens, and shows it or not: the one way in which the lab tells its progress.
///
/// Several kernels may be fetched at once, so events name theirs.
pub trait Observer: Sync {
    /// Something happened to a kernel.
    fn observe(&self, kernel: &str, event: Event<'_>);

    /// Something else that a user should know: a checkpoint that had to be made again, say. One line.
    fn notice(&self, line: &str);
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process adds to the lock: this one waits for it.
    WaitForLock,
    /// The entry is not in the lock: its repository is asked.
    Resolve {
        /// Where it comes from.
        source: &'a Source,
    },
    /// The entry was resolved and added to the lock.
    Locked {
        /// What it is now.
        kernel: &'a LockedKernel,
        /// The lock.
        file: &'a Path,
    },
    /// The entry was resolved, and the lock can't be written: this holds for this process only.
    NotLocked {
        /// What it is now.
        kernel: &'a LockedKernel,
        /// Why.
        error: &'a LockFileError,
    },
    /// Another process is downloading a file: this one waits for it.
    Wait {
        /// The last part of its path.
        file: &'a str,
    },
    /// A file's download begins, or goes on where an earlier one left off.
    Download {
        /// The last part of its path.
        file: &'a str,
        /// How many bytes are there already.
        done: u64,
        /// How many there will be.
        size: u64,
    },
    /// So many bytes of the current file are there.
    Progress {
        /// Counted from the file's beginning.
        done: u64,
    },
    /// The current file is complete and its digest is right.
    Downloaded,
    /// An address did not deliver; the next one is tried, if there is one.
    AddressFailed {
        /// The address.
        url: &'a str,
        /// Why.
        error: &'a dyn Error,
    },
    /// It can be booted, or can't be had.
    Ready,
    /// The packages are being unpacked. Not said where that was done before.
    Unpack,
    /// What a build lacks is being installed.
    InstallTools {
        /// Gets all that is said.
        log: &'a Path,
    },
    /// It could not be installed.
    ToolsNotInstalled {
        /// Has all that was said.
        log: &'a Path,
        /// Why it could not even be begun.
        error: Option<&'a dyn Error>,
    },
    /// Another process is building the kernel: this one waits for it.
    WaitForBuild,
    /// The kernel is being built. Not said where that was done before.
    Build {
        /// Gets all that the compiler says.
        log: &'a Path,
    },
    /// An option that the entry asks for came out otherwise.
    OptionLost {
        /// `CONFIG_X=y, now n`.
        difference: &'a str,
    },
    /// A file was compiled or linked.
    Made {
        /// How many there were so far.
        files: u64,
        /// `CC init/main.o`.
        file: &'a str,
    },
    /// The kernel is built.
    Built {
        /// How many files were compiled or linked.
        files: u64,
        /// How long it took, from unpacking the source to here.
        seconds: u64,
    },
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _kernel: &str, _event: Event<'_>) {}

    fn notice(&self, _line: &str) {}
}
