//! Messages of cells, as reports show them.

use crate::terminal;

/// A message in one line: its headline and, if that only introduces what follows, the next line.
pub(crate) fn in_a_line(message: &str) -> String {
    let (headline, lines) = headline(message);
    // The lines of a kernel's log say no more than the title of their splat.
    let is_shown = |line: &&str| !line.trim().is_empty() && !is_of_log(line);
    let next = lines.and_then(|lines| lines.lines().next()).filter(is_shown);
    match (headline.ends_with(':'), next) {
        (true, Some(next)) => format!("{headline} {}", next.trim()),
        _ => headline.trim_end_matches(':').to_owned(),
    }
}

/// Whether a line is of a kernel's log, as on its console or with the level of each record:
/// `[    1.234567] text`, `<4>[    1.234567] text`.
fn is_of_log(line: &str) -> bool {
    let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let rest =
        level.filter(|(level, _)| level.parse::<u8>().is_ok()).map_or(line, |(_, rest)| rest);
    let time = rest.strip_prefix('[').map(str::trim_start);
    time.is_some_and(|time| time.starts_with(|c: char| c.is_ascii_digit()))
}

/// Splits a message into its headline and the lines that follow, as after the title of a splat.
pub(super) fn headline(message: &str) -> (&str, Option<&str>) {
    match message.split_once('\n') {
        Some((headline, lines)) => (headline, Some(lines)),
        None => (message, None),
    }
}

/// Text without control characters, which no document may contain, and without those that set the direction
/// of text: what a page says must not depend on what it quotes.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if terminal::acts(c) { '\u{fffd}' } else { c }).collect()
}

/// The longest message of a cell, in bytes. The text of programs in it may be a single endless line.
const LONGEST_MESSAGE: usize = 64 << 10;

/// A message of a length that a person may read.
pub(super) fn bounded(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        message.push('…');
        message.shrink_to_fit();
    }
    message
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Outcome, Reason, Verdict};

    use super::*;
    use crate::report::CellReport;

    #[test]
    fn a_line_shows_no_log_of_a_kernel() {
        for log in ["[    1.0] WARNING: CPU: 0", "<4>[    1.0] WARNING: CPU: 0", ""] {
            assert_eq!(
                in_a_line(&format!("WARNING in f, line 2:\n{log}\nmore")),
                "WARNING in f, line 2"
            );
        }
        assert_eq!(in_a_line("it said:\n<b> [x]\nmore"), "it said: <b> [x]");
        assert_eq!(in_a_line("it said:\n[x] is left"), "it said: [x] is left");
    }

    #[test]
    fn an_endless_message_is_cut() {
        let verdict =
            || Verdict::because(Outcome::Fail, Reason::TracerDied, "ä".repeat(LONGEST_MESSAGE));
        let mut cell = CellReport::of_verdict("k/masked/aya/t/s", verdict());
        assert_eq!(cell.message.len(), LONGEST_MESSAGE + '…'.len_utf8());
        cell.message.clear();
        cell.set_verdict(verdict());
        assert!(cell.message.ends_with("ä…"));
    }
}
