//! Titles that are the same for every occurrence of one splat.

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
        canonical.push_str(generalised(word));
        if let Some(offset) = rest.strip_prefix("+0x") {
            rest = offset
                .trim_start_matches(|char: char| char.is_ascii_hexdigit() || "/x".contains(char));
        }
    }
    let words = canonical.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(LONGEST).collect::<String>().trim().to_owned()
}

/// What stands for a word in a title.
fn generalised(word: &str) -> &str {
    let number = word.bytes().all(|byte| byte.is_ascii_digit());
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
    #[case("ext4 sha256 ipv6_rcv", "ext4 sha256 ipv6_rcv")]
    fn what_differs_is_replaced(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(text), expected);
    }
}
