//! The kernel's log as text, read from /dev/kmsg.
//!
//! A file that is open there has its own place in the log: no program moves it, or hides a record from
//! it, by clearing the log. Each record has its facility, which is 0 only for the kernel's own words,
//! and a reader is told if records were overwritten before it came.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
};

use kernlab_proto::{CHUNK, GuestMessage, LOG_GAP, Stream, log_mark};

use crate::{AgentError, port::Port};

/// The device of the log.
const DEVICE: &str = "/dev/kmsg";
/// The longest record: kernel/printk/printk.c, CONSOLE_EXT_LOG_MAX, and PRINTKRB_RECORD_MAX since 6.4.
const RECORD: usize = 8192;

/// A place in the kernel's log: all before it was sent to the host.
#[derive(Debug, Default)]
pub(crate) struct KernelLog {
    /// None until it is first read, which begins with the oldest record.
    device: Option<File>,
}

impl KernelLog {
    /// Sends what was added since the last call, and the mark: one `<priority>[time] text` per line.
    pub(crate) fn send(&mut self, mark: u64, port: &mut Port) -> Result<(), AgentError> {
        // Every open file of /dev/kmsg has its own rate limit, so this line is never dropped. The
        // kernel holds a line back until its line end. The priority `info` is not printed on the
        // console, where every character costs a trap.
        fs::write(DEVICE, format!("<6>{}\n", log_mark(mark))).map_err(AgentError::LogMark)?;
        for bytes in self.read().map_err(AgentError::KernelLog)?.chunks(CHUNK) {
            port.send(&GuestMessage::Output { stream: Stream::KernelLog, bytes: bytes.to_vec() })?;
        }
        Ok(port.send(&GuestMessage::Done)?)
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let is_first = self.device.is_none();
        let device = match &mut self.device {
            Some(device) => device,
            none => {
                none.insert(File::options().read(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?)
            }
        };
        text_of(device, is_first)
    }
}

/// All records that are there. Before the first ones of all, none is missing.
fn text_of(mut device: impl Read, is_first: bool) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut begins = is_first;
    let mut record = vec![0; RECORD];
    loop {
        match device.read(&mut record) {
            Ok(0) => return Ok(text),
            Ok(length) => {
                let found = Record::parse(&record[..length]);
                let starts_late = found.as_ref().is_some_and(|record| record.sequence > 0);
                if std::mem::take(&mut begins) && starts_late {
                    gap(&mut text);
                }
                found.iter().for_each(|record| record.write(&mut text));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(text),
            // The next record was overwritten; the read after this one gets the oldest that is left.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => gap(&mut text),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn gap(text: &mut Vec<u8>) {
    text.extend_from_slice(LOG_GAP.as_bytes());
    text.push(b'\n');
}

/// A record: `4,1234,56789012,-,caller=T12;text`, as in Documentation/ABI/testing/dev-kmsg.
#[derive(Debug, PartialEq, Eq)]
struct Record<'a> {
    /// The facility and the level, as in `<4>`.
    priority: u32,
    sequence: u64,
    /// Since boot, in microseconds.
    time: u64,
    /// `T12` for a task, `C0` for a processor; CONFIG_PRINTK_CALLER.
    caller: Option<&'a str>,
    text: Vec<u8>,
}

impl<'a> Record<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.iter().position(|&byte| byte == b';')?;
        let mut fields = std::str::from_utf8(&bytes[..end]).ok()?.split(',');
        let priority = fields.next()?.parse().ok()?;
        let sequence = fields.next()?.parse().ok()?;
        let time = fields.next()?.parse().ok()?;
        let caller = fields.find_map(|field| field.strip_prefix("caller="));
        // The lines below describe the device that a record is about.
        let text = bytes[end + 1..].split(|&byte| byte == b'\n').next().unwrap_or_default();
        Some(Record { priority, sequence, time, caller, text: unescaped(text) })
    }

    /// As syslog(2) has it: the prefix before each line of the text.
    fn write(&self, text: &mut Vec<u8>) {
        let Record { priority, time, .. } = self;
        let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
        let caller = self.caller.map(|caller| format!("[{caller:>6}]")).unwrap_or_default();
        for line in self.text.split(|&byte| byte == b'\n') {
            let prefix = format!("<{priority}>[{seconds:5}.{micros:06}]{caller} ");
            text.extend_from_slice(prefix.as_bytes());
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
}

/// The kernel writes bytes that can't be printed, and the backslash, as `\x0a`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, others)) = rest.split_first() {
        let escaped = others.strip_prefix(b"x").filter(|_| byte == b'\\');
        let number = escaped
            .and_then(|digits| digits.get(..2))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match number {
            Some(number) => {
                bytes.push(number);
                rest = &others[3..];
            }
            None => {
                bytes.push(byte);
                rest = others;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(record: &[u8]) -> String {
        let mut text = Vec::new();
        Record::parse(record).unwrap().write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_record_becomes_the_lines_that_syslog_has() {
        let record = b"6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n DEVICE=n3\n";
        assert_eq!(lines(record), "<6>[    5.140900] NET: Registered\n");
        let record = b"12,4,98765432109,-,caller=T12;one\\x0atwo \\x5c \xc3\xa4\n";
        assert_eq!(
            lines(record),
            "<12>[98765.432109][   T12] one\n<12>[98765.432109][   T12] two \\ ä\n"
        );
    }

    #[test]
    fn what_is_no_record_is_left_out_and_what_is_no_escape_is_kept() {
        assert_eq!(Record::parse(b"no record"), None);
        assert_eq!(Record::parse(b"1,2;3"), None);
        assert_eq!(unescaped(b"\\xzz\\x4"), b"\\xzz\\x4");
    }

    /// Reads what a device answers, one after the other, and then that there is no more.
    struct Answers<'a>(Vec<Result<&'a [u8], i32>>);

    impl Read for Answers<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let record = self.0.remove(0).map_err(io::Error::from_raw_os_error)?;
            buffer[..record.len()].copy_from_slice(record);
            Ok(record.len())
        }
    }

    #[test]
    fn what_was_overwritten_is_told() {
        let read = |answers: &[Result<&'static [u8], i32>], is_first| {
            String::from_utf8(text_of(Answers(answers.to_vec()), is_first).unwrap()).unwrap()
        };
        let (first, later) =
            (b"6,0,1000000,-;first\n".as_slice(), b"6,9,2000000,-;later\n".as_slice());
        let (first_line, later_line) = ("<6>[    1.000000] first\n", "<6>[    2.000000] later\n");
        let gap = format!("{LOG_GAP}\n");
        assert_eq!(read(&[Ok(first), Ok(later)], true), format!("{first_line}{later_line}"));
        let overwritten = [Ok(first), Err(libc::EPIPE), Ok(later)];
        assert_eq!(read(&overwritten, true), format!("{first_line}{gap}{later_line}"));
        // The oldest record that is left is not the first of all.
        assert_eq!(read(&[Ok(later)], true), format!("{gap}{later_line}"));
        assert_eq!(read(&[Ok(later)], false), later_line);
    }
}
