//! Which paths of a report are followed. A report may come from another machine, or from somebody who
//! wants to have a file read that is none of the run's.

use std::{
    fmt::Write as _,
    path::{Component, Path},
};

/// Longer paths are refused, in bytes.
const LONGEST: usize = 1024;

/// The path, if it is relative and stays inside its directory. Everything that reads or links to a
/// file which a report names asks this function.
pub fn inside(path: &str) -> Option<&Path> {
    let is_plain = |c: char| !c.is_control() && c != '\\';
    // `javascript:` and `C:` begin a path in no run.
    let has_scheme = path.split('/').next().is_some_and(|first| first.contains(':'));
    if path.is_empty() || path.len() > LONGEST || has_scheme || !path.chars().all(is_plain) {
        return None;
    }
    let path = Path::new(path);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// The same as a relative address for a page, with everything escaped that an address gives a meaning:
/// browsers take `%2e%2e` for `..`.
pub fn link(path: &str) -> Option<String> {
    let mut address = String::new();
    for part in inside(path)?.components() {
        if !address.is_empty() {
            address.push('/');
        }
        for byte in part.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    address.push(char::from(*byte));
                }
                byte => {
                    let _ = write!(address, "%{byte:02X}");
                }
            }
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::of_a_cell("cells/debian-6.1/masked/aya/t/s", Some("cells/debian-6.1/masked/aya/t/s"))]
    #[case::with_blanks("a b/ü", Some("a%20b/%C3%BC"))]
    #[case::that_browsers_resolve("cells/%2e%2e/x", Some("cells/%252e%252e/x"))]
    #[case::that_ends_the_path("cells/a?b#c", Some("cells/a%3Fb%23c"))]
    #[case::with_needless_parts("cells//a/./b/", Some("cells/a/b"))]
    #[case::with_colons("cells/a:b", Some("cells/a%3Ab"))]
    #[case::of_nothing("", None)]
    #[case::absolute("/etc/passwd", None)]
    #[case::of_another_host("//example.org/x", None)]
    #[case::above("../secret", None)]
    #[case::above_later("cells/../../secret", None)]
    #[case::the_run_itself(".", None)]
    #[case::a_script("javascript:alert(1)", None)]
    #[case::an_address("https://example.org/", None)]
    #[case::data("data:text/html,x", None)]
    #[case::with_backslashes("cells\\..\\..\\x", None)]
    #[case::with_control_characters("cells/a\nb", None)]
    #[case::with_nul("cells/a\0b", None)]
    fn only_paths_below_the_run_are_followed(#[case] path: &str, #[case] expected: Option<&str>) {
        assert_eq!(link(path).as_deref(), expected);
        assert_eq!(inside(path).is_some(), expected.is_some());
    }

    #[test]
    fn a_giant_path_is_refused() {
        assert!(inside(&"x".repeat(LONGEST)).is_some());
        assert_eq!(inside(&"x".repeat(LONGEST + 1)), None);
    }
}
