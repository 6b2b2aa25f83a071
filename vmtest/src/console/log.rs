//! The output of a console, within limits.

use std::collections::VecDeque;

/// How much of the beginning is kept, in bytes.
const HEAD: usize = 64 * 1024;
/// How much of the end is kept, in bytes.
const TAIL: usize = 192 * 1024;
/// The longest line in an excerpt, in characters.
const LINE: usize = 300;

/// The beginning and the end of a console's output.
#[derive(Clone, Debug, Default)]
pub struct Log {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    skipped: u64,
}

impl Log {
    /// Appends output.
    pub fn append(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.skipped += excess as u64;
    }

    /// Whether the console printed nothing.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// The text with normalised line ends. A note marks output that was left out.
    pub fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.skipped > 0 {
            bytes.extend(format!("\n[{} bytes left out]\n", self.skipped).bytes());
        }
        let (front, back) = self.tail.as_slices();
        bytes.extend_from_slice(front);
        bytes.extend_from_slice(back);
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n").replace('\r', "\n")
    }

    /// The last non-empty lines, for a report.
    pub fn last_lines(&self, count: usize) -> String {
        let text = self.text();
        let mut lines: Vec<_> =
            text.lines().rev().filter(|line| !line.trim().is_empty()).take(count).collect();
        lines.reverse();
        lines.into_iter().map(shorten).collect::<Vec<_>>().join("\n")
    }
}

/// Shortens a line for a report.
pub(crate) fn shorten(line: &str) -> String {
    let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut short: String = line.chars().take(LINE).map(clean).collect();
    if line.chars().nth(LINE).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_log_keeps_its_beginning_and_its_end() {
        let mut log = Log::default();
        log.append(b"first line\r\n");
        for _ in 0..100 {
            log.append(&[b'x'; 10_000]);
        }
        log.append(b"\nlast line");
        let text = log.text();
        assert!(text.starts_with("first line\n"));
        assert!(text.ends_with("last line"));
        let left_out = 12 + 1_000_000 + 10 - HEAD - TAIL;
        assert!(text.contains(&format!("[{left_out} bytes left out]")));
        assert!(text.len() < HEAD + TAIL + 100);
    }

    #[test]
    fn an_excerpt_has_short_and_clean_lines() {
        let mut log = Log::default();
        log.append(b"one\r\n\r\ntwo\x1b[2J\r\n");
        log.append(&[b'y'; 1000]);
        let lines = log.last_lines(2);
        assert!(lines.starts_with("two\u{fffd}[2J\nyyy"), "{lines}");
        assert!(lines.ends_with("y…"));
    }
}
