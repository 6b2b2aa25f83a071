//! The processes of a job: all in the guest except PID 1, because the guest runs one job at a time.

use std::{fs, path::Path};

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

/// How many threads are described: those of a hostile program have no end.
const DESCRIBED: usize = 100;

/// A line for each thread of the job: its number and name, its state, the function of the kernel that it
/// sleeps in, and its system call with its arguments, all as proc(5) has them.
pub(crate) fn threads() -> Vec<String> {
    let is_of_job = |dir: &Path| {
        // The kernel's own have no command line.
        let command = fs::read(dir.join("cmdline")).unwrap_or_default();
        !command.is_empty() && !dir.ends_with("1")
    };
    let numbered = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_number = |path: &Path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
        };
        entries.filter(move |path| is_number(path)).collect::<Vec<_>>()
    };
    let processes = numbered(Path::new("/proc")).into_iter().filter(|dir| is_of_job(dir));
    let threads = processes.flat_map(|process| numbered(&process.join("task")));
    let line = |dir: &Path| {
        let read = |file| fs::read_to_string(dir.join(file)).unwrap_or_default();
        let stat = read("stat");
        let (id_and_name, rest) = stat.rsplit_once(')')?;
        let state = rest.split_ascii_whitespace().next()?;
        let (wchan, call) = (read("wchan"), read("syscall"));
        Some(format!("{id_and_name}) {state} {wchan} {}", call.trim()))
    };
    threads.take(DESCRIBED).filter_map(|dir| line(&dir)).collect()
}

/// Kills every process except PID 1: no daemon escapes in a group or session of its own.
pub(crate) fn kill_everyone() {
    // ESRCH: there is no other process.
    let _ = kill(EVERYONE, Signal::SIGKILL);
}
