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
        OnceLock, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
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
static COUNTING: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// As long as this lives, a signal does not end the process.
#[derive(Debug)]
#[must_use = "dropping it lets signals end the process"]
pub(crate) struct Hold(());

/// Holds signals back.
pub(crate) fn hold() -> io::Result<Hold> {
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

impl Drop for Hold {
    fn drop(&mut self) {
        HOLDS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The signal that was noted since there are holds.
pub(crate) fn noted() -> Option<Signal> {
    Signal::try_from(NOTED.load(Ordering::SeqCst)).ok()
}

/// Something to poll(2): readable once a signal was noted. None before the first hold.
pub(crate) fn wake() -> Option<BorrowedFd<'static>> {
    PIPE.get().map(|(reader, _)| reader.as_fd())
}

/// Does what the signal would have done: ends the process by it, unless something else holds it back.
pub(crate) fn resume(signal: Signal) {
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
