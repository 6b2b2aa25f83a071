//! Runs one program under supervision.

use std::{
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};
use kernlab_proto::{Exit, GuestMessage, Run, RunReport};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::WaitStatus,
    },
    unistd::Pid,
};

use crate::{
    AgentError,
    job_pipes::{Pipes, ProgramEnds},
    mounts::Hidden,
    port::Port,
    processes::{Children, kill_everyone},
};

/// The descriptor on which a program writes its result.
const RESULT_FD: i32 = 3;
/// How long processes may take to die of SIGKILL. Those that take longer are stuck in the kernel.
const DEATH: Duration = Duration::from_secs(2);

/// Runs the program and sends its output and its end.
pub(crate) fn run(run: &Run, port: &mut Port) -> Result<(), AgentError> {
    let refuse = |what: String| GuestMessage::Refused { what };
    let hidden = match Hidden::cover(&run.hide) {
        Ok(hidden) => hidden,
        Err((path, error)) => return Ok(port.send(&refuse(format!("hide {path}: {error}")))?),
    };
    let (pipes, ends) = Pipes::new(run.limits).map_err(AgentError::Supervision)?;
    let answer = match spawn(run, ends) {
        Ok(child) => {
            let deadline = Instant::now() + Duration::from_millis(run.deadline_ms);
            GuestMessage::Exited(supervise(&child, pipes, deadline, port)?)
        }
        Err(error) => {
            let program = run.argv.first().map_or("nothing", String::as_str);
            refuse(format!("execute {program}: {error}"))
        }
    };
    drop(hidden);
    Ok(port.send(&answer)?)
}

fn spawn(run: &Run, ends: ProgramEnds) -> std::io::Result<Child> {
    let (program, arguments) = run
        .argv
        .split_first()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "no program given"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(run.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/tmp")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(ends.stdout)
        .stderr(ends.stderr);
    let result = FdMapping { parent_fd: ends.result, child_fd: RESULT_FD };
    command.fd_mappings(vec![result]).map_err(std::io::Error::other)?;
    command.spawn()
}

/// Forwards output until the program has ended and nobody can write any more.
fn supervise(
    child: &Child,
    mut pipes: Pipes,
    deadline: Instant,
    port: &mut Port,
) -> Result<RunReport, AgentError> {
    let started = Instant::now();
    let child = Pid::from_raw(child.id().cast_signed());
    let deaths = watch_deaths().map_err(AgentError::Supervision)?;
    let mut children = Children::default();

    // Phase one: the program runs.
    let mut overdue = false;
    while children.ended.is_none() && !overdue {
        wait(&deaths, &pipes, deadline).map_err(AgentError::Supervision)?;
        pipes.forward(port)?;
        children.reap(child).map_err(AgentError::Supervision)?;
        overdue = Instant::now() >= deadline;
    }
    let duration = started.elapsed();

    // Phase two: it has ended, or must; so must all that it started.
    let last_moment = Instant::now() + DEATH;
    kill_everyone();
    while !children.gone && Instant::now() < last_moment {
        children.reap(child).map_err(AgentError::Supervision)?;
        if !children.gone {
            wait(&deaths, &pipes, last_moment).map_err(AgentError::Supervision)?;
            pipes.forward(port)?;
        }
    }
    while pipes.forward(port)? {}

    Ok(RunReport {
        exit: match children.ended {
            Some(status) if !overdue => exit_of(status),
            _ => Exit::Deadline,
        },
        duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        dropped: pipes.dropped,
        killed: children.killed,
        stuck: !children.gone,
    })
}

fn exit_of(status: WaitStatus) -> Exit {
    match status {
        WaitStatus::Exited(_, code) => Exit::Code(code),
        WaitStatus::Signaled(_, signal, _) => Exit::Signal(signal as i32),
        other => unreachable!("waitpid without flags reports ends only, not {other:?}"),
    }
}

/// A descriptor that becomes readable when a child ends.
fn watch_deaths() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    // Programs start with an empty mask: the standard library resets it when it executes them.
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Waits for output, a death or the deadline.
fn wait(deaths: &SignalFd, pipes: &Pipes, deadline: Instant) -> nix::Result<()> {
    let mut fds: Vec<_> = std::iter::once(deaths.as_fd())
        .chain(pipes.open())
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    // Rounded up, or the last millisecond would be spent spinning.
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error),
    }
    while deaths.read_signal()?.is_some() {}
    Ok(())
}
