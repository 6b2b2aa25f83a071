//! QEMU's monitor protocol, QMP, as far as saving and restoring a machine needs it:
//! docs/interop/qmp-spec.rst in QEMU's sources. Each message is one line of JSON.

use std::{
    fs::File,
    io::{self, IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::FileExt as _, net::UnixStream},
    },
    thread,
    time::{Duration, Instant},
};

use kernlab_proto::Piece;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};

use super::arguments::TRANSFER;

/// The longest accepted line, and the largest state of devices, in bytes. Some tens of kilobytes
/// are usual, because the state does not include memory.
const LIMIT: usize = 64 << 20;
/// The source or target of a state: a connection that QEMU was given.
const URI: &str = "fd:state";

/// QEMU did not execute a command.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The connection failed.
    #[error("the connection to QEMU's monitor failed")]
    Io(#[from] io::Error),
    /// QEMU sent something that is not QMP.
    #[error("QEMU sent {0:?}, which is not a QMP message")]
    Garbage(String),
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// The command.
        command: &'static str,
        /// QEMU's description of the error.
        description: String,
    },
    /// The migration did not end as expected.
    #[error("QEMU did not save the machine's devices: its migration is {0:?}")]
    NotSaved(String),
}

/// The part of a message from QEMU that matters here.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "return")]
    returned: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

/// The host's end of the connection to QEMU's monitor.
#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
    /// QEMU inherits this file, and writes parts of the guest's memory to it.
    transfer: File,
    /// Bytes that were read but not yet parsed.
    pending: Vec<u8>,
    negotiated: bool,
    /// Whether QEMU has reported that the restored machine runs.
    runs: bool,
}

impl Monitor {
    pub(super) fn new(stream: UnixStream, transfer: File) -> Self {
        Monitor { stream, transfer, pending: Vec::new(), negotiated: false, runs: false }
    }

    /// Stops the machine for good and returns the state of its devices. The state does not include
    /// the guest's memory, which must be a shared file; it does not change any more.
    pub fn save(&mut self, deadline: Instant) -> Result<Vec<u8>, MonitorError> {
        self.negotiate(deadline)?;
        let (ours, theirs) = UnixStream::pair()?;
        self.hand_over(theirs.into(), deadline)?;
        self.execute("migrate", json!({ "uri": URI }), deadline)?;
        let mut state = Vec::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            match read_until(&ours, &mut buffer, deadline)? {
                0 => break,
                length => state.extend_from_slice(&buffer[..length]),
            }
            if state.len() > LIMIT {
                return Err(MonitorError::NotSaved("endless".to_owned()));
            }
        }
        let migration = self.execute("query-migrate", json!({}), deadline)?;
        match migration["status"].as_str() {
            Some("completed") => Ok(state),
            other => Err(MonitorError::NotSaved(other.unwrap_or_default().to_owned())),
        }
    }

    /// Sends a waiting machine the state of its devices, which also makes it run.
    pub fn restore(&mut self, state: &[u8], deadline: Instant) -> Result<(), MonitorError> {
        self.negotiate(deadline)?;
        let (mut ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(left_until(deadline)?))?;
        self.hand_over(theirs.into(), deadline)?;
        thread::scope(|scope| {
            // The state exceeds the connection's buffer, and QEMU reads only after the command.
            scope.spawn(move || {
                // If QEMU doesn't read all of it, its answer says why.
                let _ = ours.write_all(state);
            });
            self.execute("migrate-incoming", json!({ "uri": URI }), deadline)?;
            // The machine ran when it was saved, so it runs again once its state is loaded. Bytes
            // sent to its ports before that are lost.
            while !self.runs {
                self.message(deadline)?;
            }
            Ok(())
        })
    }

    /// Reads parts of the running guest's memory, one after the other.
    pub fn read_memory(
        &mut self,
        pieces: &[Piece],
        deadline: Instant,
    ) -> Result<Vec<u8>, MonitorError> {
        self.negotiate(deadline)?;
        let file = format!("/proc/self/fd/{TRANSFER}");
        let mut bytes = Vec::new();
        for &Piece { address, length } in pieces {
            let piece = json!({ "val": address, "size": length, "filename": file });
            self.execute("pmemsave", piece, deadline)?;
            let start = bytes.len();
            bytes.resize(start + length as usize, 0);
            self.transfer.read_exact_at(&mut bytes[start..], 0)?;
        }
        Ok(bytes)
    }

    /// Ends the capability negotiation, and enables the migration capability that leaves shared
    /// memory where it is.
    fn negotiate(&mut self, deadline: Instant) -> Result<(), MonitorError> {
        if !self.negotiated {
            // The greeting arrives first; it is no answer.
            self.execute("qmp_capabilities", json!({}), deadline)?;
            let capabilities = json!([{ "capability": "x-ignore-shared", "state": true }]);
            self.execute(
                "migrate-set-capabilities",
                json!({ "capabilities": capabilities }),
                deadline,
            )?;
            self.negotiated = true;
        }
        Ok(())
    }

    fn execute(
        &mut self,
        command: &'static str,
        arguments: Value,
        deadline: Instant,
    ) -> Result<Value, MonitorError> {
        let request = json!({ "execute": command, "arguments": arguments }).to_string();
        self.stream.write_all(request.as_bytes())?;
        self.answer(command, deadline)
    }

    /// Passes QEMU the descriptor that [`URI`] names.
    fn hand_over(&mut self, descriptor: OwnedFd, deadline: Instant) -> Result<(), MonitorError> {
        let request = json!({ "execute": "getfd", "arguments": { "fdname": "state" } }).to_string();
        let descriptors = [descriptor.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let parts = [IoSlice::new(request.as_bytes())];
        let none = MsgFlags::empty();
        let sent = sendmsg::<()>(self.stream.as_raw_fd(), &parts, &rights, none, None);
        if sent.map_err(io::Error::from)? != request.len() {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        self.answer("getfd", deadline).map(drop)
    }

    fn answer(&mut self, command: &'static str, deadline: Instant) -> Result<Value, MonitorError> {
        loop {
            let message = self.message(deadline)?;
            if let Some(Refusal { desc: description }) = message.error {
                return Err(MonitorError::Refused { command, description });
            }
            if let Some(returned) = message.returned {
                return Ok(returned);
            }
        }
    }

    /// The next answer, event or greeting.
    fn message(&mut self, deadline: Instant) -> Result<Message, MonitorError> {
        let line = self.line(deadline)?;
        let Ok(message) = serde_json::from_slice::<Message>(&line) else {
            return Err(MonitorError::Garbage(String::from_utf8_lossy(&line).into_owned()));
        };
        self.runs |= message.event.as_deref() == Some("RESUME");
        Ok(message)
    }

    /// The next line, without its line end.
    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, MonitorError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.pending) {
                let mut line: Vec<u8> = self.pending.drain(..=end).collect();
                line.pop();
                return Ok(line);
            }
            if self.pending.len() > LIMIT {
                return Err(MonitorError::Garbage("a line that is too long".to_owned()));
            }
            match read_until(&self.stream, &mut buffer, deadline)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                length => self.pending.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

/// The time that is left. None left is an error, because a socket takes zero as no timeout.
fn left_until(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Reads what is available, as soon as something is; zero bytes at the end.
fn read_until(mut stream: &UnixStream, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left_until(deadline)?))?;
        match stream.read(buffer) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Restores from a monitor that sends this text, and returns the error.
    fn restore(says: &str) -> MonitorError {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(says.as_bytes()).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        Monitor::new(ours, tempfile::tempfile().unwrap()).restore(b"state", deadline).unwrap_err()
    }

    #[rstest]
    #[case::hung_up("{\"QMP\": {}}\n", "the connection to QEMU's monitor failed")]
    #[case::garbage("hello\n", "QEMU sent \"hello\", which is not a QMP message")]
    #[case::refused(
        "{\"QMP\": {}}\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
        "QEMU refused qmp_capabilities: no"
    )]
    fn what_is_no_answer_is_an_error(#[case] says: &str, #[case] expected: &str) {
        assert_eq!(restore(says).to_string(), expected);
    }

    #[test]
    fn a_silent_qemu_is_left_at_the_deadline() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = Monitor::new(ours, tempfile::tempfile().unwrap()).save(deadline).unwrap_err();
        assert!(
            matches!(error, MonitorError::Io(error) if error.kind() == io::ErrorKind::TimedOut)
        );
    }
}
