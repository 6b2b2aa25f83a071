//! Messages of cells, as reports show them.

use crate::terminal;

/// A message in one line: its headline and, if that only introduces what follows, the next line.
pub(crate) fn in_a_line(message: &str) -> String {
    let (headline, lines) = headline(message);
    // The lines of a kernel's log say no more than the title of their splat.
    let is_shown = |line: &&str| !line.trim().is_empty() && !line.starts_with('[');
    let next = lines.and_then(|lines| lines.lines().next()).filter(is_shown);
    match (headline.ends_with(':'), next) {
        (true, Some(next)) => format!("{headline} {}", next.trim()),
        _ => headline.trim_end_matches(':').to_owned(),
    }
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
