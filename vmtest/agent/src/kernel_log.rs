//! The kernel's log as text.

use std::fs;

use kernlab_proto::{CHUNK, GuestMessage, Stream, log_mark};
use nix::errno::Errno;

use crate::{AgentError, port::Port};

/// syslog(2), "SYSLOG_ACTION_READ_CLEAR".
const READ_CLEAR: libc::c_int = 4;
/// syslog(2), "SYSLOG_ACTION_SIZE_BUFFER".
const SIZE_BUFFER: libc::c_int = 10;

/// Sends what was added since the last call, and the mark: one `<priority>[time] text` per line.
pub(crate) fn send(mark: u64, port: &mut Port) -> Result<(), AgentError> {
    // Every open file of /dev/kmsg has its own rate limit, so this line is never dropped. The
    // kernel holds a line back until its line end. The priority `info` is not printed on the
    // console, where every character costs a trap.
    fs::write("/dev/kmsg", format!("<6>{}\n", log_mark(mark))).map_err(AgentError::LogMark)?;
    for bytes in read().map_err(AgentError::KernelLog)?.chunks(CHUNK) {
        port.send(&GuestMessage::Output { stream: Stream::KernelLog, bytes: bytes.to_vec() })?;
    }
    Ok(port.send(&GuestMessage::Done)?)
}

fn read() -> nix::Result<Vec<u8>> {
    // SAFETY: this action ignores the buffer.
    let size = unsafe { libc::klogctl(SIZE_BUFFER, std::ptr::null_mut(), 0) };
    let size = Errno::result(size)?;
    // Every record is stored without its prefix, so the text can be longer than the buffer.
    let mut text = vec![0_u8; usize::try_from(size).unwrap_or(0).saturating_mul(2)];
    let room = libc::c_int::try_from(text.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `text` is writable and at least `room` bytes long.
    let length = unsafe { libc::klogctl(READ_CLEAR, text.as_mut_ptr().cast(), room) };
    text.truncate(usize::try_from(Errno::result(length)?).unwrap_or(0));
    Ok(text)
}
