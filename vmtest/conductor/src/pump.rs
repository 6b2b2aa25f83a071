//! Moves a program's output to where it belongs, and looks for a pattern in it.

use std::{
    io::{self, Read, Write},
    sync::mpsc::Sender,
    thread,
};

use regex::bytes::{Regex, RegexBuilder};

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
        if search.is_some_and(|search| search.found_at_the_end()) {
            let _ = events.send(Happening::Matched);
        }
        let _ = events.send(Happening::OutputEnded);
    });
}

/// A pattern in which `^` and `$` stand for the beginning and the end of a line.
pub(crate) fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).multi_line(true).build()
}

/// A search in bytes that arrive piece by piece. It finds what a search in all of them would find.
struct Search {
    pattern: Regex,
    /// The last bytes that arrived.
    seen: Vec<u8>,
    /// Where in them a match may begin. What is before that only tells whether a line begins there.
    from: usize,
}

impl Search {
    fn new(pattern: Regex) -> Self {
        Search { pattern, seen: Vec::new(), from: 0 }
    }

    /// Whether the pattern matches with these further bytes, whatever follows them.
    fn found_in(&mut self, bytes: &[u8]) -> bool {
        self.seen.extend_from_slice(bytes);
        let found = self.found_at_the_end() && self.found_in_a_longer_line();
        let surplus = self.seen.len().saturating_sub(REACH + 1);
        if surplus > 0 {
            self.seen.drain(..surplus);
            self.from = 1;
        }
        found
    }

    /// Whether the pattern matches if nothing follows.
    fn found_at_the_end(&self) -> bool {
        self.pattern.is_match_at(&self.seen, self.from)
    }

    /// Whether the pattern matches if the last line goes on: a piece may end anywhere in a line.
    fn found_in_a_longer_line(&mut self) -> bool {
        self.seen.push(b'x');
        let found = self.found_at_the_end();
        self.seen.pop();
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
    fn a_line_is_found_when_it_is_complete() {
        let mut search = Search::new(pattern("^ready$").unwrap());
        for piece in ["not ready\n", "ready", " soon\nrea"] {
            assert!(!search.found_in(piece.as_bytes()), "{piece:?}");
        }
        assert!(!search.found_in(b"dy"));
        assert!(search.found_at_the_end(), "the last line may end without a line feed");
        assert!(search.found_in(b"\n"));
    }

    #[test]
    fn a_prompt_is_found_before_its_line_ends() {
        assert!(Search::new(pattern("^[a-z]+> ").unwrap()).found_in(b"ok\nready> "));
    }

    #[test]
    fn no_line_begins_where_others_were_dropped() {
        let mut search = Search::new(pattern("^xx").unwrap());
        assert!(!search.found_in(b"-"));
        for _ in 0..20 {
            assert!(!search.found_in(&[b'x'; 4096]));
        }
        assert!(search.found_in(b"\nxx"));
    }

    #[test]
    fn what_was_searched_is_dropped() {
        let mut search = Search::new(Regex::new("end").unwrap());
        for _ in 0..100 {
            assert!(!search.found_in(&[b'x'; 4096]));
        }
        assert!(search.seen.len() <= REACH + 1);
        assert!(search.found_in(b"end"));
    }
}
