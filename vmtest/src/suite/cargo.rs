//! The tests of a cargo project as suites: they are built once and listed here, and each runs in
//! guests of its own.

mod arguments;
pub(crate) mod listing;
pub(crate) mod messages;
pub(crate) mod name;

use std::{
    collections::BTreeSet,
    env,
    fs::File,
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use wait_timeout::ChildExt as _;

use self::arguments::{Ignored, TestArguments};
pub use self::{arguments::RefusedArgument, listing::NoListing, messages::TestProgram};
use super::{
    data::{DataError, DataRule},
    manifest::{Assertion, CargoTests, Suite},
    test_program::{self, Surroundings},
};

/// How long a program may take to list its tests.
const LISTING: Duration = Duration::from_secs(60);

/// What the harness prints of a test that passed, and of none that it skipped.
const ONE_PASSED: &str = r#"count(stdout ~ "^test result: ok\. 1 passed;") == 1"#;

/// Why there are no tests.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// Cargo can't be started.
    #[error("cannot start {program}: it is searched for in CARGO and in PATH")]
    NoCargo {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The tests can't be built.
    #[error("`{command}` failed: {status}")]
    Build {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// An argument for tests has no place.
    #[error(transparent)]
    Argument(#[from] RefusedArgument),
    /// A program did not list its tests.
    #[error("{} did not list its tests", program.display())]
    Listing {
        /// The program.
        program: PathBuf,
        /// Why.
        source: ListingError,
    },
    /// The data files can't be found.
    #[error(transparent)]
    Data(#[from] DataError),
    /// There are no tests.
    #[error("no test matches in the {programs} test programs that `{command}` built")]
    NoTests {
        /// How many programs there are.
        programs: usize,
        /// The command line.
        command: String,
    },
}

/// Why a program did not list its tests.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// It can't be run.
    #[error(transparent)]
    Run(#[from] io::Error),
    /// It failed.
    #[error("it ended: {0}")]
    Failed(ExitStatus),
    /// It did not end.
    #[error("it ran for {} s", LISTING.as_secs())]
    Overdue,
    /// It listed something else.
    #[error(transparent)]
    Format(#[from] NoListing),
    /// It is for another architecture, and did not run in a guest.
    #[error("in a guest: {0}")]
    Guest(String),
}

/// Runs a suite in a guest, and returns what it prints: what this machine can't run lists its tests there.
pub type InGuest<'a> = &'a dyn Fn(Suite) -> Result<String, ListingError>;

/// The tests of a project.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expanded {
    /// A suite for each test that runs.
    pub suites: Vec<Suite>,
    /// What users should know: which tests are ignored, which files are left out.
    pub remarks: Vec<String>,
}

impl CargoTests {
    /// The arguments of cargo that build the tests and tell where they are.
    fn arguments(&self) -> Vec<String> {
        let words = ["test", "--no-run", "--message-format", "json-render-diagnostics"];
        let mut words = words.map(str::to_owned).to_vec();
        let mut add = |option: &str, values: &[String]| {
            for value in values {
                words.extend([option.to_owned(), value.clone()]);
            }
        };
        let manifest: Vec<_> =
            self.manifest.iter().map(|path| path.display().to_string()).collect();
        add("--manifest-path", &manifest);
        add("--target", self.target.as_slice());
        add("--package", &self.packages);
        add("--test", &self.tests);
        add("--features", &self.features);
        if self.release {
            words.push("--release".to_owned());
        }
        words
    }

    /// The options of `kernlab test` that mean the same, and the arguments of the tests after `--`.
    pub fn words(&self) -> (Vec<String>, Vec<String>) {
        let built = self.arguments();
        let options = ["--cargo".to_owned()].into_iter().chain(built.into_iter().skip(4));
        (options.collect(), self.args.clone())
    }

    /// Builds the tests in this directory, lists them, and makes a suite like `template` of each. The
    /// names of the suites begin with `prefix`.
    pub fn expand(
        &self,
        directory: &Path,
        prefix: Option<&str>,
        template: &Suite,
        rule: Option<&DataRule>,
        in_guest: InGuest<'_>,
    ) -> Result<Expanded, CargoError> {
        let arguments = TestArguments::of(&self.args)?;
        let programs = self.build(directory)?;
        let mut expanded = Expanded::default();
        let mut ignored = Vec::new();
        let mut notices = BTreeSet::new();
        for program in &programs {
            let suite = of_program(program, prefix, template, rule, &mut notices)?;
            let harness = test_program::is_libtest(&program.path)
                .map_err(|error| not_listed(program, error.into()))?;
            if !harness {
                expanded.suites.push(with_arguments(suite, program, &self.args));
                continue;
            }
            let lister = |words: &[String]| match test_program::lists_here(&program.path)? {
                true => list_here(program, words),
                // It reads no data to do so.
                false => in_guest(Suite {
                    data: Default::default(),
                    ..with_arguments(suite.clone(), program, words)
                }),
            };
            let listed =
                Listed::of(&arguments, &lister).map_err(|source| not_listed(program, source))?;
            for (test, is_ignored) in listed.wanted(arguments.ignored) {
                let words = words_of_test(&test, is_ignored, &arguments.others);
                let suite = with_arguments(suite.clone(), program, &words);
                expanded.suites.push(Suite {
                    name: prefixed(prefix, &name::of_test(program, &test)),
                    assertions: vec![one_passed()],
                    ..suite
                });
            }
            let skipped = listed.skipped(arguments.ignored);
            ignored.extend(skipped.map(|test| name::of_test(program, test)));
        }
        if expanded.suites.is_empty() && ignored.is_empty() {
            return Err(CargoError::NoTests { programs: programs.len(), command: self.command() });
        }
        expanded.remarks.extend(
            notices
                .into_iter()
                .map(|notice| format!("{notice}; --data-limit MIB raises the limit")),
        );
        expanded.remarks.extend(ignored_tests(&ignored));
        Ok(expanded)
    }

    fn command(&self) -> String {
        format!("cargo {}", self.arguments().join(" "))
    }

    fn build(&self, directory: &Path) -> Result<Vec<TestProgram>, CargoError> {
        let cargo = env::var_os("CARGO").filter(|cargo| !cargo.is_empty());
        let cargo = cargo.unwrap_or_else(|| "cargo".into());
        let output = Command::new(&cargo)
            .args(self.arguments())
            .current_dir(directory)
            // Messages go to standard output; what users read stays on standard error.
            .stderr(Stdio::inherit())
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|source| CargoError::NoCargo {
            program: cargo.to_string_lossy().into_owned(),
            source,
        })?;
        match output.status.success() {
            true => Ok(messages::test_programs(&String::from_utf8_lossy(&output.stdout))),
            false => Err(CargoError::Build { command: self.command(), status: output.status }),
        }
    }
}

fn not_listed(program: &TestProgram, source: ListingError) -> CargoError {
    CargoError::Listing { program: program.path.clone(), source }
}

/// A suite that runs the whole program.
fn of_program(
    program: &TestProgram,
    prefix: Option<&str>,
    template: &Suite,
    rule: Option<&DataRule>,
    notices: &mut BTreeSet<String>,
) -> Result<Suite, DataError> {
    let mut environment = program.environment.clone();
    environment.extend(template.env.clone());
    let pairs: Vec<_> = environment.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let surroundings =
        Surroundings::of(&program.path, &program.directory, &pairs, &|path| path.exists());
    let data = surroundings.data(rule)?;
    notices.extend(data.notices);
    Ok(Suite {
        name: prefixed(prefix, &name::of_program(program)),
        env: environment,
        data: data.files.into(),
        is_test: true,
        directory: Some(program.directory.clone()),
        exit: Some(0),
        ..template.clone()
    })
}

fn prefixed(prefix: Option<&str>, name: &str) -> String {
    prefix.map_or_else(|| name.to_owned(), |prefix| format!("{prefix}/{name}"))
}

fn with_arguments(suite: Suite, program: &TestProgram, arguments: &[String]) -> Suite {
    let path = program.path.to_string_lossy().into_owned();
    suite.with_argv(std::iter::once(path).chain(arguments.iter().cloned()).collect())
}

/// The arguments with which a test program runs one of its tests, and `others` of the user's.
fn words_of_test(test: &str, is_ignored: bool, others: &[String]) -> Vec<String> {
    // Without `--exact`, tests whose names contain this one's would run as well.
    let words = ["--exact", test, "--nocapture"].into_iter();
    let words = words.chain(is_ignored.then_some("--ignored")).map(str::to_owned);
    words.chain(others.iter().cloned()).collect()
}

fn one_passed() -> Assertion {
    Assertion::parse(ONE_PASSED).unwrap_or_else(|error| unreachable!("{error}"))
}

/// One sentence, if tests are ignored.
fn ignored_tests(names: &[String]) -> Option<String> {
    const NAMED: usize = 5;
    let named = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let (is, more) = match names.len() {
        0 => return None,
        1 => ("1 ignored test was".to_owned(), String::new()),
        count if count <= NAMED => (format!("{count} ignored tests were"), String::new()),
        count => (format!("{count} ignored tests were"), format!(", and {} more", count - NAMED)),
    };
    Some(format!("{is} not run, `-- --include-ignored` runs them: {named}{more}"))
}

/// The tests of a program that the filters select.
struct Listed {
    all: Vec<String>,
    ignored: BTreeSet<String>,
}

impl Listed {
    fn of(arguments: &TestArguments, lister: Lister<'_>) -> Result<Self, ListingError> {
        Ok(Listed {
            all: list(lister, &arguments.filters, &[])?,
            ignored: list(lister, &arguments.filters, &["--ignored"])?.into_iter().collect(),
        })
    }

    /// The tests to run, and whether each is an ignored one.
    fn wanted(&self, ignored: Ignored) -> impl Iterator<Item = (String, bool)> {
        self.all.iter().filter_map(move |test| {
            let is_ignored = self.ignored.contains(test);
            let runs = match ignored {
                Ignored::Skipped => !is_ignored,
                Ignored::Only => is_ignored,
                Ignored::Included => true,
            };
            runs.then(|| (test.clone(), is_ignored))
        })
    }

    /// The ignored tests that do not run.
    fn skipped(&self, ignored: Ignored) -> impl Iterator<Item = &String> {
        self.ignored.iter().filter(move |_| ignored == Ignored::Skipped)
    }
}

/// Runs a program with these arguments, and returns what it prints.
type Lister<'a> = &'a dyn Fn(&[String]) -> Result<String, ListingError>;

/// Lists the tests of a program, which runs none of them.
fn list(
    lister: Lister<'_>,
    filters: &[String],
    more: &[&str],
) -> Result<Vec<String>, ListingError> {
    let words = ["--list", "--format", "terse"].iter().chain(more).copied();
    let words: Vec<String> = words.map(str::to_owned).chain(filters.iter().cloned()).collect();
    Ok(listing::names(&lister(&words)?)?)
}

/// What a program of this machine prints.
fn list_here(program: &TestProgram, arguments: &[String]) -> Result<String, ListingError> {
    let mut output: File = tempfile::tempfile()?;
    let mut child = Command::new(&program.path)
        .args(arguments)
        .envs(&program.environment)
        .current_dir(&program.directory)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(Stdio::null())
        .spawn()?;
    let Some(status) = child.wait_timeout(LISTING)? else {
        child.kill()?;
        child.wait()?;
        return Err(ListingError::Overdue);
    };
    if !status.success() {
        return Err(ListingError::Failed(status));
    }
    let mut text = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn cargo_is_told_what_to_build() {
        let tests = CargoTests {
            packages: names(&["a", "b"]),
            tests: names(&["it"]),
            features: names(&["x,y"]),
            release: true,
            manifest: Some("sub/Cargo.toml".into()),
            target: Some("aarch64-unknown-linux-gnu".to_owned()),
            args: names(&["maps"]),
        };
        let options = "--manifest-path sub/Cargo.toml --target aarch64-unknown-linux-gnu --package a \
                       --package b --test it --features x,y --release";
        let build = format!("test --no-run --message-format json-render-diagnostics {options}");
        assert_eq!(tests.arguments().join(" "), build);
        let (words, args) = tests.words();
        assert_eq!(words.join(" "), format!("--cargo {options}"));
        assert_eq!(args, ["maps"]);
    }

    #[test]
    fn a_test_runs_alone() {
        let words =
            |is_ignored| words_of_test("maps::a", is_ignored, &names(&["--quiet"])).join(" ");
        assert_eq!(words(false), "--exact maps::a --nocapture --quiet");
        assert_eq!(words(true), "--exact maps::a --nocapture --ignored --quiet");
    }

    #[rstest]
    #[case::normally(Ignored::Skipped, &["a", "c"], &["b"])]
    #[case::only_ignored(Ignored::Only, &["b"], &[])]
    #[case::all(Ignored::Included, &["a", "b", "c"], &[])]
    fn ignored_tests_run_if_they_are_asked_for(
        #[case] ignored: Ignored,
        #[case] wanted: &[&str],
        #[case] skipped: &[&str],
    ) {
        let listed =
            Listed { all: names(&["a", "b", "c"]), ignored: names(&["b"]).into_iter().collect() };
        let found: Vec<_> = listed.wanted(ignored).map(|(test, _)| test).collect();
        assert_eq!(found, wanted);
        assert_eq!(listed.skipped(ignored).collect::<Vec<_>>(), skipped);
    }

    #[test]
    fn ignored_tests_are_told() {
        assert_eq!(ignored_tests(&[]), None);
        let text = ignored_tests(&names(&["a", "b", "c", "d", "e", "f"])).unwrap();
        assert_eq!(
            text,
            "6 ignored tests were not run, `-- --include-ignored` runs them: a, b, c, d, e, and 1 more"
        );
    }

    /// This program is one of the harness.
    #[test]
    fn a_program_lists_its_tests() {
        let program = TestProgram {
            package: "own".to_owned(),
            kind: messages::Kind::Lib,
            name: "own".to_owned(),
            path: env::current_exe().unwrap(),
            directory: env::temp_dir(),
            environment: Default::default(),
        };
        let own = "suite::cargo::tests::a_program_lists_its_tests";
        let filters = names(&[own, "--exact"]);
        let lister = |words: &[String]| list_here(&program, words);
        assert_eq!(list(&lister, &filters, &[]).unwrap(), [own]);
        assert_eq!(list(&lister, &filters, &["--ignored"]).unwrap(), [""; 0]);
        let missing = TestProgram { path: "/no/such/program".into(), ..program.clone() };
        assert!(matches!(list_here(&missing, &[]), Err(ListingError::Run(_))));
        let other = TestProgram { path: "/bin/false".into(), ..program };
        assert!(matches!(list_here(&other, &[]), Err(ListingError::Failed(_))));
    }
}
