//! Writes what commands print: a closed or full stream never makes one panic.

use std::{
    fmt::Arguments,
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

/// Takes the place of the standard library's: prints a line on standard output.
macro_rules! println {
    ($($text:tt)*) => { crate::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// Takes the place of the standard library's: prints a line on standard error.
macro_rules! eprintln {
    ($($text:tt)*) => { crate::output::say(format_args!("{}\n", format_args!($($text)*))) };
}

/// Whether standard output could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes to standard output. A reader such as head(1) may stop early; what else goes wrong makes the
/// command fail in the end.
pub(crate) fn print(text: Arguments<'_>) {
    note(&io::stdout().write_fmt(text));
}

/// Remembers that standard output could not be written, and says so the first time.
pub(crate) fn note(written: &io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        eprintln!("error: failed to write to standard output: {error}");
    }
}

/// Writes to standard error. Nobody has to read it.
pub(crate) fn say(text: Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

/// Whether a result was not printed as a whole.
pub(crate) fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}
