//! Threads, files and sockets that differ in as many ways as possible.

mod files;
mod sockets;

use std::{
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result};
use kernlab_core::discovery::Subjects;
use nix::sched::{CloneFlags, unshare};

use self::{files::Files, sockets::Sockets};
use super::{
    parked::{Parked, park},
    peek::Peek,
};

/// A descriptor that a table must grow for: tables begin with `BITS_PER_LONG` descriptors.
const LARGE: i32 = 200;

/// Everything that a search is made for. It is taken down when this is dropped.
pub(super) struct ProbeSubjects {
    subjects: Subjects,
    _threads: [Parked; 3],
    _files: Files,
    _sockets: Sockets,
    _duplicates: Vec<OwnedFd>,
}

impl ProbeSubjects {
    pub(super) fn new(
        peek: &Arc<Mutex<Peek>>,
        kernel_address_min: u64,
        socket_file_ops: Option<u64>,
    ) -> Result<Self> {
        let null = || File::open("/dev/null").context("opening /dev/null");
        // Closed again when the others are open.
        let gaps = [null()?, null()?];
        let files = Files::open().context("preparing files")?;
        let sockets = Sockets::open().context("preparing sockets")?;
        let first_file = files.subjects()[0].fd;
        let origin = descriptor(first_file);
        // SAFETY: the descriptor is one of `files`, and stays open until this function returns.
        let duplicate = unsafe { std::os::fd::BorrowedFd::borrow_raw(origin) }
            .try_clone_to_owned()
            .context("duplicating a descriptor")?;
        let closed = gaps.iter().map(|gap| number(gap.as_raw_fd())).collect();
        drop(gaps);

        let (first, one, ()) = park("kernlab-sharer1", peek, || Ok(()))?;
        let (second, other, ()) = park("kernlab-sharer2", peek, || Ok(()))?;
        let (third, loner, high) = park("kernlab-loner-3", peek, move || {
            unshare(CloneFlags::CLONE_FILES).context("unsharing descriptors")?;
            // SAFETY: the new descriptor is known to this thread's table only, which ends with it.
            let high = unsafe { libc::fcntl(origin, libc::F_DUPFD_CLOEXEC, LARGE) };
            nix::errno::Errno::result(high).context("duplicating a descriptor to a large one")
        })?;
        let subjects = Subjects {
            kernel_address_min,
            sharers: vec![one, other],
            loner,
            duplicates: vec![(first_file, number(duplicate.as_raw_fd()))],
            high: (number(high), first_file),
            closed,
            files: files.subjects().to_vec(),
            sockets: sockets.subjects().to_vec(),
            socket_file_ops,
        };
        Ok(ProbeSubjects {
            subjects,
            _threads: [first, second, third],
            _files: files,
            _sockets: sockets,
            _duplicates: vec![duplicate],
        })
    }

    pub(super) fn subjects(&self) -> &Subjects {
        &self.subjects
    }
}

/// An open descriptor as the search counts it.
fn number(descriptor: RawFd) -> u32 {
    descriptor.unsigned_abs()
}

fn descriptor(number: u32) -> RawFd {
    number.cast_signed()
}
