//! What is piped into a command, for a program in a guest.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{FileExt as _, FileTypeExt as _},
    },
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::NamedTempFile;

/// How long a pipe may be silent. Tools that start tests often leave theirs open for ever.
const SILENCE: Duration = Duration::from_secs(1);

/// The most that is passed on, in bytes. It has to fit into a guest's memory.
const LARGEST: u64 = 64 << 20;

/// The input of a test program: none from a terminal or a device. A file is read from its position,
/// which does not move, because most tests read nothing. A pipe is read until it ends, or is silent.
pub(crate) fn for_runner() -> io::Result<Option<NamedTempFile>> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let (input, ended) = read(stdin, SILENCE)?;
    if let (Some(_), false) = (&input, ended) {
        say!(
            "kernlab runner: standard input was silent for a second: the program gets what arrived"
        );
    }
    Ok(input)
}

/// A copy of what can be read, none if that is nothing; and whether the end was reached.
fn read(from: OwnedFd, silence: Duration) -> io::Result<(Option<NamedTempFile>, bool)> {
    let mut from = File::from(from);
    let kind = from.metadata()?.file_type();
    let mut copy = Copy::default();
    if kind.is_char_device() || kind.is_block_device() || kind.is_dir() {
        return Ok((None, true));
    }
    let mut chunk = vec![0; 64 << 10];
    if kind.is_file() {
        let mut at = from.stream_position()?;
        loop {
            let count = from.read_at(&mut chunk, at)?;
            if count == 0 {
                return Ok((copy.0, true));
            }
            copy.write(&chunk[..count])?;
            at += count as u64;
        }
    }
    let mut deadline = Instant::now() + silence;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], wait)? == 0 {
            return Ok((copy.0, false));
        }
        let count = from.read(&mut chunk)?;
        if count == 0 {
            return Ok((copy.0, true));
        }
        copy.write(&chunk[..count])?;
        deadline = Instant::now() + silence;
    }
}

/// A file that is made when there is something to write.
#[derive(Default)]
struct Copy(Option<NamedTempFile>, u64);

impl Copy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.1 += bytes.len() as u64;
        if self.1 > LARGEST {
            let message = format!("standard input has more than {} MiB", LARGEST >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let file = match &mut self.0 {
            Some(file) => file,
            none => none.insert(NamedTempFile::new()?),
        };
        file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::SeekFrom;

    use super::*;

    fn text(input: Option<NamedTempFile>) -> Option<String> {
        input.map(|file| std::fs::read_to_string(file.path()).unwrap())
    }

    #[test]
    fn a_file_is_read_from_its_position_which_stays() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"first second").unwrap();
        file.seek(SeekFrom::Start(6)).unwrap();
        let (input, ended) = read(file.try_clone().unwrap().into(), SILENCE).unwrap();
        assert_eq!((text(input).as_deref(), ended), (Some("second"), true));
        assert_eq!(file.stream_position().unwrap(), 6);
    }

    #[test]
    fn a_pipe_is_read_until_it_ends_or_is_silent() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"some").unwrap();
        let open = reader.try_clone().unwrap();
        let (input, ended) = read(open.into(), Duration::from_millis(10)).unwrap();
        assert_eq!((text(input).as_deref(), ended), (Some("some"), false));
        writer.write_all(b"more").unwrap();
        drop(writer);
        let (input, ended) = read(reader.into(), SILENCE).unwrap();
        assert_eq!((text(input).as_deref(), ended), (Some("more"), true));
    }

    #[test]
    fn input_without_an_end_is_refused() {
        let zeros = tempfile::tempfile().unwrap();
        zeros.set_len(LARGEST + 1).unwrap();
        let error = read(zeros.into(), SILENCE).unwrap_err();
        assert_eq!(error.to_string(), "standard input has more than 64 MiB");
    }

    #[test]
    fn a_device_is_no_input() {
        let null = File::open("/dev/null").unwrap();
        let (input, ended) = read(null.into(), SILENCE).unwrap();
        assert!(input.is_none() && ended);
    }
}
