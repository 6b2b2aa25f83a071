//! Delays signals that end this process while there is something to clean up.
//!
//! SIGINT, SIGTERM and SIGHUP end a process at once, in the middle of any write. Work that would
//! leave files behind takes a [`Hold`]. While a hold exists, such a signal is only recorded, and
//! [`noted`] and [`wake`] tell the work to stop. Without a hold the signal ends the process as
//! usual. A signal that was ignored when the process started (nohup) stays ignored.

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

/// The number of holds.
static HOLDS: AtomicUsize = AtomicUsize::new(0);
/// The first signal since the first current hold; 0 if there was none.
static NOTED: AtomicI32 = AtomicI32::new(0);
/// Readable once a signal was recorded.
static PIPE: OnceLock<(io::PipeReader, io::PipeWriter)> = OnceLock::new();
/// Held while the holds are counted.
static COUNTING: Mutex<()> = Mutex::new(());
/// Notified when a hold is dropped.
static RELEASED: Condvar = Condvar::new();

/// While this exists, a signal does not end the process.
#[derive(Debug)]
#[must_use = "dropping it lets signals end the process"]
pub struct Hold(());

/// Delays signals.
pub fn hold() -> io::Result<Hold> {
    let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    if PIPE.get().is_none() {
        let pipe = io::pipe()?;
        // No other thread sets it: this one holds the lock.
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
    /// Tells all other holders to stop, as if a signal had come, and waits until they have cleaned
    /// up. Returns whether they have.
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

/// The signal that was recorded since the first current hold.
pub fn noted() -> Option<Signal> {
    Signal::try_from(NOTED.load(Ordering::SeqCst)).ok()
}

/// Whether signals are delayed.
pub fn is_held() -> bool {
    HOLDS.load(Ordering::SeqCst) > 0
}

/// The recorded signal, while a hold exists.
pub fn pending() -> Option<Signal> {
    noted().filter(|_| is_held())
}

/// A file descriptor for poll(2), readable once a signal was recorded. `None` before the first
/// hold.
pub fn wake() -> Option<BorrowedFd<'static>> {
    PIPE.get().map(|(reader, _)| reader.as_fd())
}

/// Lets the signal take effect: it ends the process, unless another hold exists.
pub fn resume(signal: Signal) {
    if HOLDS.load(Ordering::SeqCst) == 0 {
        // This fails only for signals that can't end a process.
        let _ = low_level::emulate_default_handler(signal as i32);
    }
}

fn register(signal: i32) -> io::Result<()> {
    if is_ignored(signal)? {
        return Ok(());
    }
    // SAFETY: `note` only calls what is async-signal-safe: it reads and writes atomic variables,
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
        // SAFETY: the byte lives as long as the call. The pipe has room: it contains at most one
        // byte.
        unsafe { libc::write(writer.as_raw_fd(), [0_u8].as_ptr().cast(), 1) };
    }
}

fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel fills `action`, for which zeroes are a valid value.
    let action = unsafe {
        if libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        action.assume_init()
    };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Removes the byte of an earlier signal.
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

    /// Work that ends when a signal is recorded.
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
        // Nothing happens while another hold exists.
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
        assert!(!ours.stop_others(Duration::from_millis(10)), "the other work does not stop");
        drop(idle);
        assert!(ours.stop_others(Duration::ZERO), "no hold is left");
    }
}
