//! The traced process, from its first stop to its account.

use std::{
    io::{Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, bail};
use kernlab_core::{account::Account, scenario::Scenario};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// A workload that waits to be told its scenario. When this is dropped, it ends without any deed.
pub(crate) struct Idle(Option<Child>);

/// A workload that stands before its first deed.
pub(crate) struct Prepared(Child);

/// A workload that is at work.
pub(crate) struct Working {
    child: Child,
    /// Ends when the workload stops or dies, and hangs up its end of the pipe.
    watcher: JoinHandle<Result<()>>,
    hangup: std::io::PipeReader,
}

impl Idle {
    /// Starts the program.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Idle(Some(child)))
    }

    /// Tells it what to do, and waits until it stops itself.
    pub(crate) fn prepare(mut self, scenario: &Scenario) -> Result<Prepared> {
        let mut child = self.0.take().context("an idle workload has a process")?;
        let mut told = child.stdin.take().context("the workload's input is piped")?;
        // One that has ended already will be met below.
        let _ = told.write_all(scenario.to_string().as_bytes());
        drop(told);
        await_stop(pid(&child)).context("preparing the workload")?;
        Ok(Prepared(child))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Its input ends, so it does. Nobody asks how.
            let _ = child.wait();
        }
    }
}

impl Prepared {
    pub(crate) fn tgid(&self) -> u32 {
        self.0.id()
    }

    /// Lets it do its deeds.
    pub(crate) fn release(self) -> Result<Working> {
        let pid = pid(&self.0);
        let (hangup, held_open) = std::io::pipe().context("creating a pipe")?;
        kill(pid, Signal::SIGCONT).context("releasing the workload")?;
        let watcher = thread::spawn(move || {
            let stopped = await_stop(pid);
            drop(held_open);
            stopped
        });
        Ok(Working { child: self.0, watcher, hangup })
    }
}

impl Working {
    /// Becomes readable when the deeds are done.
    pub(crate) fn done(&self) -> BorrowedFd<'_> {
        self.hangup.as_fd()
    }

    /// Waits until it stops itself between its deeds.
    pub(crate) fn paused(self) -> Result<Prepared> {
        join(self.watcher)?;
        Ok(Prepared(self.child))
    }

    /// Waits for the end of the deeds, and takes the account.
    pub(crate) fn account(self) -> Result<Account> {
        let Working { mut child, watcher, hangup: _ } = self;
        join(watcher)?;
        kill(pid(&child), Signal::SIGCONT).context("releasing the workload")?;
        let mut text = String::new();
        child
            .stdout
            .take()
            .context("the workload's output is piped")?
            .read_to_string(&mut text)
            .context("reading the account")?;
        let status = child.wait().context("waiting for the workload")?;
        if !status.success() {
            bail!("the workload failed: {status}");
        }
        serde_json::from_str(&text).context("reading the account")
    }
}

fn join(watcher: JoinHandle<Result<()>>) -> Result<()> {
    match watcher.join() {
        Ok(stopped) => stopped,
        Err(_) => bail!("the thread that watches the workload panicked"),
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn await_stop(pid: Pid) -> Result<()> {
    match waitpid(pid, Some(WaitPidFlag::WUNTRACED)).context("waiting for the workload")? {
        WaitStatus::Stopped(_, Signal::SIGSTOP) => Ok(()),
        other => bail!("the workload did not stop itself, but: {other:?}"),
    }
}
