//! The life of a run, as its cells see it: a connection that the run has to all of them.
//!
//! nextest ends its cells if it is asked to end, but not if it is killed. Then the run ends them, and if
//! the run itself is killed, the kernel closes the connection.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    net::Shutdown,
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// The environment variable with the number of the descriptor that is a cell's end of the connection.
const LIFE_VARIABLE: &str = "KERNLAB_LIFE";
/// The exit code of a cell whose run is over, as after SIGTERM.
const OVER: i32 = 128 + 15;

/// The run's end of the connection.
#[derive(Debug)]
pub(super) struct Life {
    ours: UnixStream,
    theirs: UnixStream,
}

impl Life {
    pub(super) fn begin() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok(Life { ours, theirs })
    }

    /// Lets the command, and all that it starts, have the other end.
    pub(super) fn give(&self, command: &mut Command) -> io::Result<()> {
        let theirs = self.theirs.try_clone()?;
        command.env(LIFE_VARIABLE, theirs.as_raw_fd().to_string());
        // SAFETY: fcntl is async-signal-safe, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                Ok(fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)?)
            });
        }
        Ok(())
    }

    /// Ends all cells that are still there. `false` if some process has not ended at the deadline.
    pub(super) fn end(self, within: Duration) -> io::Result<bool> {
        let Life { ours, theirs } = self;
        drop(theirs);
        let deadline = Instant::now() + within;
        ours.shutdown(Shutdown::Write)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, because poll(2) counts whole milliseconds.
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            // No events are requested: poll(2) always reports a hang-up.
            match poll(&mut [PollFd::new(ours.as_fd(), PollFlags::empty())], timeout) {
                Ok(1..) => return Ok(true),
                Ok(_) if left.is_zero() => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Ends this process, and with it its guest, when the run ends. Does nothing in a process that no run
/// has started. To be called once, before anything else opens descriptors or starts programs.
///
/// # Errors
///
/// The connection can't be watched.
pub fn follow() -> io::Result<()> {
    let Some(descriptor) = env::var_os(LIFE_VARIABLE) else { return Ok(()) };
    let descriptor = descriptor.to_string_lossy().parse::<RawFd>().map_err(io::Error::other)?;
    let link = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
    if !link.read_link()?.to_string_lossy().starts_with("socket:") {
        return Err(io::Error::other(format!("{LIFE_VARIABLE} names no connection")));
    }
    // SAFETY: only a run sets the variable, and lets this process inherit that descriptor. Nothing else
    // in this process uses it, because nothing else was done before.
    let life = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // QEMU does not get it.
    fcntl(&life, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let mut life = File::from(life);
    thread::Builder::new().name("life".to_owned()).spawn(move || {
        // The run sends nothing, so this is its end.
        let _ = life.read(&mut [0]);
        process::exit(OVER)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// A process that follows a run, and would otherwise live longer than the test.
    #[test]
    #[ignore = "a process of the tests below"]
    fn follower() {
        follow().unwrap();
        println!("follows");
        thread::sleep(Duration::from_secs(60));
    }

    fn follower_of(life: &Life) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["run::life::tests::follower", "--exact", "--ignored", "--nocapture"])
            .stdout(Stdio::piped());
        life.give(&mut command).unwrap();
        command
    }

    #[test]
    fn a_cell_ends_with_its_run() {
        let life = Life::begin().unwrap();
        let mut cell = follower_of(&life).spawn().unwrap();
        let mut said = String::new();
        while !said.contains("follows") {
            let mut buffer = [0; 200];
            let length = cell.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
            assert_ne!(length, 0, "{said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        assert!(life.end(Duration::from_secs(20)).unwrap());
        assert_eq!(cell.wait().unwrap().code(), Some(OVER));
    }

    #[test]
    fn a_cell_ends_that_starts_when_its_run_is_over() {
        let life = Life::begin().unwrap();
        let mut cell = follower_of(&life);
        // Only the process to be has the other end.
        assert!(!life.end(Duration::ZERO).unwrap());
        assert_eq!(cell.status().unwrap().code(), Some(OVER));
    }

    #[test]
    fn a_process_that_stays_is_left_at_the_deadline() {
        let life = Life::begin().unwrap();
        let mut command = Command::new("sleep");
        life.give(command.arg("60")).unwrap();
        let mut stays = command.spawn().unwrap();
        drop(command);
        assert!(!life.end(Duration::from_millis(20)).unwrap());
        stays.kill().unwrap();
        stays.wait().unwrap();
    }
}
