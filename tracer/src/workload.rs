//! The traced process, from its first stop to its ground truth.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use kernlab_core::{ground_truth::GroundTruth, scenario::Scenario};
use nix::{
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// A workload that waits to be told its scenario. When this is dropped, it ends without any action.
pub(crate) struct IdleWorkload(Option<Traced>);

/// A workload that stands before its first action.
pub(crate) struct StoppedWorkload(Traced);

/// A workload that is at work.
pub(crate) struct RunningWorkload(Traced);

/// The process, and what tells that it has stopped, or ended. When this is dropped, it is killed: what stays
/// would be a process that the tracer left behind.
struct Traced {
    child: Child,
    changes: SignalFd,
}

impl IdleWorkload {
    /// Starts the program.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let changes = watch_children().context("watching the workload")?;
        use_high_process_ids().context("choosing the ids of processes")?;
        let child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(IdleWorkload(Some(Traced { child, changes })))
    }

    /// Waits until the workload has started, which it signals with an empty line.
    pub(crate) fn await_readiness(&mut self) -> Result<()> {
        let traced = self.0.as_mut().context("an idle workload has a process")?;
        let mut line = [0];
        let output = traced.child.stdout.as_mut().context("the workload's output is piped")?;
        output.read_exact(&mut line).context("waiting for the workload to start")
    }

    /// Tells it what to do, and waits until it stops itself.
    pub(crate) fn prepare(mut self, scenario: &Scenario) -> Result<StoppedWorkload> {
        let mut traced = self.0.take().context("an idle workload has a process")?;
        let mut stdin = traced.child.stdin.take().context("the workload's input is piped")?;
        // One that has ended already will be met below.
        let _ = stdin.write_all(scenario.to_string().as_bytes());
        drop(stdin);
        let stopped = traced.has_stopped(WaitPidFlag::empty()).context("preparing the workload")?;
        ensure!(stopped, "the workload ended before it was ready");
        Ok(StoppedWorkload(traced))
    }
}

impl Drop for IdleWorkload {
    fn drop(&mut self) {
        if let Some(traced) = &mut self.0 {
            // Its input ends, so it does; how doesn't matter.
            let _ = traced.child.wait();
        }
    }
}

impl StoppedWorkload {
    pub(crate) fn tgid(&self) -> u32 {
        self.0.child.id()
    }

    /// Lets it do its actions.
    pub(crate) fn release(self) -> Result<RunningWorkload> {
        kill(self.0.pid(), Signal::SIGCONT).context("releasing the workload")?;
        Ok(RunningWorkload(self.0))
    }
}

impl RunningWorkload {
    /// Becomes readable when the actions may be done.
    pub(crate) fn changes(&self) -> BorrowedFd<'_> {
        self.0.changes.as_fd()
    }

    /// Are the actions done, all of them or those of a round? Then the workload has stopped itself.
    pub(crate) fn is_done(&mut self) -> Result<bool> {
        // The kernel also tells that a stopped process goes on.
        while self.0.changes.read_signal().context("watching the workload")?.is_some() {}
        self.0.has_stopped(WaitPidFlag::WNOHANG)
    }

    /// Lets it make its next call: the event of the last one has arrived.
    pub(crate) fn go_on(&self) -> Result<()> {
        kill(self.0.pid(), Signal::SIGUSR1).context("telling the workload to go on")
    }

    /// Ends it in the middle of its actions.
    pub(crate) fn end(self) -> Result<()> {
        let mut traced = self.0;
        traced.child.kill().context("ending the workload")?;
        traced.child.wait().context("waiting for the workload")?;
        Ok(())
    }

    /// It stands still between its actions.
    pub(crate) fn paused(self) -> StoppedWorkload {
        StoppedWorkload(self.0)
    }

    /// Lets a workload end whose actions are done, and takes its ground truth.
    pub(crate) fn ground_truth(self) -> Result<GroundTruth> {
        let mut traced = self.0;
        let child = &mut traced.child;
        kill(pid(child), Signal::SIGCONT).context("releasing the workload")?;
        let mut text = String::new();
        child
            .stdout
            .take()
            .context("the workload's output is piped")?
            .read_to_string(&mut text)
            .context("reading the ground truth")?;
        let status = child.wait().context("waiting for the workload")?;
        if !status.success() {
            bail!("the workload failed: {status}");
        }
        serde_json::from_str(&text).context("reading the ground truth")
    }
}

impl Traced {
    fn pid(&self) -> Pid {
        pid(&self.child)
    }

    fn has_stopped(&mut self, flags: WaitPidFlag) -> Result<bool> {
        let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED | flags));
        match status.context("waiting for the workload")? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Ok(true),
            WaitStatus::StillAlive => Ok(false),
            other => bail!("the workload did not stop itself, but: {other:?}"),
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Process ids that 16 bits don't hold, from now on. A kernel without CONFIG_BASE_FULL has too few
/// for that (`PID_MAX_LIMIT`, include/linux/threads.h), and one without CONFIG_CHECKPOINT_RESTORE can't be told
/// which to use: they go on with those that they have.
fn use_high_process_ids() -> io::Result<()> {
    /// More than 4 million is too much for the kernel.
    const HIGHEST: &str = "4194304";
    /// Counts up from here; each half of it is different, and so is each byte.
    const LAST: &str = "1193046";
    match fs::write("/proc/sys/kernel/pid_max", HIGHEST) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
        other => other?,
    }
    match fs::write("/proc/sys/kernel/ns_last_pid", LAST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// A descriptor that becomes readable when a child stops, goes on or ends. A thread that waits would do as
/// well, but starting and ending it takes as much of an emulated guest as attaching a program.
fn watch_children() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    // The workload starts with an empty mask: the standard library resets it when it executes programs.
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
