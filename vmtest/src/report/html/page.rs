//! What all pages have in common: one file that needs no other, and text that stays text.

use std::fmt::Write as _;

use super::super::headline;

const STYLE: &str = include_str!("page.css");

/// The beginning of a page, up to its heading.
pub(in crate::report) fn begin(title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n<h1>{title}</h1>\n"
    )
}

/// A titled block; `html` is escaped already.
pub(in crate::report) fn part(page: &mut String, title: &str, html: &str) {
    let _ = writeln!(page, "<h4>{title}</h4>\n<pre tabindex=\"0\">{html}</pre>");
}

/// A unified diff, its lines marked.
pub(in crate::report) fn diff(text: &str) -> String {
    let line = |(number, line): (usize, &str)| {
        let text = escaped(line);
        match line.chars().next() {
            // What the two sides are.
            _ if number < 2 && (line.starts_with("--- ") || line.starts_with("+++ ")) => text,
            Some('+') => format!("<ins>{text}</ins>"),
            Some('-') => format!("<del>{text}</del>"),
            _ => text,
        }
    };
    text.lines().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// A message, with the lines that show it as they are.
pub(in crate::report) fn message(page: &mut String, message: &str) {
    let (headline, lines) = headline(message);
    let _ = writeln!(page, "<p>{}</p>", sentence(headline));
    if let Some(lines) = lines {
        let _ = writeln!(page, "<pre tabindex=\"0\">{}</pre>", escaped(lines));
    }
}

/// A sentence, in which what stands between backticks is code.
pub(in crate::report) fn sentence(text: &str) -> String {
    let mut html = String::new();
    let mut parts = text.split('`').peekable();
    let mut is_code = false;
    while let Some(part) = parts.next() {
        // The last backtick may have no counterpart.
        match (is_code, parts.peek().is_some()) {
            (true, true) if part.is_empty() => html += "``",
            (true, true) => html += &format!("<code>{}</code>", escaped(part)),
            (true, false) => html += &format!("`{}", escaped(part)),
            (false, _) => html += &escaped(part),
        }
        is_code = !is_code;
    }
    html
}

/// A name, which may be broken after the characters that divide it.
pub(in crate::report) fn name(text: &str) -> String {
    escaped(text).replace('/', "/<wbr>").replace('_', "_<wbr>")
}

/// Text that means nothing but itself, in content and in attributes.
pub(in crate::report) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '"' => escaped += "&quot;",
            '\n' | '\t' => escaped.push(character),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
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
        assert_eq!(sentence(text), expected);
    }

    #[test]
    fn a_diff_has_its_lines_marked() {
        let marked = diff("--- a\n+++ b\n@@ -1 +1 @@\n-<x>\n--- c\n+y\n z");
        let lines: Vec<_> = marked.lines().collect();
        assert_eq!(lines[..3], ["--- a", "+++ b", "@@ -1 +1 @@"]);
        assert_eq!(lines[3..5], ["<del>-&lt;x&gt;</del>", "<del>--- c</del>"]);
        assert_eq!(lines[5..], ["<ins>+y</ins>", " z"]);
    }
}
