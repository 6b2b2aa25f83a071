//! The messages of a log, one after the other.

use crate::{
    clean::PIECE_END,
    prefix::{self, Origin, Prefixed},
};

/// One message: what one call of printk printed, or a line of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// The line it is on, from 1.
    pub(crate) line: usize,
    /// Where that line begins.
    pub(crate) offset: usize,
    /// Whether it is the first on its line.
    pub(crate) leads: bool,
    /// Whose words these are.
    pub(crate) origin: Origin,
    /// The kernel's time.
    pub(crate) time: Option<&'a str>,
    /// The task or processor that printed it.
    pub(crate) caller: Option<&'a str>,
    /// What it says.
    pub(crate) text: &'a str,
}

impl Message<'_> {
    /// Whether the message stands in a log without times, or lost its own.
    pub(crate) fn is_bare(&self) -> bool {
        self.origin == Origin::Unknown
    }
}

/// A position at the beginning of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) offset: usize,
    pub(crate) line: usize,
}

impl Position {
    /// The beginning of the log.
    pub(crate) const START: Position = Position { offset: 0, line: 1 };
}

/// The lines of a log that was cleaned, each with its position.
pub(crate) fn lines(log: &str, from: Position) -> impl Iterator<Item = (Position, &str)> {
    let mut position = from;
    std::iter::from_fn(move || {
        let rest = log.get(position.offset..).filter(|rest| !rest.is_empty())?;
        let here = position;
        let length = memchr::memchr(b'\n', rest.as_bytes());
        position.offset += length.map_or(rest.len(), |length| length + 1);
        position.line += 1;
        Some((here, &rest[..length.unwrap_or(rest.len())]))
    })
}

/// Longer lines are no console's: what is behind this many bytes isn't looked at.
const LONGEST_LINE: usize = 16 * 1024;

/// Gives every message of a line to `found`.
pub(crate) fn of_line<'a>(position: Position, line: &'a str, mut found: impl FnMut(Message<'a>)) {
    let line = &line[..line.floor_char_boundary(LONGEST_LINE)];
    let mut leads = true;
    for piece in line.split(PIECE_END) {
        prefix::split(piece, |prefixed| {
            let Prefixed { origin, time, caller, text } = prefixed;
            let Position { offset, line } = position;
            found(Message { line, offset, leads, origin, time, caller, text });
            leads = false;
        });
    }
}
