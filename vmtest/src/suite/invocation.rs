//! The command line that ran suites, and that runs one cell of them again.

use std::{num::NonZeroU32, path::PathBuf};

use kernlab_core::cell::BtfMode;

use crate::report::SuiteKind;

/// How suites were run: a command line without the options that choose a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `kernlab test` with the suites of a `kernlab.toml`.
    Suites {
        /// The file, if the command line names it.
        config: Option<PathBuf>,
    },
    /// `kernlab test -- PROGRAM`.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// `kernlab test --cargo`.
    Cargo {
        /// What else was given: packages, features.
        options: Vec<String>,
        /// The arguments of the tests.
        args: Vec<String>,
    },
    /// `kernlab exec -- PROGRAM`.
    Exec {
        /// What else was given: files, memory, a root.
        options: Vec<String>,
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// `kernlab runner -- PROGRAM`.
    Runner {
        /// What else was given: files, memory, a root.
        options: Vec<String>,
        /// The program and its arguments.
        argv: Vec<String>,
    },
}

/// What chooses a cell on a command line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    /// The kernel's id, or the path of an image.
    pub(super) kernel: &'a str,
    /// The BTF mode, if it is not the one that the kernel has anyway.
    pub(super) btf: Option<BtfMode>,
    pub(super) suite: &'a str,
    /// How often the cell ran, if it was repeated.
    pub(super) repeat: Option<NonZeroU32>,
    /// In seconds, if the command line says so.
    pub(super) timeout: Option<NonZeroU32>,
}

impl Invocation {
    /// What its cells are.
    pub(super) fn kind(&self) -> SuiteKind {
        match self {
            Invocation::Suites { .. } => SuiteKind::Described,
            Invocation::Cargo { .. } => SuiteKind::CargoTest,
            Invocation::Command { .. } | Invocation::Exec { .. } | Invocation::Runner { .. } => {
                SuiteKind::Command
            }
        }
    }

    /// Whether there can be several suites, which users know by their names.
    pub(super) fn has_suites(&self) -> bool {
        self.kind() != SuiteKind::Command
    }

    /// The command that runs the cell again, quoted for a shell.
    pub(super) fn again(&self, choice: &Choice<'_>) -> String {
        let Choice { kernel, btf, suite, repeat, timeout } = *choice;
        let command = match self {
            Invocation::Suites { .. } | Invocation::Command { .. } | Invocation::Cargo { .. } => {
                "test"
            }
            Invocation::Exec { .. } => "exec",
            Invocation::Runner { .. } => "runner",
        };
        let mut words = ["kernlab", command, "--kernel", kernel].map(str::to_owned).to_vec();
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        if let Some(btf) = btf {
            option("--btf", btf.to_string());
        }
        if let Invocation::Suites { config: Some(config) } = self {
            option("--config", config.display().to_string());
        }
        if self.has_suites() {
            option("--suite", suite.to_owned());
        }
        // The options of the others have their timeout.
        if let Some(timeout) = timeout.filter(|_| command == "test") {
            option("--timeout", timeout.to_string());
        }
        if let Some(repeat) = repeat {
            option("--repeat", repeat.to_string());
        }
        let none = Vec::new();
        let (options, argv) = match self {
            Invocation::Suites { .. } => (&none, &none),
            Invocation::Command { argv } => (&none, argv),
            Invocation::Cargo { options, args } => (options, args),
            Invocation::Exec { options, argv } | Invocation::Runner { options, argv } => {
                (options, argv)
            }
        };
        words.extend(options.iter().cloned());
        if !argv.is_empty() {
            words.push("--".to_owned());
            words.extend(argv.iter().cloned());
        }
        let quoted = words.iter().map(|word| {
            shlex::try_quote(word).map_or_else(|_| format!("{word:?}"), |word| word.into_owned())
        });
        quoted.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[rstest]
    #[case::a_suite(
        Invocation::Suites { config: None },
        "kernlab test --kernel debian-6.1 --suite opens"
    )]
    #[case::of_a_named_file(
        Invocation::Suites { config: Some("a dir/kernlab.toml".into()) },
        "kernlab test --kernel debian-6.1 --config 'a dir/kernlab.toml' --suite opens"
    )]
    #[case::a_command(
        Invocation::Command { argv: vec!["sh".into(), "-c".into(), "a --suite b".into()] },
        "kernlab test --kernel debian-6.1 -- sh -c 'a --suite b'"
    )]
    #[case::runner(
        Invocation::Runner { options: words("--no-data"), argv: words("/t/deps/a-1 b::c --exact") },
        "kernlab runner --kernel debian-6.1 --no-data -- /t/deps/a-1 b::c --exact"
    )]
    #[case::cargo(
        Invocation::Cargo { options: words("--cargo --package demo"), args: words("maps") },
        "kernlab test --kernel debian-6.1 --suite opens --cargo --package demo -- maps"
    )]
    #[case::exec(
        Invocation::Exec { options: words("--memory 512"), argv: words("./tool --self-test") },
        "kernlab exec --kernel debian-6.1 --memory 512 -- ./tool --self-test"
    )]
    fn a_cell_can_be_run_again(#[case] invocation: Invocation, #[case] expected: &str) {
        let choice =
            Choice { kernel: "debian-6.1", btf: None, suite: "opens", repeat: None, timeout: None };
        assert_eq!(invocation.again(&choice), expected);
        assert_eq!(expected.contains(" --suite opens"), invocation.has_suites());
    }

    #[test]
    fn what_chooses_a_cell_is_named() {
        let choice = Choice {
            kernel: "/boot/vmlinuz 1",
            btf: Some(BtfMode::Masked),
            suite: "opens",
            repeat: NonZeroU32::new(5),
            timeout: NonZeroU32::new(60),
        };
        let suites = Invocation::Suites { config: None };
        let expected = "kernlab test --kernel '/boot/vmlinuz 1' --btf masked --suite opens --timeout 60 \
                        --repeat 5";
        assert_eq!(suites.again(&choice), expected);
    }
}
