//! QEMU's monitor protocol, QMP, as far as saving and restoring a machine needs it:
//! docs/interop/qmp-spec.rst in QEMU's sources. Of each exchange either side writes one line of JSON.

use std::{
    io::{self, IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest line that is taken, and the largest state of devices, in bytes. Memory is no part of
/// it: some tens of kilobytes are usual.
const LIMIT: usize = 64 << 20;
/// Where a state comes from or goes to: a connection that QEMU was given.
const URI: &str = "fd:state";

/// QEMU did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The connection is of no use.
    #[error("could not talk to QEMU")]
    Io(#[from] io::Error),
    /// It said something that is no QMP.
    #[error("QEMU said {0:?}, which is not an answer")]
    Garbage(String),
    /// It refused.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// The request.
        command: &'static str,
        /// Its words.
        description: String,
    },
    /// A state was saved that is not what was expected.
    #[error("QEMU did not save the machine's devices: its migration is {0:?}")]
    NotSaved(String),
}

/// What QEMU says: of each of its messages, the part that matters here.
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

/// Our end of the connection to QEMU's monitor.
#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
    /// What was read and not yet looked at.
    pending: Vec<u8>,
    negotiated: bool,
    /// The machine was told to run after it had been waiting.
    runs: bool,
}

impl Monitor {
    pub(super) fn new(stream: UnixStream) -> Self {
        Monitor { stream, pending: Vec::new(), negotiated: false, runs: false }
    }

    /// Stops the machine for good and returns the state of its devices. The guest's memory, which
    /// must be a shared file, is not part of it; it does not change any more.
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

    /// Gives a machine that waits for it the state of its devices, and lets it run.
    pub fn restore(&mut self, state: &[u8], deadline: Instant) -> Result<(), MonitorError> {
        self.negotiate(deadline)?;
        let (mut ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(left_until(deadline)?))?;
        self.hand_over(theirs.into(), deadline)?;
        thread::scope(|scope| {
            // The connection holds less than a state, and nobody reads before the command is there.
            scope.spawn(move || {
                // If QEMU doesn't read to the end it says why in its answer.
                let _ = ours.write_all(state);
            });
            self.execute("migrate-incoming", json!({ "uri": URI }), deadline)?;
            // It ran when it was saved, so it does again as soon as its state is there. What is sent
            // to its ports before is lost.
            while !self.runs {
                self.message(deadline)?;
            }
            Ok(())
        })
    }

    /// Leaves the phase of negotiation, and names what is special about our migrations: memory that
    /// is in a shared file is already where it should be.
    fn negotiate(&mut self, deadline: Instant) -> Result<(), MonitorError> {
        if !self.negotiated {
            // Its greeting comes first, and is no answer.
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

    /// Gives QEMU the descriptor that [`URI`] names.
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

    /// The next line, without its end.
    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, MonitorError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.pending) {
                let mut line: Vec<u8> = self.pending.drain(..=end).collect();
                line.pop();
                return Ok(line);
            }
            if self.pending.len() > LIMIT {
                return Err(MonitorError::Garbage("a line without end".to_owned()));
            }
            match read_until(&self.stream, &mut buffer, deadline)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                length => self.pending.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

/// The time that is left, which is none at all only as an error: to a socket it would mean for ever.
fn left_until(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Reads what there is, as soon as there is something; zero bytes at the end.
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

    /// What becomes of a restore when QEMU says this.
    fn restore(says: &str) -> MonitorError {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(says.as_bytes()).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        Monitor::new(ours).restore(b"state", deadline).unwrap_err()
    }

    #[rstest]
    #[case::hung_up("{\"QMP\": {}}\n", "could not talk to QEMU")]
    #[case::garbage("hello\n", "QEMU said \"hello\", which is not an answer")]
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
        let error = Monitor::new(ours).save(deadline).unwrap_err();
        assert!(
            matches!(error, MonitorError::Io(error) if error.kind() == io::ErrorKind::TimedOut)
        );
    }
}
