//! Waiting for events.

use std::{os::fd::BorrowedFd, time::Duration};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How many milliseconds more events may gather once there is one. Each of them would wake us, which costs the
/// traced program ten times what the event does where both share a processor. The smallest buffer
/// has room for three million events a second.
const GATHER_MS: u8 = 1;

/// Waits until events are there or `workload` is readable, and tells whether that is. The host's
/// deadline for the cell ends a wait that would never end.
pub(crate) fn wait(buffer: Vec<BorrowedFd<'_>>, workload: BorrowedFd<'_>) -> Result<bool> {
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds: Vec<_> = [workload].into_iter().chain(buffer).map(readable).collect();
    poll(&mut fds, PollTimeout::NONE).context("waiting for events")?;
    if fds[0].any() == Some(false) {
        poll(&mut fds[..1], GATHER_MS).context("waiting for more events")?;
    }
    Ok(fds[0].any().unwrap_or(true))
}

/// Sleeps until the buffer has an event, whatever the workload does, and tells whether it has one in time.
pub(crate) fn wake(buffer: Vec<BorrowedFd<'_>>, bound: Duration) -> Result<bool> {
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds: Vec<_> = buffer.into_iter().map(readable).collect();
    let bound = PollTimeout::try_from(bound).context("the bound is too long")?;
    Ok(poll(&mut fds, bound).context("waiting for an event")? > 0)
}
