//! What a suite runs.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use kernlab_kernels::Arch;
use nix::sys::signal::Signal;

use super::{
    Assertion, BtfMode, Condition, Expectation, FileSpec, GuestSpec, Lost, Normalise, Order,
    Pattern,
};

/// What stands for the architecture of a kernel.
const ARCH: &str = "{arch}";

/// A tracer, a workload and what is expected of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Unique in its project: letters, digits, `_`, `.` and `-`.
    pub name: String,
    /// The tracer.
    pub subject: Subject,
    /// Shell lines that run in the guest before the tracer.
    pub setup: Vec<String>,
    /// How one sees that the tracer is attached.
    pub ready: Option<Ready>,
    /// What the tracer should see. Without one, the suite ends when the tracer does.
    pub workload: Option<Command>,
    /// How the tracer is stopped after the workload.
    pub stop: Stop,
    /// For the whole suite.
    pub timeout: Duration,
    /// The exit code that the tracer must have.
    pub exit: Option<i32>,
    /// The user that the tracer runs as, by name or number; root if there is none.
    pub user: Option<String>,
    /// Variables of the environment.
    pub env: BTreeMap<String, String>,
    /// What the guest gets.
    pub files: Vec<FileSpec>,
    /// What the guest gets at the same path, by absolute paths: files, links and empty directories.
    pub data: Arc<[PathBuf]>,
    /// Whether its program is that of a test harness, which belongs to the project wherever it is.
    pub is_test: bool,
    /// The working directory of its programs, instead of the project's.
    pub directory: Option<PathBuf>,
    /// Files in the guest that come back.
    pub collect: Vec<String>,
    /// Files and directories of the guest that programs see as empty.
    pub hide: Vec<String>,
    /// A tar archive or a directory that becomes the guest's root.
    pub root: Option<PathBuf>,
    /// The guest.
    pub guest: GuestSpec,
    /// BTF modes, each a run of its own; empty for one mode that fits the kernel.
    pub btf: Vec<BtfMode>,
    /// What does not matter of the events. The project's rules are already in it.
    pub normalise: Normalise,
    /// Only these events count.
    pub events: Option<Condition>,
    /// The events as a person has read and agreed to them.
    pub golden: Option<PathBuf>,
    /// What the order of events means.
    pub order: Order,
    /// How many events may be lost.
    pub lost: Option<Lost>,
    /// What else must hold of the output.
    pub assertions: Vec<Assertion>,
    /// Kernels on which another outcome is right.
    pub expect: Vec<Expectation>,
}

impl Suite {
    /// For a whole suite.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// A suite that only runs a command, which must exit with 0.
    pub fn command(argv: Vec<String>) -> Suite {
        let suite = Suite::of("command".to_owned(), Subject::Run(Command::Argv(argv)));
        Suite { exit: Some(0), ..suite }
    }

    /// The suite with this program and these arguments.
    pub(crate) fn with_argv(self, argv: Vec<String>) -> Suite {
        Suite { subject: Subject::Run(Command::Argv(argv)), ..self }
    }

    /// The suite on kernels of this architecture, whose name stands for `{arch}` in what names files.
    pub(crate) fn on_arch(mut self, arch: Arch) -> Suite {
        let text = |text: &mut String| *text = text.replace(ARCH, arch.name());
        let path = |path: &mut PathBuf| {
            if let Some(given) = path.to_str() {
                *path = given.replace(ARCH, arch.name()).into();
            }
        };
        // In a shell's line, braces mean something else.
        let command = |command: &mut Command| {
            if let Command::Argv(argv) = command {
                argv.iter_mut().for_each(text);
            }
        };
        match &mut self.subject {
            Subject::Run(run) => command(run),
            Subject::Bpftrace(script) => path(script),
            Subject::Object(object) => path(&mut object.path),
        }
        self.workload.iter_mut().for_each(command);
        self.files.iter_mut().for_each(|file| path(&mut file.host));
        self.root.iter_mut().for_each(path);
        self
    }

    /// Whether two suites are tests of one program, and only their names and arguments differ.
    pub(crate) fn is_like(&self, other: &Suite) -> bool {
        let program = |suite: &Suite| match &suite.subject {
            Subject::Run(Command::Argv(argv)) if suite.is_test => argv.first().cloned(),
            _ => None,
        };
        let (name, subject) = (other.name.clone(), other.subject.clone());
        program(self).is_some_and(|own| program(other) == Some(own))
            && Suite { name, subject, ..self.clone() } == *other
    }

    /// The suite without what only says where this machine has its files.
    pub(crate) fn portable(&self) -> Suite {
        /// Beside `CARGO_*`, what cargo tells a test of where things are.
        const OF_CARGO: [&str; 2] = ["OUT_DIR", "LD_LIBRARY_PATH"];
        let mut suite = Suite { directory: None, data: Arc::default(), ..self.clone() };
        let name_alone = |path: &mut PathBuf| *path = path.file_name().unwrap_or_default().into();
        if let Subject::Run(Command::Argv(argv)) = &mut suite.subject
            && let Some(program) = argv.first_mut()
        {
            let mut path = PathBuf::from(&*program);
            name_alone(&mut path);
            *program = path.to_string_lossy().into_owned();
        }
        suite.files.iter_mut().for_each(|file| name_alone(&mut file.host));
        suite.root.iter_mut().for_each(name_alone);
        if suite.is_test {
            suite.env.retain(|name, _| {
                !name.starts_with("CARGO_") && !OF_CARGO.contains(&name.as_str())
            });
        }
        suite
    }

    /// A suite with nothing but a subject.
    pub(super) fn of(name: String, subject: Subject) -> Suite {
        Suite {
            name,
            subject,
            setup: Vec::new(),
            ready: None,
            workload: None,
            stop: Stop::default(),
            timeout: Suite::DEFAULT_TIMEOUT,
            exit: None,
            user: None,
            env: BTreeMap::new(),
            files: Vec::new(),
            data: Arc::default(),
            is_test: false,
            directory: None,
            collect: Vec::new(),
            hide: Vec::new(),
            root: None,
            guest: GuestSpec::default(),
            btf: Vec::new(),
            normalise: Normalise::default(),
            events: None,
            golden: None,
            order: Order::Strict,
            lost: None,
            assertions: Vec::new(),
            expect: Vec::new(),
        }
    }
}

/// The tests of a cargo project, each of which becomes a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct CargoSuite {
    /// What all of them have in common: its name is the beginning of theirs, and its subject is
    /// replaced.
    pub template: Suite,
    /// The tests.
    pub tests: CargoTests,
}

/// Which tests of a cargo project run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CargoTests {
    /// These packages of the workspace; those that cargo takes by default if there is none.
    pub packages: Vec<String>,
    /// Only these files of integration tests.
    pub tests: Vec<String>,
    /// Features to build with.
    pub features: Vec<String>,
    /// Whether to build with optimisations.
    pub release: bool,
    /// The project's `Cargo.toml`, if it is elsewhere.
    pub manifest: Option<PathBuf>,
    /// What to build for, as rustc names it, instead of this machine.
    pub target: Option<String>,
    /// What follows `--` of `cargo test`: filters, and options of the harness.
    pub args: Vec<String>,
}

/// What is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A program.
    Run(Command),
    /// A script of bpftrace.
    Bpftrace(PathBuf),
    /// A compiled BPF object.
    Object(ObjectSubject),
}

/// A compiled BPF object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSubject {
    /// The object, as written.
    pub path: PathBuf,
    /// Whether its programs are attached once they are loaded.
    pub attach: bool,
    /// How many instructions the verifier may process.
    pub max_instructions: Option<u64>,
    /// By how much their number may grow compared with the base run, in percent.
    pub max_growth_percent: Option<u32>,
}

/// Something to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments.
    Argv(Vec<String>),
    /// A line for `sh -c`.
    Shell(String),
}

impl Command {
    /// The program and its arguments, `sh -c` included.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Command::Argv(argv) => argv.clone(),
            Command::Shell(line) => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
        }
    }
}

/// How one sees that a tracer is attached.
#[derive(Debug, Clone, PartialEq)]
pub enum Ready {
    /// Its standard output matches.
    Stdout(Pattern),
    /// Its standard error matches.
    Stderr(Pattern),
    /// It has loaded so many BPF programs.
    Programs(u32),
}

/// The longest name of a suite, in bytes.
pub(crate) const LONGEST_NAME: usize = 100;

/// Whether a suite's name can have this character, though not as the first if it is a `.`.
pub(crate) fn is_of_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

/// Refuses what can't be the name of a suite, which is a part of paths.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.chars().all(is_of_names) && !name.starts_with('.') && name.len() <= LONGEST_NAME {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not the name of a suite: expected at most {LONGEST_NAME} letters, digits, `_`, `.` \
         and `-`, and no `.` first"
    ))
}

/// How a tracer is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The signal that it gets, without `SIG`: `INT`.
    pub signal: String,
    /// The time until it is killed.
    pub within: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { signal: "INT".to_owned(), within: Duration::from_secs(5) }
    }
}

impl Stop {
    /// The number of the signal; that of `INT` if there is no such signal.
    pub fn number(&self) -> i32 {
        signal_of(&self.signal).unwrap_or(Signal::SIGINT) as i32
    }
}

/// The signal of a name, which may begin with `SIG`.
pub(super) fn signal_of(name: &str) -> Option<Signal> {
    format!("SIG{}", name.strip_prefix("SIG").unwrap_or(name)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, argv: &[&str]) -> Suite {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        let suite = Suite::of(name.to_owned(), Subject::Run(Command::Argv(argv)));
        Suite { is_test: true, ..suite }
    }

    #[test]
    fn tests_are_alike_if_only_their_names_and_arguments_differ() {
        let (one, two) = (test("one", &["/it", "one"]), test("two", &["/it", "two", "--exact"]));
        assert!(one.is_like(&two));
        assert!(!one.is_like(&test("two", &["/other", "two"])));
        assert!(!one.is_like(&Suite { is_test: false, ..two.clone() }));
        assert!(!one.is_like(&Suite { user: Some("nobody".to_owned()), ..two.clone() }));
        assert!(!one.is_like(&Suite { setup: vec!["true".to_owned()], ..two.clone() }));
        assert!(!one.is_like(&Suite { root: Some("root.tar".into()), ..two.clone() }));
        let env = [("A".to_owned(), "1".to_owned())].into();
        assert!(!one.is_like(&Suite { env, ..two }));
    }

    #[test]
    fn where_things_are_is_no_part_of_a_suite() {
        let env = |name: &str| [(name.to_owned(), "/here".to_owned())].into();
        let here = Suite { env: env("CARGO_MANIFEST_DIR"), ..test("it", &["/here/it", "a"]) };
        let there = Suite { directory: Some("/there".into()), ..test("it", &["/there/it", "a"]) };
        assert_eq!(here.portable(), there.portable());
        let other = Suite { env: env("LEVEL"), ..there.clone() };
        assert_ne!(other.portable(), there.portable());
        assert_ne!(test("it", &["/here/it", "b"]).portable(), there.portable());
    }
}
