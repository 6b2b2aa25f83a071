//! The pipes between a program and the agent, with limits on what is sent to the host.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use kernlab_proto::{Limits, Stream, WAITING};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::pipe2,
};

use crate::{
    outlet::Outlet,
    port::{Port, PortError},
};

/// The agent's end of one pipe.
struct Pipe {
    stream: Stream,
    /// None once all writers are gone.
    end: Option<File>,
    /// How many more bytes may be sent.
    left: u64,
}

/// The agent's ends of the three pipes.
pub(crate) struct Pipes {
    pipes: [Pipe; 3],
    /// The number of bytes beyond the limits.
    pub(crate) dropped: u64,
    outlet: Outlet,
    buffer: Vec<u8>,
}

/// The program's ends of the three pipes.
pub(crate) struct ProgramEnds {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) result: OwnedFd,
}

impl Pipes {
    /// Makes the three pipes.
    pub(crate) fn new(limits: Limits) -> nix::Result<(Self, ProgramEnds)> {
        let pipe = |stream, left| {
            let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            // A smaller pipe works as well.
            let _ = fcntl(&ours, FcntlArg::F_SETPIPE_SZ(WAITING as i32));
            nix::Result::Ok((Pipe { stream, end: Some(File::from(ours)), left }, theirs))
        };
        let (out, stdout) = pipe(Stream::Stdout, limits.stdout)?;
        let (err, stderr) = pipe(Stream::Stderr, limits.stderr)?;
        let (res, result) = pipe(Stream::Result, limits.result)?;
        let (outlet, buffer) = (Outlet::default(), vec![0; WAITING]);
        let pipes = Pipes { pipes: [out, err, res], dropped: 0, outlet, buffer };
        Ok((pipes, ProgramEnds { stdout, stderr, result }))
    }

    /// The ends that are still open, to wait for.
    pub(crate) fn open(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().filter_map(|pipe| pipe.end.as_ref().map(AsFd::as_fd))
    }

    /// Sends one chunk from every pipe that has data. Returns whether any had data.
    pub(crate) fn forward(&mut self, port: &mut Port) -> Result<bool, PortError> {
        let Pipes { pipes, dropped, outlet, buffer } = self;
        let mut moved = false;
        for pipe in pipes {
            let Some(end) = &mut pipe.end else { continue };
            let length = match end.read(buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if length == 0 {
                pipe.end = None;
                continue;
            }
            moved = true;
            let sent = usize::try_from(pipe.left).map_or(length, |left| length.min(left));
            pipe.left -= sent as u64;
            *dropped += (length - sent) as u64;
            if sent > 0 {
                outlet.send(pipe.stream, &buffer[..sent], port)?;
            }
        }
        Ok(moved)
    }
}
