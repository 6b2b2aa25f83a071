//! A QEMU process that can't be left behind.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Instant,
};

use command_fds::{CommandFdExt, FdMapping};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        memfd::{MFdFlags, memfd_create},
        prctl,
        signal::Signal,
    },
    unistd::{Pid, getppid},
};

use super::{
    arguments::{MachineSpec, Port, Wiring},
    binary::Binary,
    spawner,
};

/// How much of what QEMU says about itself is kept, in bytes.
const DIAGNOSTICS: u64 = 16 * 1024;

/// QEMU could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The host is out of descriptors or memory.
    #[error("could not connect the guest's serial ports")]
    Connect(#[source] io::Error),
    /// It could not be executed.
    #[error("could not execute {path}")]
    Execute {
        /// The executable.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A running QEMU. It is killed when this is dropped, and by the kernel when our process ends in
/// whatever way.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its standard error. A file in memory rather than a pipe: nobody has to read it meanwhile.
    diagnostics: File,
    reproduce: String,
}

impl Process {
    /// Starts a machine. Returns our ends of its console and of its protocol port.
    pub fn spawn(
        binary: &Binary,
        spec: &MachineSpec,
    ) -> Result<(Self, UnixStream, UnixStream), SpawnError> {
        let (console, console_theirs) = UnixStream::pair().map_err(SpawnError::Connect)?;
        let (protocol, protocol_theirs) = UnixStream::pair().map_err(SpawnError::Connect)?;
        let diagnostics = memfd_create(c"qemu-stderr", MFdFlags::MFD_CLOEXEC)
            .map(File::from)
            .map_err(|error| SpawnError::Connect(error.into()))?;
        let stderr = diagnostics.try_clone().map_err(SpawnError::Connect)?;

        let mut command = Command::new(binary.path());
        command
            .args(spec.arguments(Wiring::Inherited))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            // Ctrl-C on the terminal is for us; we end our guests.
            .process_group(0);
        let inherit = |end: UnixStream, port: Port| FdMapping {
            parent_fd: end.into(),
            child_fd: port.inherited(),
        };
        let inherited =
            vec![inherit(console_theirs, Port::Console), inherit(protocol_theirs, Port::Protocol)];
        let execute = |source| SpawnError::Execute { path: binary.path().to_owned(), source };
        command.fd_mappings(inherited).map_err(|error| execute(io::Error::other(error)))?;
        let us = Pid::this();
        // SAFETY: prctl, getppid and _exit are async-signal-safe, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                // We may have died before the kernel knew that it should tell.
                if getppid() == us { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let child = spawner::spawn(command).map_err(execute)?;
        let reproduce = reproduce(binary, spec);
        Ok((Process { child, diagnostics, reproduce }, console, protocol))
    }

    /// The command that boots the same machine in a terminal.
    pub fn reproduce(&self) -> &str {
        &self.reproduce
    }

    /// Waits until it has ended by itself; `None` at the deadline.
    pub fn wait(&mut self, deadline: Instant) -> Option<ExitStatus> {
        // Without process descriptors (Linux before 5.3) we can only look, not wait.
        if let Some(process) = open_process(self.child.id()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            // Whatever it says, the next line knows.
            let _ = poll(&mut fds, timeout);
        }
        self.child.try_wait().ok().flatten()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // Both fail only for a child that was waited for before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it said about itself.
    pub fn diagnostics(&self) -> String {
        let length = self.diagnostics.metadata().map_or(0, |file| file.len());
        let start = length.saturating_sub(DIAGNOSTICS);
        let mut text = vec![0; usize::try_from(length - start).unwrap_or(0)];
        match self.diagnostics.read_exact_at(&mut text, start) {
            Ok(()) => String::from_utf8_lossy(&text).trim().to_owned(),
            Err(_) => String::new(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn open_process(pid: u32) -> Option<OwnedFd> {
    // SAFETY: the call takes two integers and gives a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn reproduce(binary: &Binary, spec: &MachineSpec) -> String {
    let mut words = vec![binary.path().to_owned().into_os_string()];
    words.extend(spec.arguments(Wiring::Terminal));
    let quoted = words.iter().map(|word| {
        let word = word.to_string_lossy();
        shlex::try_quote(&word).map_or_else(|_| format!("{word:?}"), |quoted| quoted.into_owned())
    });
    quoted.collect::<Vec<_>>().join(" ")
}
