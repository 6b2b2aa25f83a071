//! How two texts of events differ.

use std::time::Duration;

use similar::TextDiff;

/// How long the shortest diff is looked for. Where everything differs that takes quadratic time; any diff will
/// do then, though it may be another one the next time, and with it the fingerprint of a cause.
const SEARCH: Duration = Duration::from_secs(2);

/// The longest diff, in bytes: what nobody reads is in the evidence.
const LONGEST: usize = 256 << 10;

/// A unified diff with three lines of context. `sides` are the names of the two texts.
pub(crate) fn unified(before: &str, after: &str, sides: (&str, &str)) -> String {
    let diff = TextDiff::configure().timeout(SEARCH).diff_lines(before, after);
    let text = diff.unified_diff().context_radius(3).header(sides.0, sides.1).to_string();
    if text.len() <= LONGEST {
        return text;
    }
    let start = text.floor_char_boundary(LONGEST);
    let end = text[..start].rfind('\n').map_or(start, |newline| newline + 1);
    let left = text[end..].lines().count();
    format!("{}… {left} more lines\n", &text[..end])
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn many_events_are_compared_in_time_and_a_long_diff_is_cut() {
        let lines = |word: &str, count: usize| -> String {
            (0..count).map(|number| format!("{word} {number}\n")).collect()
        };
        let began = Instant::now();
        let diff = unified("nothing of all that\n", &lines("event", 300_000), ("old", "new"));
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert!(
            diff.starts_with(
                "--- old\n+++ new\n@@ -1 +1,300000 @@\n-nothing of all that\n+event 0\n"
            )
        );
        assert!(diff.len() <= LONGEST + 40, "{}", diff.len());
        let shown = diff.lines().filter(|line| line.starts_with("+event")).count();
        assert!(diff.ends_with(&format!("\n… {} more lines\n", 300_000 - shown)));

        let diff = unified(&lines("a", 30_000), &lines("b", 30_000), ("old", "new"));
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        assert!(diff.contains("-a 0\n"));
    }
}
