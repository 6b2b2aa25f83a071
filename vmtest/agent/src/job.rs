//! Runs one program under supervision.

use std::{
    io::{PipeWriter, Write as _, pipe},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};
use kernlab_proto::{Exit, GuestMessage, Input, Proceed, Run, RunReport};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
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
    processes::{Children, kill_everyone, threads},
    root, terminal,
};

/// The descriptor on which a program writes its result.
const RESULT_FD: i32 = 3;
/// How long processes may take to die of SIGKILL. Those that take longer are stuck in the kernel.
const DEATH: Duration = Duration::from_secs(2);

/// A running program with its resources. Its hidden paths stay hidden until this is dropped.
pub(crate) struct Job {
    child: Pid,
    pipes: Pipes,
    /// The pipe for a primed program's input.
    input: Option<PipeWriter>,
    changes: SignalFd,
    children: Children,
    _hidden: Hidden,
}

/// Runs the program, and sends its output and its end. If the program is primed, tells the host and
/// returns it instead.
pub(crate) fn run(run: &Run, port: &mut Port) -> Result<Option<Job>, AgentError> {
    let deadline = Instant::now() + Duration::from_millis(run.deadline_ms);
    let mut job = match Job::start(run)? {
        Ok(job) => job,
        Err(what) => {
            port.send(&GuestMessage::Refused { what })?;
            return Ok(None);
        }
    };
    match run.input {
        Input::None => {}
        Input::Later if job.stood_by(deadline, port)? => {
            port.send(&GuestMessage::Primed)?;
            return Ok(Some(job));
        }
        Input::Later => {}
        Input::Terminal(_) => port.send(&GuestMessage::AtTerminal)?,
    }
    job.finish(deadline, port)?;
    Ok(None)
}

/// Lets a primed program continue, and sends its output and its end.
pub(crate) fn proceed(mut job: Job, proceed: &Proceed, port: &mut Port) -> Result<(), AgentError> {
    let deadline = Instant::now() + Duration::from_millis(proceed.deadline_ms);
    let given = job.input.take().map_or(Ok(()), |mut input| input.write_all(&proceed.input));
    // If the program closed its input or has died, its exit report will show that.
    if let Err(error) = given {
        eprintln!("kernlab-agent: the program did not take its input: {error}");
    }
    // ESRCH: the program is gone.
    let _ = kill(job.child, Signal::SIGCONT);
    job.finish(deadline, port)
}

impl Job {
    /// Starts a program. The inner error is the message for the host.
    fn start(run: &Run) -> Result<Result<Self, String>, AgentError> {
        let hidden = match Hidden::cover(&run.hide) {
            Ok(hidden) => hidden,
            Err((path, error)) => return Ok(Err(format!("hide {path}: {error}"))),
        };
        let (pipes, ends) = Pipes::new(run.limits).map_err(AgentError::Supervision)?;
        let (stdin, input) = match (run.input == Input::Later).then(pipe).transpose() {
            Ok(Some((theirs, ours))) => (Stdio::from(theirs), Some(ours)),
            Ok(None) => (Stdio::null(), None),
            Err(error) => return Ok(Err(format!("make a pipe: {error}"))),
        };
        let changes = watch_children().map_err(AgentError::Supervision)?;
        let child = match spawn(run, stdin, ends) {
            Ok(child) => Pid::from_raw(child.id().cast_signed()),
            Err(error) => {
                let program = run.argv.first().map_or("nothing", String::as_str);
                return Ok(Err(format!("execute {program}: {error}")));
            }
        };
        let children = Children::default();
        Ok(Ok(Job { child, pipes, input, changes, children, _hidden: hidden }))
    }

    /// Forwards output until the program has stopped itself. `false` if it ended instead, or if the
    /// deadline passed.
    fn stood_by(&mut self, deadline: Instant, port: &mut Port) -> Result<bool, AgentError> {
        loop {
            if self.children.reap_until_stop(self.child).map_err(AgentError::Supervision)? {
                while self.pipes.forward(port)? {}
                return Ok(true);
            }
            if self.children.ended.is_some() || Instant::now() >= deadline {
                return Ok(false);
            }
            self.wait(deadline)?;
            self.pipes.forward(port)?;
        }
    }

    /// Forwards output until the program has ended and no writer is left, and sends how it ended.
    fn finish(mut self, deadline: Instant, port: &mut Port) -> Result<(), AgentError> {
        let started = Instant::now();
        // Phase one: the program runs until it ends or reaches its deadline.
        let mut overdue = false;
        while self.children.ended.is_none() && !overdue {
            self.wait(deadline)?;
            self.pipes.forward(port)?;
            self.reap()?;
            overdue = Instant::now() >= deadline;
        }
        let duration = started.elapsed();
        if overdue && self.children.ended.is_none() {
            eprintln!("kernlab-agent: the program did not end in time; its threads:");
            threads().iter().for_each(|line| eprintln!("  {line}"));
        }

        // Phase two: the program has ended or must end, and so must all its children.
        let last_moment = Instant::now() + DEATH;
        kill_everyone();
        while !self.children.gone && Instant::now() < last_moment {
            self.reap()?;
            if !self.children.gone {
                self.wait(last_moment)?;
                self.pipes.forward(port)?;
            }
        }
        while self.pipes.forward(port)? {}

        let report = RunReport {
            exit: match self.children.ended {
                Some(status) if !overdue => exit_of(status),
                _ => Exit::Deadline,
            },
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            dropped: self.pipes.dropped,
            killed: self.children.killed,
            stuck: !self.children.gone,
        };
        drop(self);
        Ok(port.send(&GuestMessage::Exited(report))?)
    }

    fn reap(&mut self) -> Result<(), AgentError> {
        self.children.reap(self.child).map_err(AgentError::Supervision)
    }

    /// Waits for output, a change of a child or the deadline.
    fn wait(&self, deadline: Instant) -> Result<(), AgentError> {
        wait(&self.changes, &self.pipes, deadline).map_err(AgentError::Supervision)
    }
}

fn spawn(run: &Run, stdin: Stdio, ends: ProgramEnds) -> std::io::Result<Child> {
    let (program, arguments) = run
        .argv
        .split_first()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "no program given"))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(run.env.iter().map(|(name, value)| (name, value)));
    root::enter(&mut command, c"/tmp");
    match run.input {
        Input::Terminal(size) => terminal::give(&mut command, size)?,
        Input::None | Input::Later => {
            command.process_group(0).stdin(stdin).stdout(ends.stdout).stderr(ends.stderr);
        }
    }
    let result = FdMapping { parent_fd: ends.result, child_fd: RESULT_FD };
    command.fd_mappings(vec![result]).map_err(std::io::Error::other)?;
    // SAFETY: the calls are async-signal-safe, and nothing is allocated.
    unsafe {
        // A program starts with an empty signal mask. This process blocks SIGCHLD.
        command
            .pre_exec(|| Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?));
    }
    command.spawn()
}

fn exit_of(status: WaitStatus) -> Exit {
    match status {
        WaitStatus::Exited(_, code) => Exit::Code(code),
        WaitStatus::Signaled(_, signal, _) => Exit::Signal(signal as i32),
        other => unreachable!("waitpid without flags reports ends only, not {other:?}"),
    }
}

/// A descriptor that becomes readable when a child ends or stops.
fn watch_children() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn wait(changes: &SignalFd, pipes: &Pipes, deadline: Instant) -> nix::Result<()> {
    let mut fds: Vec<_> = std::iter::once(changes.as_fd())
        .chain(pipes.open())
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    // Rounded up, because otherwise the last millisecond would be busy waiting.
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error),
    }
    while changes.read_signal()?.is_some() {}
    Ok(())
}
