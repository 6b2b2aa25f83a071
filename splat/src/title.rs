//! Titles that are the same for every occurrence of one splat.

use std::borrow::Cow;

/// Titles are cut to this many characters: torn lines can be long.
const LONGEST: usize = 120;

/// A text without what differs between two occurrences of the same thing: addresses, offsets,
/// numbers, line numbers.
pub(crate) fn canonical(text: &str) -> String {
    let text = text.chars().filter(|char| !char.is_control()).collect::<String>();
    let mut canonical = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(char) = rest.chars().next() {
        let in_word =
            canonical.chars().next_back().is_some_and(|last| last.is_alphanumeric() || last == '_');
        let length = rest
            .find(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
            .unwrap_or(rest.len());
        if in_word || length == 0 {
            canonical.push(char);
            rest = &rest[char.len_utf8()..];
            continue;
        }
        let (word, behind) = rest.split_at(length);
        rest = behind;
        let of_source = SOURCES.iter().any(|end| canonical.ends_with(end));
        canonical.push_str(if of_source && is_number(word) { "LINE" } else { generalised(word) });
        if let Some(offset) = rest.strip_prefix("+0x") {
            rest = offset
                .trim_start_matches(|char: char| char.is_ascii_hexdigit() || "/x".contains(char));
        }
    }
    let words = canonical.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(LONGEST).collect::<String>().trim().to_owned()
}

/// What is in front of the number of a line.
const SOURCES: [&str; 4] = [".c:", ".h:", ".S:", ".rs:"];

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// A function's name without what differs between two occurrences: the tag of a BPF program,
/// kernel/bpf/core.c, and the key of a trampoline, kernel/bpf/trampoline.c.
pub(crate) fn stable_name(function: &str) -> Cow<'_, str> {
    if let Some(rest) = function.strip_prefix("bpf_prog_")
        && let Some((tag, name)) = rest.split_at_checked(16)
        && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return format!("bpf_prog_ADDR{name}").into();
    }
    let key = function.strip_prefix("bpf_trampoline_");
    if key.is_some_and(|key| key.split('_').all(is_number)) {
        return "bpf_trampoline_NUM".into();
    }
    function.into()
}

/// What stands for a word in a title.
fn generalised(word: &str) -> &str {
    let number = is_number(word);
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal
        && (digits.len() >= 6 && digits.bytes().any(|byte| byte.is_ascii_digit())
            || word.starts_with("0x"))
    {
        "ADDR"
    } else if number {
        "NUM"
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "VFS: Unable to mount root fs on unknown-block(0,0)",
        "VFS: Unable to mount root fs on unknown-block(NUM,NUM)"
    )]
    #[case("bad thing at ffff888012345678", "bad thing at ADDR")]
    #[case("in do_it+0x12/0x340 [ext4]", "in do_it [ext4]")]
    #[case("  many   spaces\u{7}", "many spaces")]
    #[case("bad thing at ./include/acme.h:12", "bad thing at ./include/acme.h:LINE")]
    #[case("ext4 sha256 ipv6_rcv", "ext4 sha256 ipv6_rcv")]
    fn what_differs_is_replaced(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(text), expected);
    }

    #[rstest]
    #[case("bpf_prog_8a9bcd12ef345678_handler", "bpf_prog_ADDR_handler")]
    #[case("bpf_prog_8a9bcd12ef345678", "bpf_prog_ADDR")]
    #[case("bpf_prog_load", "bpf_prog_load")]
    #[case("bpf_prog_test_run_tracing", "bpf_prog_test_run_tracing")]
    #[case("bpf_trampoline_6442503712", "bpf_trampoline_NUM")]
    #[case("bpf_trampoline_6442503712_0", "bpf_trampoline_NUM")]
    #[case("bpf_trampoline_link_prog", "bpf_trampoline_link_prog")]
    fn names_of_bpf_are_stable(#[case] function: &str, #[case] expected: &str) {
        assert_eq!(stable_name(function), expected);
    }
}
