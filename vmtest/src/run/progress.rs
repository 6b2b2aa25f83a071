//! Progress messages from cells to the run that displays them.
//!
//! Cells are separate processes, started by nextest, so they send datagrams to a socket. They never
//! wait for the listener: a message that can't be sent at once is dropped.

use std::{env, io, net::Shutdown, os::unix::net::UnixDatagram, path::PathBuf};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::{Event, Observer};
use serde::{Deserialize, Serialize};

/// The environment variable that tells cells the path of the socket.
pub const SOCKET_VARIABLE: &str = "KERNLAB_PROGRESS";

/// The longest message in bytes: a cell's name and some words.
const MAX_MESSAGE: usize = 4096;

/// Something happened to a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// `kernel/btf/backend/tracer/scenario`.
    pub cell: String,
    /// What happened.
    pub event: ProgressEvent,
}

/// What happened to a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressEvent {
    /// The cell waits for its kernel.
    Waiting,
    /// The cell's guest is being started.
    Booting,
    /// The guest is ready and the tracer runs.
    Tracing,
    /// The cell has its verdict.
    Finished {
        /// The outcome.
        outcome: Outcome,
        /// The reason of the outcome.
        reason: Option<Reason>,
    },
    /// A fact for the user, such as which accelerator the guests use.
    Notice(String),
}

/// The sending end, in a cell.
#[derive(Debug)]
pub struct Reporter {
    socket: Option<UnixDatagram>,
    cell: String,
}

impl Reporter {
    /// Reports for `cell` to the socket that the environment names, if it names one.
    pub fn from_environment(cell: &str) -> Self {
        let connect = |path: PathBuf| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(path)?;
            io::Result::Ok(socket)
        };
        let socket = env::var_os(SOCKET_VARIABLE).and_then(|path| connect(path.into()).ok());
        Reporter { socket, cell: cell.to_owned() }
    }

    /// Reports an event of the cell.
    pub fn report(&self, event: ProgressEvent) {
        let Some(socket) = &self.socket else { return };
        let progress = Progress { cell: self.cell.clone(), event };
        if let Ok(message) = serde_json::to_vec(&progress) {
            // Progress is only displayed: verdicts do not depend on it.
            let _ = socket.send(&message);
        }
    }
}

/// The receiving end, in the run.
#[derive(Debug)]
pub struct Listener {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Listener {
    /// Makes a socket, in its own directory, because a socket's path must be short.
    pub fn bind() -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kernlab-").tempdir()?;
        let socket = UnixDatagram::bind(dir.path().join("progress"))?;
        Ok(Listener { socket, dir })
    }

    /// The path of the socket.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("progress")
    }

    /// Waits for the next message; none after [`Listener::hang_up`].
    pub fn next(&self) -> Option<Progress> {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            if length == 0 {
                return None;
            }
            if let Ok(progress) = serde_json::from_slice(&buffer[..length]) {
                return Some(progress);
            }
        }
    }

    /// Ends the wait, once all messages that were sent before have been received.
    ///
    /// This does not depend on the socket's path: the directory for temporary files may have been
    /// cleaned up meanwhile.
    pub fn hang_up(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Read)
    }
}

/// Only for notices: the run that prepares a kernel reports its preparation.
impl Observer for Reporter {
    fn observe(&self, _kernel: &str, _event: Event<'_>) {}

    fn notice(&self, line: &str) {
        self.report(ProgressEvent::Notice(line.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_until_the_end() {
        let listener = Listener::bind().unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(listener.path()).unwrap();
        let reporter = Reporter { socket: Some(socket), cell: "k/embedded/aya/t/s".into() };
        reporter.report(ProgressEvent::Booting);
        listener.hang_up().unwrap();
        assert_eq!(
            listener.next(),
            Some(Progress { cell: "k/embedded/aya/t/s".into(), event: ProgressEvent::Booting })
        );
        assert_eq!(listener.next(), None);
    }

    #[test]
    fn a_wait_ends_without_the_sockets_path() {
        let listener = Listener::bind().unwrap();
        std::fs::remove_dir_all(listener.dir.path()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| listener.next());
            listener.hang_up().unwrap();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }

    #[test]
    fn nobody_needs_to_listen() {
        Reporter { socket: None, cell: String::new() }.report(ProgressEvent::Tracing);
    }
}
