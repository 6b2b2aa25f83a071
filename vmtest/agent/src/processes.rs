//! The processes of a job: all in the guest except PID 1, because the guest runs one job at a time.

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Every process but PID 1.
const EVERYONE: Pid = Pid::from_raw(-1);

/// What happened to the children of PID 1: its own, and those that it inherited.
#[derive(Debug, Default)]
pub(crate) struct Children {
    /// How the awaited child ended.
    pub(crate) ended: Option<WaitStatus>,
    /// How many other children were killed.
    pub(crate) killed: u32,
    /// Whether no child is left.
    pub(crate) gone: bool,
}

impl Children {
    /// Reaps all children that have ended so far.
    pub(crate) fn reap(&mut self, child: Pid) -> nix::Result<()> {
        self.collect(child, WaitPidFlag::empty()).map(drop)
    }

    /// Reaps like [`Children::reap`], and returns whether the awaited child has stopped itself.
    pub(crate) fn reap_until_stop(&mut self, child: Pid) -> nix::Result<bool> {
        self.collect(child, WaitPidFlag::WUNTRACED)
    }

    fn collect(&mut self, child: Pid, flags: WaitPidFlag) -> nix::Result<bool> {
        loop {
            match waitpid(EVERYONE, Some(WaitPidFlag::WNOHANG | flags)) {
                Ok(WaitStatus::StillAlive) => return Ok(false),
                Ok(WaitStatus::Stopped(pid, _)) if pid == child => return Ok(true),
                Ok(status) if status.pid() == Some(child) => self.ended = Some(status),
                Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)) => self.killed += 1,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => {
                    self.gone = true;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Kills every process except PID 1: no daemon escapes in a group or session of its own.
pub(crate) fn kill_everyone() {
    // ESRCH: there is no other process.
    let _ = kill(EVERYONE, Signal::SIGKILL);
}
