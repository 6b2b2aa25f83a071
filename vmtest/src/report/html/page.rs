//! The parts that all pages have in common. Each page is one self-contained file.

use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

use super::super::{headline, printable};

/// The style of all pages.
pub(crate) const STYLE: &str = include_str!("page.css");
/// The script that adds buttons to commands.
pub(crate) const COPY: &str = include_str!("copy.js");

/// A page with its title as the heading.
pub(crate) fn whole(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width";
            title { (title) }
            style { (PreEscaped(STYLE)) }
            main {
                h1 { (sentence(title)) }
                (content)
            }
        }
    };
    printable(&page.into_string())
}

/// Preformatted text, which can be scrolled with the keyboard.
pub(crate) fn preformatted(content: impl Render) -> Markup {
    html! { pre tabindex="0" { (content) } }
}

/// Preformatted text with a label.
pub(crate) fn part(title: &str, content: impl Render) -> Markup {
    html! {
        p.label { (title) }
        (preformatted(content))
    }
}

/// A command with a label. [`COPY`] adds a button that copies it.
pub(crate) fn command(title: &str, command: &str) -> Markup {
    html! {
        p.label { (title) }
        div.command { (preformatted(command)) }
    }
}

/// A unified diff with its changed lines marked.
pub(crate) fn diff(text: &str) -> Markup {
    html! {
        @for (number, line) in text.lines().enumerate() {
            @if number > 0 { "\n" }
            // The first two lines name the sides.
            @if number < 2 && (line.starts_with("--- ") || line.starts_with("+++ ")) { (line) }
            @else if line.starts_with('+') { ins { (line) } }
            @else if line.starts_with('-') { del { (line) } }
            @else { (line) }
        }
    }
}

/// A message: its first line as a sentence, the others preformatted.
pub(crate) fn message(message: &str) -> Markup {
    let (headline, lines) = headline(message);
    html! {
        @if !message.is_empty() { p { (sentence(headline)) } }
        @if let Some(lines) = lines { (preformatted(lines)) }
    }
}

/// A sentence, with text between backticks as code.
pub(crate) fn sentence(text: &str) -> Markup {
    let parts: Vec<_> = text.split('`').collect();
    html! {
        @for (number, part) in parts.iter().enumerate() {
            @if number % 2 == 0 { (part) }
            // The last backtick may have no counterpart.
            @else if number + 1 == parts.len() { "`" (part) }
            @else if part.is_empty() { "``" }
            @else { code { (part) } }
        }
    }
}

/// A name, in which a line may break after `/` and `_`.
pub(crate) fn name(text: &str) -> Markup {
    html! {
        @for part in text.split_inclusive(['/', '_']) {
            (part)
            @if part.ends_with(['/', '_']) { wbr; }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("`a<b` is `c`", "<code>a&lt;b</code> is <code>c</code>")]
    #[case("one ` only", "one ` only")]
    #[case("`a` and `", "<code>a</code> and `")]
    #[case("see ``` there", "see ``` there")]
    #[case("", "")]
    fn code_in_a_sentence(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(sentence(text).into_string(), expected);
    }

    #[test]
    fn a_diff_has_its_lines_marked() {
        let marked = diff("--- a\n+++ b\n@@ -1 +1 @@\n-<x>\n--- c\n+y\n z").into_string();
        let lines: Vec<_> = marked.lines().collect();
        assert_eq!(lines[..3], ["--- a", "+++ b", "@@ -1 +1 @@"]);
        assert_eq!(lines[3..5], ["<del>-&lt;x&gt;</del>", "<del>--- c</del>"]);
        assert_eq!(lines[5..], ["<ins>+y</ins>", " z"]);
    }
}
