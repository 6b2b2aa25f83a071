//! A thread that outlives every QEMU.
//!
//! `PR_SET_PDEATHSIG` applies to the thread that forked, not to its process: a QEMU that a test's
//! thread started would be killed when that thread ends, even if its guest was moved elsewhere.

use std::{
    io,
    process::{Child, Command},
    sync::{OnceLock, mpsc},
    thread,
};

struct Request {
    command: Command,
    answer: mpsc::SyncSender<io::Result<Child>>,
}

/// Spawns the command from a thread that lives as long as this process.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    static REQUESTS: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let requests = REQUESTS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Request>();
        // If the thread can't start, the receiver is dropped, and every request fails below.
        let _ = thread::Builder::new().name("qemu-spawner".to_owned()).spawn(move || {
            for Request { mut command, answer } in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let gone = || io::Error::other("the thread that spawns QEMU could not be started");
    let (answer, spawned) = mpsc::sync_channel(1);
    requests.send(Request { command, answer }).map_err(|_| gone())?;
    spawned.recv().map_err(|_| gone())?
}
