//! The processes of a job: all that there are, for the guest runs one job at a time.

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

/// What became of the children of PID 1: its own and those that it inherited.
#[derive(Debug, Default)]
pub(crate) struct Children {
    /// How the awaited child ended.
    pub(crate) ended: Option<WaitStatus>,
    /// How many others were killed.
    pub(crate) killed: u32,
    /// Nobody is left.
    pub(crate) gone: bool,
}

impl Children {
    /// Collects all that have ended by now.
    pub(crate) fn reap(&mut self, child: Pid) -> nix::Result<()> {
        self.collect(child, WaitPidFlag::empty()).map(drop)
    }

    /// The same, and says whether the awaited child has stopped itself.
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

/// Kills every process but PID 1: no daemon can hide from that in a group or session of its own.
pub(crate) fn kill_everyone() {
    // ESRCH: there is nobody.
    let _ = kill(EVERYONE, Signal::SIGKILL);
}
