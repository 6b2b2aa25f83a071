//! Text of other programs on the user's terminal.

use std::{borrow::Cow, fmt::Write as _};

/// The text with an escape, such as `\u001b`, in place of each character that would do something to a
/// terminal or to the order of what it shows: control characters but for line ends and tabs, and those
/// that set the direction of text (Unicode Standard Annex 9).
///
/// In a JSON document these characters are only in strings, where such an escape means the same.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if acts(character) {
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character does something to a terminal or to the order of what it shows.
pub(crate) fn acts(character: char) -> bool {
    let directs = matches!(
        character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    directs || character.is_control() && !matches!(character, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("plain, ä, 漢\n\tindented\n", "plain, ä, 漢\n\tindented\n")]
    #[case::a_sequence("\u{1b}[2Jgone\u{7}", "\\u001b[2Jgone\\u0007")]
    #[case::of_one_character("\u{9b}31mred", "\\u009b31mred")]
    #[case::back_to_the_start("fail\rpass", "fail\\u000dpass")]
    #[case::deleted("a\u{7f}b\u{8}", "a\\u007fb\\u0008")]
    #[case::another_direction("a\u{202e}b\u{2066}c\u{200f}", "a\\u202eb\\u2066c\\u200f")]
    fn nothing_acts_on_a_terminal(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(shown(text), expected);
    }

    #[test]
    fn a_document_means_the_same() {
        let text = "a\u{1b}\u{9b}\u{7f}\u{202e}b";
        let document = serde_json::json!({ text: [text] }).to_string();
        let shown = shown(&document);
        assert_ne!(shown, document);
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read[text][0], text);
    }
}
