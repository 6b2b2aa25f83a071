//! The code of a source file without what is no code.

/// A language that BPF programs are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Language {
    C,
    Rust,
}

/// The lines of a source file. Comments, strings, attributes, imports and what the preprocessor reads are
/// blank, so that every character is where it is in the file.
pub(super) fn code(text: &str, language: Language) -> Vec<String> {
    let masked = without_comments_and_strings(text, language);
    let mut lines: Vec<String> = masked.lines().map(str::to_owned).collect();
    let mut inside = false;
    for line in &mut lines {
        let begins = inside || begins_no_code(line.trim_start(), language);
        if !begins {
            continue;
        }
        inside = match language {
            Language::C => line.ends_with('\\'),
            // An import or an attribute that goes on.
            Language::Rust if line.trim_start().starts_with('#') => false,
            Language::Rust => !line.trim_end().ends_with(';'),
        };
        *line = " ".repeat(line.len());
    }
    lines
}

fn begins_no_code(line: &str, language: Language) -> bool {
    match language {
        Language::C => line.starts_with('#'),
        Language::Rust => {
            line.starts_with('#') || line.starts_with("use ") || line.starts_with("pub use ")
        }
    }
}

fn without_comments_and_strings(text: &str, language: Language) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match rest {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            _ if first == '"' => string(rest),
            _ if first == '\'' && language == Language::C => character(rest),
            _ => {
                masked.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        let (blank, after) = rest.split_at(length);
        // A blank for each byte: what follows stays where it is.
        masked.extend(blank.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        rest = after;
    }
    masked
}

/// How long the string is that the text begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn character(text: &str) -> usize {
    text[1..].find('\'').map_or(text.len(), |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_is_blank_and_nothing_moves() {
        let text = "/* a < é */\n#define N(x) \\\n\t(x + 1)\nint n = \"a \\\" < b\"[1]; // n < 2\nn < 3;\n";
        let lines = code(text, Language::C);
        assert_eq!(lines[..3].concat().trim(), "");
        assert_eq!(lines[3].trim_end(), "int n =           [1];");
        assert_eq!(lines[4], "n < 3;");
    }

    #[test]
    fn rust_has_imports_and_attributes() {
        let text = "use a::{\n    b,\n};\n#[map(name = \"x\")]\nstatic X: u32 = 'a' as u32 + 1;\n";
        let lines = code(text, Language::Rust);
        assert_eq!(lines[..4].concat().trim(), "");
        assert_eq!(lines[4], "static X: u32 = 'a' as u32 + 1;");
    }
}
