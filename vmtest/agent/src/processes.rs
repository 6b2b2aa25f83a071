//! The processes of a job: all in the guest except PID 1, because the guest runs one job at a time.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

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
/// How long that may take: what is read here waits for locks that a stuck program may hold.
const DESCRIPTION: Duration = Duration::from_secs(1);
/// `PF_KTHREAD` of include/linux/sched.h, in the flags that `/proc/.../stat` shows.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A line for each thread of the job: its number and name, its state, the function of the kernel that it
/// sleeps in, and its system call with its arguments, all as proc(5) has them.
pub(crate) fn threads() -> Vec<String> {
    let (tell, told) = mpsc::channel();
    // It is not waited for: it may be stuck with the program.
    thread::spawn(move || {
        let processes = numbered(Path::new("/proc")).into_iter();
        let threads = processes.flat_map(|process| numbered(&process.join("task")));
        for line in threads.filter_map(|dir| line_of(&dir)) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + DESCRIPTION;
    let mut lines = Vec::new();
    loop {
        match told.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(_) if lines.len() == DESCRIBED => lines.push("and more".to_owned()),
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Disconnected) => return lines,
            Err(RecvTimeoutError::Timeout) => {
                lines.push("and what could not be read in time".to_owned())
            }
        }
        if lines.len() > DESCRIBED || Instant::now() >= end {
            return lines;
        }
    }
}

/// The entries of a directory that are numbers.
fn numbered(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_number = |path: &PathBuf| {
        let name = path.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default();
        name.first().is_some_and(u8::is_ascii_digit)
    };
    entries.filter(is_number).collect()
}

/// None of a thread that is gone, the kernel's own, or of PID 1.
fn line_of(dir: &Path) -> Option<String> {
    let read = |file| {
        let bytes = fs::read(dir.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    let stat = read("stat");
    // A name may contain anything.
    let (id_and_name, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let flags: u64 = fields.nth(5)?.parse().ok()?;
    let is_own = id_and_name.starts_with("1 (") || flags & KERNEL_THREAD != 0;
    (!is_own).then(|| format!("{id_and_name}) {state} {} {}", read("wchan"), read("syscall")))
}

/// Kills every process except PID 1: no daemon escapes in a group or session of its own.
pub(crate) fn kill_everyone() {
    // ESRCH: there is no other process.
    let _ = kill(EVERYONE, Signal::SIGKILL);
}
