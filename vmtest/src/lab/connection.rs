//! The protocol's connection, with a deadline on every step.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::Instant,
};

use kernlab_kernels::interruption;
use kernlab_proto::{Decoder, FrameError, GuestMessage, HostMessage, encode};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the connection was closed")]
    Closed,
    #[error("the deadline has passed")]
    Deadline,
    #[error("a signal asked this process to end")]
    Interrupted,
    #[error("the connection failed")]
    Io(#[source] io::Error),
    #[error("the bytes are not a message")]
    Frame(#[source] FrameError),
    #[error("the message can't be sent")]
    Unsendable(#[source] FrameError),
}

/// The host's end of the guest's protocol port.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    decoder: Decoder<GuestMessage>,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, decoder: Decoder::default() })
    }

    /// Sends a whole message.
    pub(super) fn send(
        &mut self,
        message: &HostMessage,
        deadline: Instant,
    ) -> Result<(), ConnectionError> {
        let frame = encode(message).map_err(ConnectionError::Unsendable)?;
        let mut rest = &frame[..];
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => self.retry(error, PollFlags::POLLOUT, deadline)?,
            }
        }
        Ok(())
    }

    /// Waits for a whole message.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<GuestMessage, ConnectionError> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let message = self.decoder.next_message().map_err(ConnectionError::Frame)?;
            if let Some(message) = message {
                return Ok(message);
            }
            // A guest that sends endlessly without completing a message reaches the limit of a
            // frame; one that sends slowly reaches the deadline here.
            if Instant::now() >= deadline {
                return Err(ConnectionError::Deadline);
            }
            if interruption::pending().is_some() {
                return Err(ConnectionError::Interrupted);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(length) => self.decoder.push(&buffer[..length]),
                Err(error) => self.retry(error, PollFlags::POLLIN, deadline)?,
            }
        }
    }

    /// Waits until a call that would have blocked can be retried.
    fn retry(
        &self,
        error: io::Error,
        until: PollFlags,
        deadline: Instant,
    ) -> Result<(), ConnectionError> {
        match error.kind() {
            io::ErrorKind::Interrupted => return Ok(()),
            io::ErrorKind::WouldBlock => {}
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                return Err(ConnectionError::Closed);
            }
            _ => return Err(ConnectionError::Io(error)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, because poll(2) counts whole milliseconds.
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        let mut watched = vec![PollFd::new(self.stream.as_fd(), until)];
        // Readable once a signal has come, and from then on.
        let signals = interruption::is_held().then(interruption::wake).flatten();
        watched.extend(signals.map(|signals| PollFd::new(signals, PollFlags::POLLIN)));
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) if interruption::pending().is_some() => {
                Err(ConnectionError::Interrupted)
            }
            Ok(0) if Instant::now() >= deadline => Err(ConnectionError::Deadline),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(ConnectionError::Io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};

    use super::*;

    fn pair() -> (UnixStream, Connection) {
        let (guest, ours) = UnixStream::pair().unwrap();
        (guest, Connection::new(ours).unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let (mut guest, mut connection) = pair();
        guest.write_all(b"klab").unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = connection.receive(deadline).unwrap_err();
        assert!(matches!(error, ConnectionError::Deadline), "{error}");
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let (_guest, mut connection) = pair();
        let hold = interruption::hold().unwrap();
        let interrupted = |connection: &mut Connection| {
            matches!(connection.receive(soon()), Err(ConnectionError::Interrupted))
        };
        raise(Signal::SIGINT).unwrap();
        assert!(interrupted(&mut connection) && interrupted(&mut connection));
        drop(hold);
        let (mut guest, mut connection) = pair();
        guest.write_all(&encode(&GuestMessage::Primed).unwrap()).unwrap();
        assert!(connection.receive(soon()).is_ok(), "an earlier signal does not count");
    }

    #[test]
    fn garbage_is_an_error_at_once() {
        let (mut guest, mut connection) = pair();
        guest.write_all(b"[    0.0] printk: console").unwrap();
        assert!(matches!(connection.receive(soon()), Err(ConnectionError::Frame(_))));
    }

    #[test]
    fn a_closed_connection_is_noticed_both_ways() {
        let (guest, mut connection) = pair();
        drop(guest);
        assert!(matches!(connection.receive(soon()), Err(ConnectionError::Closed)));
        let sent = connection.send(&HostMessage::PowerOff, soon());
        assert!(matches!(sent, Err(ConnectionError::Closed)));
    }

    #[test]
    fn a_guest_that_never_reads_does_not_hold_us_for_ever() {
        let (_guest, mut connection) = pair();
        let bytes = vec![0; 16 * 1024];
        let message =
            HostMessage::WriteFile { path: "/x".to_owned(), mode: 0, append: false, bytes };
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = std::iter::repeat_with(|| connection.send(&message, deadline))
            .find_map(Result::err)
            .unwrap();
        assert!(matches!(error, ConnectionError::Deadline), "{error}");
    }
}
