//! Captures the guest's console as evidence while the guest runs.

mod crash;
mod log;

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

pub(crate) use self::log::shorten;
pub use self::{
    crash::{ConsoleLog, Crash},
    log::Log,
};

/// The longest evidence file, in bytes. A guest may print endlessly.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// A console with its own reader thread, so that the guest never waits for the host.
#[derive(Debug)]
pub struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    log: Log,
    /// When the first byte arrived.
    first_byte: Option<Instant>,
    /// Whether the guest's end is closed and everything was read.
    ended: bool,
    /// The terminal that shows the output at once.
    screen: Option<Arc<File>>,
}

impl Console {
    /// Reads until the guest's end is closed, and also writes to `file` if there is one.
    pub fn capture(connection: UnixStream, file: Option<&Path>) -> io::Result<Self> {
        let file = file.map(File::create).transpose()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || read(connection, file, &theirs))?;
        Ok(Console { shared })
    }

    /// Waits for the first byte, the end or the deadline; returns when the first byte arrived.
    pub fn first_byte(&self, deadline: Instant) -> Option<Instant> {
        self.wait(deadline, |state| state.first_byte.is_some() || state.ended).first_byte
    }

    /// Shows further output on `screen` as well, or stops that. A blocked screen blocks the guest.
    pub fn show_on(&self, screen: Option<File>) {
        self.state().screen = screen.map(Arc::new);
    }

    /// Whether the guest's end is closed.
    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// What the console has printed so far.
    pub fn log(&self) -> Log {
        self.state().log.clone()
    }

    /// The complete output once the guest's end is closed, or the output until the deadline.
    pub fn finish(&self, deadline: Instant) -> Log {
        self.wait(deadline, |state| state.ended).log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The log is consistent at any moment, even if the other thread panicked.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, deadline: Instant, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.shared
            .changed
            .wait_timeout_while(self.state(), left, |state| !done(state))
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

fn read(mut connection: UnixStream, mut file: Option<File>, shared: &Shared) {
    let update = |change: &mut dyn FnMut(&mut State)| {
        change(&mut shared.state.lock().unwrap_or_else(PoisonError::into_inner));
        shared.changed.notify_all();
    };
    let mut buffer = [0; 4096];
    let mut room = FILE_LIMIT;
    loop {
        let length = match connection.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let bytes = &buffer[..length];
        let mut screen = None;
        update(&mut |state| {
            state.first_byte.get_or_insert_with(Instant::now);
            state.log.append(bytes);
            screen = state.screen.clone();
        });
        // A failing screen must not stop the capture.
        let _ = screen.map(|screen| (&*screen).write_all(bytes));
        let kept = usize::try_from(room).map_or(length, |room| length.min(room));
        room -= kept as u64;
        // A full disk truncates the file, not the evidence of the verdict: the log in memory has
        // the same lines.
        if file.as_mut().is_some_and(|file| file.write_all(&bytes[..kept]).is_err()) {
            file = None;
        }
    }
    update(&mut |state| state.ended = true);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn everything_is_captured_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("console.log");
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let console = Console::capture(ours, Some(&file)).unwrap();
        assert_eq!(console.first_byte(Instant::now()), None);
        guest.write_all(b"Linux version\r\n").unwrap();
        assert!(console.first_byte(soon()).is_some());
        guest.write_all(b"the end").unwrap();
        drop(guest);
        assert_eq!(console.finish(soon()).text(), "Linux version\nthe end");
        assert_eq!(std::fs::read(&file).unwrap(), b"Linux version\r\nthe end");
    }

    #[test]
    fn an_endless_console_has_a_file_of_a_bounded_size() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("console.log");
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let console = Console::capture(ours, Some(&file)).unwrap();
        guest.write_all(&vec![b'x'; FILE_LIMIT as usize + 10_000]).unwrap();
        drop(guest);
        console.finish(soon());
        assert_eq!(std::fs::metadata(&file).unwrap().len(), FILE_LIMIT);
    }

    #[test]
    fn a_silent_console_ends_the_wait_for_its_first_byte() {
        let (guest, ours) = UnixStream::pair().unwrap();
        let console = Console::capture(ours, None).unwrap();
        drop(guest);
        assert_eq!(console.first_byte(soon()), None);
    }
}
