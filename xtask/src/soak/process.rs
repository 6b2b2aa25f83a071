//! The processes that a run started, found by a mark in their environment, whatever became of their
//! parents.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The variable with the mark of a run.
pub(super) const MARK: &str = "KERNLAB_SOAK_RUN";

/// How often processes are looked for.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What a process is to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The host tool.
    Runner,
    /// What starts the cells of the matrix.
    Nextest,
    /// A test process that runs one cell of the matrix.
    Cell,
    /// A guest.
    Qemu,
    /// A shell, a compiler.
    Other,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Runner => "runner",
            Role::Nextest => "nextest",
            Role::Cell => "cell",
            Role::Qemu => "QEMU",
            Role::Other => "other",
        }
    }

    /// What a process starts is a copy of it, until it executes another program.
    fn of(executable: &str, parent: Option<&str>) -> Self {
        match executable {
            copy if parent == Some(copy) => Role::Other,
            "kernlab" => Role::Runner,
            "cargo-nextest" => Role::Nextest,
            name if name.starts_with("cells-") => Role::Cell,
            name if name.starts_with("qemu-system-") => Role::Qemu,
            _ => Role::Other,
        }
    }
}

/// A living process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) role: Role,
    /// The name of its executable.
    pub(super) name: String,
}

impl Process {
    /// Sends a signal. False if the process is gone.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// The memory in use, in bytes, and the number of open descriptors.
    pub(super) fn resources(&self) -> Option<Resources> {
        let dir = PathBuf::from(format!("/proc/{}", self.pid));
        let status = fs::read_to_string(dir.join("status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().ok()?;
        let descriptors = fs::read_dir(dir.join("fd")).ok()?.count() as u64;
        Some(Resources { resident: kibibytes << 10, descriptors })
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resources {
    /// Memory in use, in bytes.
    pub(super) resident: u64,
    /// Open descriptors.
    pub(super) descriptors: u64,
}

/// The living processes with this mark. A zombie has no environment, and so is none.
pub(super) fn marked(mark: &str) -> Vec<Process> {
    let entry = format!("{MARK}={mark}");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(process.path().join("environ")).ok()?;
        let is_marked = environment.split(|&byte| byte == 0).any(|it| it == entry.as_bytes());
        let name = is_marked.then(|| executable(&process.path())).flatten()?;
        let parent = parent(&process.path()).and_then(|it| executable(&it));
        Some(Process { pid, role: Role::of(&name, parent.as_deref()), name })
    });
    found.collect()
}

/// The directory of a process's parent: `ppid` in proc_pid_stat(5).
fn parent(process: &Path) -> Option<PathBuf> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    Some(Path::new("/proc").join(after_name.split(' ').nth(1)?))
}

/// The name of a process's executable, whose file may have been replaced.
fn executable(process: &Path) -> Option<String> {
    let path = fs::read_link(process.join("exe")).ok()?;
    let name = String::from_utf8_lossy(path.file_name()?.as_bytes()).into_owned();
    Some(name.trim_end_matches(" (deleted)").to_owned())
}

/// The processes with this mark that are still there after the timeout.
pub(super) fn remaining(mark: &str, timeout: Duration) -> Vec<Process> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = marked(mark);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(TICK);
    }
}

/// Ends all processes with this mark.
pub(super) fn end_all(mark: &str) {
    for process in marked(mark) {
        process.signal(Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("kernlab", "xtask", Role::Runner)]
    #[case("cargo-nextest", "kernlab", Role::Nextest)]
    #[case("cells-0123456789abcdef", "cargo-nextest", Role::Cell)]
    #[case("cells-0123456789abcdef", "cells-0123456789abcdef", Role::Other)]
    #[case("qemu-system-x86_64", "cells-0123456789abcdef", Role::Qemu)]
    #[case("sh", "xtask", Role::Other)]
    fn roles(#[case] executable: &str, #[case] parent: &str, #[case] role: Role) {
        assert_eq!(Role::of(executable, Some(parent)), role);
    }

    #[test]
    fn a_process_has_a_parent() {
        let us = format!("/proc/{}", std::process::id());
        let expected = format!("/proc/{}", std::os::unix::process::parent_id());
        assert_eq!(parent(Path::new(&us)).unwrap(), Path::new(&expected));
    }

    #[test]
    fn a_process_is_found_by_its_mark_until_it_is_gone() {
        let mark = format!("test-{}", std::process::id());
        // The shell ends at once: its child has no parent that anybody knows.
        let orphan = Command::new("sh").args(["-c", "sleep 60 &"]).env(MARK, &mark).status();
        assert!(orphan.unwrap().success());
        // The child is a copy of the shell until it executes its program, and has no environment for a moment
        // then.
        let until = Instant::now() + Duration::from_secs(20);
        let process = loop {
            match <[_; 1]>::try_from(marked(&mark)) {
                Ok([process]) if process.name == "sleep" => break process,
                found if Instant::now() >= until => panic!("{found:?}"),
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!(process.role, Role::Other);
        assert!(process.resources().unwrap().descriptors > 2);
        assert_eq!(remaining(&mark, Duration::ZERO).len(), 1);
        end_all(&mark);
        assert!(remaining(&mark, Duration::from_secs(20)).is_empty());
    }
}
