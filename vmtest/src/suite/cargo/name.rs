//! The names of tests in cells: readable, and such that no two tests share one.

use kernlab_kernels::Digest;

use super::messages::{Kind, TestProgram};

/// The longest name of a test in a cell, in bytes. It is also that of a directory.
const LONGEST: usize = 180;
/// How much of the digest stands for the rest of a longer name.
const DIGITS: usize = 16;

/// `PACKAGE/lib` or `PACKAGE/test/NAME`.
pub(crate) fn of_program(program: &TestProgram) -> String {
    let package = safe(&program.package);
    let kind = match program.kind {
        Kind::Lib => return format!("{package}/lib"),
        Kind::Bin => "bin",
        Kind::Test => "test",
        Kind::Example => "example",
        Kind::Bench => "bench",
    };
    format!("{package}/{kind}/{}", safe(&program.name))
}

/// `PACKAGE/lib/module::test`.
pub(crate) fn of_test(program: &TestProgram, test: &str) -> String {
    format!("{}/{}", of_program(program), safe(test))
}

/// The text with only letters, digits, `_`, `-`, `.` and `:`. Other bytes become `%XX`, as does a
/// first `.`. If that is too long, `~` and a digest follow its beginning.
fn safe(text: &str) -> String {
    let mut name = String::new();
    for (at, byte) in text.bytes().enumerate() {
        let is_safe = byte.is_ascii_alphanumeric() || b"_-:".contains(&byte);
        match is_safe || (byte == b'.' && at > 0) {
            true => name.push(char::from(byte)),
            false => name.push_str(&format!("%{byte:02X}")),
        }
    }
    // In names of directories, a colon becomes three bytes.
    let mut length = 0;
    let fits = name.bytes().take_while(|byte| {
        length += if *byte == b':' { 3 } else { 1 };
        length <= LONGEST
    });
    let fits = fits.count();
    if fits < name.len() {
        name.truncate(fits.saturating_sub(DIGITS + 1));
        let digest = Digest::of(text.as_bytes()).to_string();
        name.push('~');
        name.push_str(&digest[..DIGITS]);
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("process::tests::stat_1", "process::tests::stat_1")]
    #[case("a b/c#2", "a%20b%2Fc%232")]
    #[case("größe", "gr%C3%B6%C3%9Fe")]
    #[case("..", "%2E.")]
    #[case("50%", "50%25")]
    #[case("a~b", "a%7Eb")]
    #[case("", "")]
    fn a_name_is_readable_and_safe(#[case] test: &str, #[case] expected: &str) {
        assert_eq!(safe(test), expected);
    }

    #[test]
    fn a_long_name_is_cut_and_stays_unique() {
        let long = "module::".repeat(100);
        let names: BTreeSet<String> =
            ["", "a", "b"].iter().map(|end| safe(&format!("{long}{end}"))).collect();
        assert_eq!(names.len(), 3);
        for name in names {
            assert!(name.replace(':', "%3A").len() <= LONGEST && name.contains('~'), "{name}");
        }
        assert_eq!(safe(&"x".repeat(LONGEST)).len(), LONGEST);
        assert_eq!(safe(&"x".repeat(LONGEST + 1)).len(), LONGEST);
    }
}
