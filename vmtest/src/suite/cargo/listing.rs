//! The tests that a program of rustc's harness lists with `--list --format terse`.

/// What a harness listed is something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no test: expected NAME: test")]
pub struct NoListing(String);

/// The names of tests and benchmarks.
pub(crate) fn names(text: &str) -> Result<Vec<String>, NoListing> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| match line.rsplit_once(": ") {
            Some((name, "test" | "benchmark" | "bench")) if !name.is_empty() => Ok(name.to_owned()),
            _ => Err(NoListing(line.to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_test() {
        let text = "tests::reads: test\na::b: c - should panic: test\nspeed: benchmark\n";
        assert_eq!(names(text).unwrap(), ["tests::reads", "a::b: c - should panic", "speed"]);
        assert_eq!(names("\n").unwrap(), [""; 0]);
    }

    #[test]
    fn other_output_is_no_listing() {
        for text in ["running 3 tests\n", "a: test\n\n3 tests, 0 benchmarks\n", ": test\n"] {
            names(text).unwrap_err();
        }
    }
}
