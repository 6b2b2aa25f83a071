//! Threads that stand still while memory is searched for their traces.

use std::{
    ffi::CString,
    sync::{
        Arc, Mutex,
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use kernlab_core::discovery::TaskSubject;
use nix::unistd::{getpid, gettid};

use super::peek::Peek;

/// How long a thread may take to get ready.
const READY: Duration = Duration::from_secs(5);

/// A thread that waits until this is dropped.
pub(super) struct Parked {
    thread: Option<JoinHandle<()>>,
    stay: Option<Sender<()>>,
}

/// Starts a thread of this name, which does something first. Returns what is known of it, and what
/// `prepare` returned.
pub(super) fn park<T: Send + 'static>(
    name: &str,
    peek: &Arc<Mutex<Peek>>,
    prepare: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<(Parked, TaskSubject, T)> {
    let (stay, leave) = channel::<()>();
    let (report, reported) = channel();
    let (comm, peek) = (name.to_owned(), Arc::clone(peek));
    let thread = thread::spawn(move || {
        let ready = introduce(comm, &peek).and_then(|task| Ok((task, prepare()?)));
        if report.send(ready).is_ok() {
            // Ends with an error, when the sender is dropped.
            let _ = leave.recv();
        }
    });
    let parked = Parked { thread: Some(thread), stay: Some(stay) };
    let (task, prepared) = reported
        .recv_timeout(READY)
        .with_context(|| format!("waiting for the thread {name}"))?
        .with_context(|| format!("preparing the thread {name}"))?;
    Ok((parked, task, prepared))
}

/// Names the calling thread, and says who it is.
fn introduce(comm: String, peek: &Mutex<Peek>) -> Result<TaskSubject> {
    let name = CString::new(comm.as_str()).context("a name has no zeros")?;
    nix::sys::prctl::set_name(&name).context("setting the name")?;
    let id = |pid: nix::unistd::Pid| pid.as_raw().unsigned_abs();
    let mut peek = peek.lock().expect("no thread panics while it reads memory");
    let address = peek.current_task()?;
    Ok(TaskSubject { address, comm, pid: id(gettid()), tgid: id(getpid()) })
}

impl Drop for Parked {
    fn drop(&mut self) {
        drop(self.stay.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and a panic was printed.
            let _ = thread.join();
        }
    }
}
