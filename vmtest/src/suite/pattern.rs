//! Regular expressions that remember how they were written.

use std::fmt;

use regex::bytes::Regex;

/// A regular expression over bytes, because programs may print anything.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles an expression. `^` and `$` match at the ends of the whole text, unless it says
    /// `(?m)`; the conductor takes them for those of lines where a pattern tells readiness.
    ///
    /// The error is a fragment of one line.
    pub fn new(source: &str) -> Result<Self, String> {
        Regex::new(source).map(Pattern).map_err(|error| {
            // The last line of the message says what is wrong, those before it show where.
            let message = error.to_string();
            let last = message.trim_end().lines().last().unwrap_or_default().trim();
            let reason = last.strip_prefix("error: ").unwrap_or(last);
            format!("`{source}` is not a regular expression: {reason}")
        })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        self.0.as_str()
    }

    /// The compiled expression.
    pub fn regex(&self) -> &Regex {
        &self.0
    }

    /// Whether it matches anywhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_what_was_written() {
        let pattern = Pattern::new(r"lost (\d+)").unwrap();
        assert!(pattern.is_match(b"\xff lost 3"));
        assert_eq!(pattern.to_string(), r"lost (\d+)");
        assert_eq!(pattern, Pattern::new(r"lost (\d+)").unwrap());
        assert_ne!(pattern, Pattern::new("lost").unwrap());
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        assert_eq!(
            Pattern::new("lost (").unwrap_err(),
            "`lost (` is not a regular expression: unclosed group"
        );
    }
}
