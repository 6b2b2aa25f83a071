//! The arguments of a test harness, as they follow `--` of `cargo test`.

/// Options of rustc's harness with a value in the next word.
const WITH_VALUE: [&str; 5] = ["--skip", "--test-threads", "--color", "--shuffle-seed", "-Z"];

/// Options that would change which tests run, or how their results are read.
const REFUSED: [(&str, &str); 6] = [
    ("--list", "`kernlab test --list` lists the cells"),
    ("--format", "results are read in the harness's own format"),
    ("--logfile", "results are in the report"),
    ("--bench", "benchmarks are not run"),
    ("--shuffle", "each test runs in a guest of its own"),
    ("--help", "see `cargo test -- --help`"),
];

/// Which of the ignored tests run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ignored {
    /// None: they are only counted.
    #[default]
    Skipped,
    /// Only they.
    Only,
    /// They and the others.
    Included,
}

/// What of the arguments decides which tests run, and what goes to each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TestArguments {
    /// Filters, `--skip` and `--exact`.
    pub filters: Vec<String>,
    /// Everything else.
    pub others: Vec<String>,
    /// Of `--ignored` and `--include-ignored`.
    pub ignored: Ignored,
}

/// An argument that a run of single tests can't have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tests can't be given {option}: {why}")]
pub struct RefusedArgument {
    option: String,
    why: &'static str,
}

impl TestArguments {
    /// Sorts the arguments.
    pub(super) fn of(arguments: &[String]) -> Result<Self, RefusedArgument> {
        let mut sorted = TestArguments::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let option = word.split('=').next().unwrap_or_default();
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == option) {
                return Err(RefusedArgument { option: option.to_owned(), why });
            }
            let value = WITH_VALUE.contains(&&**word).then(|| words.next()).flatten();
            let place = match option {
                "--ignored" => {
                    sorted.ignored = Ignored::Only;
                    continue;
                }
                "--include-ignored" => {
                    sorted.ignored = Ignored::Included;
                    continue;
                }
                "--skip" | "--exact" => &mut sorted.filters,
                _ if word.starts_with('-') => &mut sorted.others,
                _ => &mut sorted.filters,
            };
            place.push(word.clone());
            place.extend(value.cloned());
        }
        Ok(sorted)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[rstest]
    #[case::nothing("", "", "", Ignored::Skipped)]
    #[case::filters("maps --skip slow --exact", "maps --skip slow --exact", "", Ignored::Skipped)]
    #[case::others("--test-threads 1 maps", "maps", "--test-threads 1", Ignored::Skipped)]
    #[case::with_equals("--skip=a --color=never", "--skip=a", "--color=never", Ignored::Skipped)]
    #[case::ignored("--ignored --show-output", "", "--show-output", Ignored::Only)]
    #[case::all("--include-ignored", "", "", Ignored::Included)]
    #[case::without_its_value("--skip", "--skip", "", Ignored::Skipped)]
    fn filters_decide_which_tests_run(
        #[case] given: &str,
        #[case] filters: &str,
        #[case] others: &str,
        #[case] ignored: Ignored,
    ) {
        let sorted = TestArguments { filters: words(filters), others: words(others), ignored };
        assert_eq!(TestArguments::of(&words(given)), Ok(sorted));
    }

    #[rstest]
    #[case("--list")]
    #[case("a --format=json")]
    #[case("--format json")]
    fn what_changes_results_is_refused(#[case] given: &str) {
        let error = TestArguments::of(&words(given)).unwrap_err().to_string();
        assert!(error.starts_with("the tests can't be given --"), "{error}");
    }
}
