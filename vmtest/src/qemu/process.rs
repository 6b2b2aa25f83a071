//! A QEMU process that never outlives its owner.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::{fs::FileExt, net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        memfd::{MFdFlags, memfd_create},
        prctl,
        resource::{Resource, setrlimit},
        signal::{Signal, killpg},
    },
    time::clock_getcpuclockid,
    unistd::{Pid, getppid, pipe2},
};

use super::{
    arguments::{MEMORY, MONITOR, MachineSpec, Memory, Port, TRANSFER, Wiring},
    binary::Binary,
    hardware::KernelImage,
    kernel_image::check_kernel_image,
    monitor::Monitor,
    spawner,
};

/// How much of QEMU's standard error is kept, in bytes.
const DIAGNOSTICS: u64 = 16 * 1024;
/// The largest file that QEMU may write, in bytes: its messages, and parts of its guest's memory. The
/// guest's memory itself is mapped.
const LARGEST_FILE: u64 = 64 << 20;
/// The descriptor at which QEMU inherits its end of [`Process::life`], beside those of the ports.
const LIFE: RawFd = 7;
/// The descriptor at which QEMU inherits a placeholder for the kernel.
const KERNEL: RawFd = 8;

/// QEMU could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The host is out of descriptors or memory.
    #[error("could not connect the guest's ports")]
    Connect(#[source] io::Error),
    /// The executable could not be started.
    #[error("could not execute {path}")]
    Execute {
        /// The executable.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// A running QEMU. It is killed when this is dropped, and by the kernel however this process ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its standard error, in a memory file rather than a pipe, so that nothing has to read it
    /// meanwhile.
    diagnostics: File,
    /// A pipe that is never written to. It hangs up when QEMU, which has the other end, is gone.
    life: OwnedFd,
    reproduce: String,
}

/// A process, and the host's ends of its connections.
#[derive(Debug)]
pub struct Spawned {
    /// The QEMU process.
    pub process: Process,
    /// The output of the guest's console.
    pub console: UnixStream,
    /// The connection to the guest's agent.
    pub protocol: UnixStream,
    /// The connection to QEMU's monitor.
    pub monitor: Monitor,
}

impl Process {
    /// Starts QEMU for a machine.
    pub fn spawn(
        binary: &Binary,
        spec: &MachineSpec,
        memory: Memory<'_>,
    ) -> Result<Spawned, SpawnError> {
        let (console, console_theirs) = UnixStream::pair().map_err(SpawnError::Connect)?;
        let (protocol, protocol_theirs) = UnixStream::pair().map_err(SpawnError::Connect)?;
        let (monitor, monitor_theirs) = UnixStream::pair().map_err(SpawnError::Connect)?;
        let diagnostics = memfd_create(c"qemu-stderr", MFdFlags::MFD_CLOEXEC)
            .map(File::from)
            .map_err(|error| SpawnError::Connect(error.into()))?;
        let transfer = memfd_create(c"qemu-transfer", MFdFlags::MFD_CLOEXEC)
            .map(File::from)
            .map_err(|error| SpawnError::Connect(error.into()))?;
        let transfer_theirs = transfer.try_clone().map_err(SpawnError::Connect)?;
        let monitor = Monitor::new(monitor, transfer);
        let (life, life_theirs) =
            pipe2(OFlag::O_CLOEXEC).map_err(|error| SpawnError::Connect(error.into()))?;
        let stderr = diagnostics.try_clone().map_err(SpawnError::Connect)?;

        let placeholder = placeholder(spec, memory).map_err(SpawnError::Connect)?;
        let arguments = match placeholder {
            Some(_) => {
                let kernel = format!("/proc/self/fd/{KERNEL}").into();
                let spec = MachineSpec { kernel, ..spec.clone() };
                spec.arguments(Wiring::Inherited, memory)
            }
            None => spec.arguments(Wiring::Inherited, memory),
        };
        let mut command = Command::new(binary.path());
        command
            .args(arguments)
            .args(binary.confinement())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            // Otherwise the C library grows the translator thread's heap page by page: hundreds of
            // system calls in a guest of a few hundred milliseconds.
            .env("MALLOC_ARENA_MAX", "1")
            // Ctrl-C on the terminal is for this process, which ends its guests.
            .process_group(0);
        let mut inherited = vec![
            FdMapping { parent_fd: console_theirs.into(), child_fd: Port::Console.inherited() },
            FdMapping { parent_fd: protocol_theirs.into(), child_fd: Port::Protocol.inherited() },
            FdMapping { parent_fd: monitor_theirs.into(), child_fd: MONITOR },
            FdMapping { parent_fd: life_theirs, child_fd: LIFE },
            FdMapping { parent_fd: transfer_theirs.into(), child_fd: TRANSFER },
        ];
        if let Some((file, _)) = memory.file() {
            let file = file.try_clone().map_err(SpawnError::Connect)?;
            inherited.push(FdMapping { parent_fd: file.into(), child_fd: MEMORY });
        }
        if let Some(file) = placeholder {
            inherited.push(FdMapping { parent_fd: file.into(), child_fd: KERNEL });
        }
        let execute = |source| SpawnError::Execute { path: binary.path().to_owned(), source };
        command.fd_mappings(inherited).map_err(|error| execute(io::Error::other(error)))?;
        let us = Pid::this();
        // SAFETY: prctl, setrlimit, getppid and _exit are async-signal-safe, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                // Nothing that it executes gains rights, as a set-user-ID program would.
                prctl::set_no_new_privs()?;
                // The memory of a guest is no core file.
                setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
                setrlimit(Resource::RLIMIT_FSIZE, LARGEST_FILE, LARGEST_FILE)?;
                // This process may have died before the signal was set up.
                if getppid() == us { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let child = spawner::spawn(command).map_err(execute)?;
        let reproduce = reproduce(binary, spec);
        let process = Process { child, diagnostics, life, reproduce };
        Ok(Spawned { process, console, protocol, monitor })
    }

    /// The command that boots the same machine in a terminal.
    pub fn reproduce(&self) -> &str {
        &self.reproduce
    }

    /// Waits until QEMU has ended by itself; `None` at the deadline.
    pub fn wait(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, because poll(2) counts whole milliseconds.
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            // No events are requested: poll(2) always reports a hang-up.
            match poll(&mut [PollFd::new(self.life.as_fd(), PollFlags::empty())], timeout) {
                // Its descriptors are closed, so nothing can delay its end.
                Ok(1..) => return self.child.wait().ok(),
                Ok(_) if left.is_zero() => return None,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Kills QEMU and its children: a user's QEMU may be a script that starts another.
    pub fn kill(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // It leads its own process group, which exists until it has been waited for.
        let group = Pid::from_raw(self.child.id().cast_signed());
        if killpg(group, Signal::SIGKILL).is_ok() {
            // An error would mean that it was already waited for.
            let _ = self.child.wait();
        }
    }

    /// The CPU time of QEMU and its children; zero after QEMU has ended.
    pub fn processor_time(&self) -> Duration {
        let clock = clock_getcpuclockid(Pid::from_raw(self.child.id().cast_signed()));
        clock.and_then(|clock| clock.now()).map_or(Duration::ZERO, Duration::from)
    }

    /// QEMU's standard error.
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

/// The placeholder for the kernel of a machine that is restored, if there is one for its kind of image.
fn placeholder(spec: &MachineSpec, memory: Memory<'_>) -> io::Result<Option<File>> {
    if !memory.waits() {
        return Ok(None);
    }
    let image = check_kernel_image(spec.arch, &spec.kernel).ok();
    let Some(content) = image.and_then(KernelImage::placeholder) else { return Ok(None) };
    let mut file = File::from(memfd_create(c"placeholder-kernel", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&content)?;
    Ok(Some(file))
}

fn reproduce(binary: &Binary, spec: &MachineSpec) -> String {
    let mut words = vec![binary.path().to_owned().into_os_string()];
    words.extend(spec.arguments(Wiring::Terminal, Memory::Fresh));
    let quoted = words.iter().map(|word| {
        let word = word.to_string_lossy();
        shlex::try_quote(&word).map_or_else(|_| format!("{word:?}"), |quoted| quoted.into_owned())
    });
    quoted.collect::<Vec<_>>().join(" ")
}
