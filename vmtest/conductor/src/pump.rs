//! Moves a program's output to where it belongs, and looks for a pattern in it.

use std::{
    io::{self, Read, Write},
    sync::mpsc::Sender,
    thread,
};

use regex::bytes::Regex;

use crate::conduct::Happening;

/// The most bytes before the current position in which a pattern may begin.
const REACH: usize = 64 * 1024;

/// Copies `from` to `to` until its end, in a thread. Tells when `pattern` was first seen, and when
/// the last writer is gone.
pub(crate) fn copy(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    pattern: Option<Regex>,
    events: Sender<Happening>,
) {
    thread::spawn(move || {
        let mut search = pattern.map(Search::new);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            // The agent reads until the end. If it is gone, so is the guest.
            if to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_err() {
                break;
            }
            if search.as_mut().is_some_and(|search| search.found_in(&buffer[..length])) {
                search = None;
                let _ = events.send(Happening::Matched);
            }
        }
        let _ = events.send(Happening::OutputEnded);
    });
}

/// A search in bytes that arrive piece by piece.
struct Search {
    pattern: Regex,
    seen: Vec<u8>,
}

impl Search {
    fn new(pattern: Regex) -> Self {
        Search { pattern, seen: Vec::new() }
    }

    fn found_in(&mut self, bytes: &[u8]) -> bool {
        self.seen.extend_from_slice(bytes);
        let found = self.pattern.is_match(&self.seen);
        let surplus = self.seen.len().saturating_sub(REACH);
        self.seen.drain(..surplus);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_across_pieces() {
        let mut search = Search::new(Regex::new("attached [0-9]+ probes").unwrap());
        assert!(!search.found_in(b"noise \xff attac"));
        assert!(!search.found_in(b"hed 1"));
        assert!(search.found_in(b"2 probes"));
    }

    #[test]
    fn what_was_searched_is_dropped() {
        let mut search = Search::new(Regex::new("end").unwrap());
        for _ in 0..100 {
            assert!(!search.found_in(&[b'x'; 4096]));
        }
        assert!(search.seen.len() <= REACH);
        assert!(search.found_in(b"end"));
    }
}
