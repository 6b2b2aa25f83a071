//! Signals that end this process, held back while there is something to clean up first.
//!
//! SIGINT, SIGTERM and SIGHUP end a process at once, with whatever it was writing. Work that would
//! leave something behind takes a [`Hold`]: as long as there is one, such a signal is only noted, and
//! [`noted`] and [`wake`] tell the work to stop. Without a hold the signal ends the process, as
//! before. A signal that was ignored when the process started (nohup) stays ignored.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    sync::{
        Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    low_level,
};

/// How many holds there are.
static HOLDS: AtomicUsize = AtomicUsize::new(0);
/// The first signal since there are holds; 0 if there was none.
static NOTED: AtomicI32 = AtomicI32::new(0);
/// Readable once a signal was noted.
static PIPE: OnceLock<(io::PipeReader, io::PipeWriter)> = OnceLock::new();
/// Taken while holds are counted.
static COUNTING: Mutex<()> = Mutex::new(());
/// Told of every hold that is gone.
static RELEASED: Condvar = Condvar::new();

/// As long as this lives, a signal does not end the process.
#[derive(Debug)]
#[must_use = "dropping it lets signals end the process"]
pub struct Hold(());

/// Holds signals back.
pub fn hold() -> io::Result<Hold> {
    let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    if PIPE.get().is_none() {
        let pipe = io::pipe()?;
        // Nobody else sets it: the lock is taken.
        let _ = PIPE.set(pipe);
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            register(signal)?;
        }
    }
    if HOLDS.fetch_add(1, Ordering::SeqCst) == 0 && NOTED.swap(0, Ordering::SeqCst) != 0 {
        drain()?;
    }
    Ok(Hold(()))
}

impl Hold {
    /// Makes all other work that holds signals back stop, as if a signal had come, and waits until it
    /// has cleaned up. Returns whether it has.
    pub fn stop_others(&self, within: Duration) -> bool {
        if HOLDS.load(Ordering::SeqCst) > 1 {
            note(SIGTERM);
        }
        let counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        let others = |_: &mut ()| HOLDS.load(Ordering::SeqCst) > 1;
        let waited = RELEASED.wait_timeout_while(counting, within, others);
        let (_counting, result) = waited.unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        HOLDS.fetch_sub(1, Ordering::SeqCst);
        RELEASED.notify_all();
    }
}

/// The signal that was noted since there are holds.
pub fn noted() -> Option<Signal> {
    Signal::try_from(NOTED.load(Ordering::SeqCst)).ok()
}

/// Something to poll(2): readable once a signal was noted. None before the first hold.
pub fn wake() -> Option<BorrowedFd<'static>> {
    PIPE.get().map(|(reader, _)| reader.as_fd())
}

/// Does what the signal would have done: ends the process by it, unless something else holds it back.
pub fn resume(signal: Signal) {
    if HOLDS.load(Ordering::SeqCst) == 0 {
        // It fails for signals that can't end a process only.
        let _ = low_level::emulate_default_handler(signal as i32);
    }
}

fn register(signal: i32) -> io::Result<()> {
    if is_ignored(signal)? {
        return Ok(());
    }
    // SAFETY: `note` calls what is async-signal-safe only: it reads and writes atomic variables,
    // writes to a pipe, and emulates the default handler, which is made for that.
    unsafe { low_level::register(signal, move || note(signal)) }.map(drop)
}

fn note(signal: i32) {
    if HOLDS.load(Ordering::SeqCst) == 0 {
        let _ = low_level::emulate_default_handler(signal);
        return;
    }
    let first = NOTED.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if let Some((_, writer)) = PIPE.get().filter(|_| first) {
        // SAFETY: the byte lives as long as the call. The pipe has room: it holds one byte at most.
        unsafe { libc::write(writer.as_raw_fd(), [0_u8].as_ptr().cast(), 1) };
    }
}

fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel fills `action`, and zeroes are a valid value of it.
    let action = unsafe {
        if libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        action.assume_init()
    };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Takes the byte of an earlier signal.
fn drain() -> io::Result<()> {
    match PIPE.get() {
        Some((reader, _)) => io::Read::read_exact(&mut &*reader, &mut [0]),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::{
        poll::{PollFd, PollFlags, PollTimeout, poll},
        sys::signal::raise,
    };

    use super::*;

    /// Work that ends when it is told to.
    fn work(hold: Hold) -> Signal {
        let mut wake = [PollFd::new(wake().unwrap(), PollFlags::POLLIN)];
        poll(&mut wake, PollTimeout::from(20_000_u16)).unwrap();
        let signal = noted().unwrap();
        drop(hold);
        signal
    }

    #[test]
    fn a_signal_stops_the_work_and_not_the_process() {
        let working = hold().unwrap();
        let ours = hold().unwrap();
        let worker = thread::spawn(move || work(working));
        raise(Signal::SIGINT).unwrap();
        assert_eq!(worker.join().unwrap(), Signal::SIGINT);
        // As long as something else holds it back.
        resume(Signal::SIGINT);
        drop(ours);
    }

    #[test]
    fn who_ends_makes_others_stop_first() {
        let (working, ours) = (hold().unwrap(), hold().unwrap());
        let worker = thread::spawn(move || work(working));
        assert!(ours.stop_others(Duration::from_secs(20)));
        assert_eq!(worker.join().unwrap(), Signal::SIGTERM);
        let idle = hold().unwrap();
        assert!(!ours.stop_others(Duration::from_millis(10)), "it does not listen");
        drop(idle);
        assert!(ours.stop_others(Duration::ZERO), "nobody is left");
    }
}
