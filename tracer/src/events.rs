//! Waiting for events.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

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

/// Sleeps until the buffer has an event, whatever the workload does, and tells whether it wakes in time.
pub(crate) fn wake(buffer: Vec<BorrowedFd<'_>>, bound: Duration) -> Result<bool> {
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds: Vec<_> = buffer.into_iter().map(readable).collect();
    let timeout = PollTimeout::try_from(bound).context("the bound is too long")?;
    let begun = Instant::now();
    let is_there = poll(&mut fds, timeout).context("waiting for an event")? > 0;
    // When the time is up, the kernel looks once more: it then finds an event that woke nobody.
    Ok(is_there && begun.elapsed() < bound)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Write as _, pipe},
        os::fd::AsFd as _,
    };

    use super::*;

    #[test]
    fn only_an_event_wakes() {
        let (reader, mut writer) = pipe().unwrap();
        assert!(!wake(vec![reader.as_fd()], Duration::ZERO).unwrap());
        writer.write_all(b"event").unwrap();
        assert!(wake(vec![reader.as_fd()], Duration::from_secs(60)).unwrap());
    }

    #[test]
    fn the_workload_is_told_from_events() {
        let ([events, changes], mut written) = {
            let (first, second) = (pipe().unwrap(), pipe().unwrap());
            ([first.0, second.0], [first.1, second.1])
        };
        written[0].write_all(b"event").unwrap();
        assert!(!wait(vec![events.as_fd()], changes.as_fd()).unwrap());
        written[1].write_all(b"stopped").unwrap();
        assert!(wait(vec![events.as_fd()], changes.as_fd()).unwrap());
        assert!(wait(Vec::new(), changes.as_fd()).unwrap());
    }
}
