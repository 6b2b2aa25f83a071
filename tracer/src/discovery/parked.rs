//! Threads that stand still while memory is searched for their traces.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use kernlab_core::discovery::TaskSubject;
use nix::unistd::{Pid, getpid, gettid};

use super::peek::Peek;

/// How long a thread may take to get ready.
const READY: Duration = Duration::from_secs(5);

/// A thread that waits until this is dropped.
pub(super) struct Parked {
    thread: Option<JoinHandle<()>>,
    stay: Option<Sender<()>>,
}

/// Starts a thread, which does something first, and gives it this name. Returns what is known of it,
/// and what `prepare` returned.
///
/// A `task_struct` also holds what its thread had in its registers when it went to sleep. So that what
/// is looked for is nowhere but in its field, no thread ever has its name, or both of its ids: we give
/// it the name, and put the ids together.
pub(super) fn park<T: Send + 'static>(
    name: &str,
    peek: &Arc<Mutex<Peek>>,
    prepare: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<(Parked, TaskSubject, T)> {
    let (stay, leave) = channel::<()>();
    let (report, reported) = channel();
    let peek = Arc::clone(peek);
    let thread = thread::spawn(move || {
        let ready = introduce(&peek).and_then(|who| Ok((who, prepare()?)));
        if report.send(ready).is_ok() {
            // Ends with an error, when the sender is dropped.
            let _ = leave.recv();
        }
    });
    let parked = Parked { thread: Some(thread), stay: Some(stay) };
    let ((thread, address), prepared) = reported
        .recv_timeout(READY)
        .with_context(|| format!("waiting for the thread {name}"))?
        .with_context(|| format!("preparing the thread {name}"))?;
    fs::write(format!("/proc/self/task/{thread}/comm"), name)
        .with_context(|| format!("naming the thread {name}"))?;
    let id = |pid: Pid| pid.as_raw().unsigned_abs();
    let task = TaskSubject { address, comm: name.to_owned(), pid: id(thread), tgid: id(getpid()) };
    Ok((parked, task, prepared))
}

/// The calling thread, and the address of its `struct task_struct`.
fn introduce(peek: &Mutex<Peek>) -> Result<(Pid, u64)> {
    let address = peek.lock().expect("no thread panics while it reads memory").current_task()?;
    Ok((gettid(), address))
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
