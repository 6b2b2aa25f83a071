//! `kernlab runner`: runs the test programs of cargo, nextest and Go in guests.

use std::{
    num::NonZeroU32,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

use clap::Args;
use kernlab_cli::{Execution, Scope, Selected, TestOptions};
use kernlab_core::outcome::Outcome;
use kernlab_kernels::{Entry, Kernels, Part, Store, chain};
use kernlab_vmtest::{
    lab::Stream,
    run::{Outcomes, RunObserver, scope_of},
    suite::{
        data::{self, DataRule},
        invocation::Invocation,
        job::RunContext,
        manifest::Suite,
        payload::Machine,
        run::{self, Suites},
        test_program::{self, Surroundings},
    },
    unused,
};

use crate::{
    failure::{self, Failure},
    guest_options::GuestOptions,
    input,
    passed_on::{exit_code, explain, not_run, write_to},
    selection,
    show::Terminal,
};

/// Run a test program of cargo, nextest or Go in a kernel, as their runner.
///
/// The program gets this directory as its working directory, this environment, and what is piped into
/// this command. It finds the files of its package at the same paths, but what version control
/// ignores. Its exit code becomes that of this command. If the lab could not run it, that is 125, and
/// if it took too long, 124. docs/runner.md tells more.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab runner --kernel 6.1 -- target/debug/deps/tests-1234 --exact a_test

  # .cargo/config.toml, for cargo test and cargo nextest run
  [target.x86_64-unknown-linux-gnu]
  runner = \"kernlab runner --kernel 6.1 --\"

  # Go
  go test -exec 'kernlab runner --kernel 6.1 --' ./...")]
pub(crate) struct Arguments {
    /// The kernel to boot: an id, a release of which one kernel is in the default tier, `host`, or the
    /// path of an image.
    #[arg(long, env = "KERNLAB_KERNEL", value_name = "SEL")]
    kernel: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    #[command(flatten)]
    machine: GuestOptions,
    #[command(flatten)]
    data: DataOptions,
    /// Kill the program after this many seconds; four times that without KVM.
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT, value_parser = kernlab_cli::seconds)]
    timeout: NonZeroU32,
    /// The program and its arguments. A name without a slash is searched for in PATH.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

/// Which files of a project tests can read.
#[derive(Args, Debug)]
pub(crate) struct DataOptions {
    /// Give guests no files of the package, only test programs and what is named otherwise.
    #[arg(long)]
    no_data: bool,
    /// Leave out files of the package whose path matches, as a line of a .gitignore. Repeatable.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// The limit for the files of the package, in MiB. The largest files are left out.
    #[arg(long, value_name = "MIB", default_value_t = (data::DEFAULT_LIMIT >> 20) as u32)]
    data_limit: u32,
}

impl DataOptions {
    /// None if the guest gets no data.
    pub(crate) fn rule(&self) -> Option<DataRule> {
        let limit = u64::from(self.data_limit) << 20;
        (!self.no_data).then(|| DataRule { exclude: self.exclude.clone(), limit })
    }

    /// The options as they are given on a command line.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.no_data {
            words.push("--no-data".to_owned());
        }
        for glob in &self.exclude {
            words.extend(["--exclude".to_owned(), glob.clone()]);
        }
        if u64::from(self.data_limit) << 20 != data::DEFAULT_LIMIT {
            words.extend(["--data-limit".to_owned(), self.data_limit.to_string()]);
        }
        words
    }
}

/// A whole program of many tests may take as long as Go allows.
const TIMEOUT: NonZeroU32 = NonZeroU32::MIN.saturating_add(599);

/// Runs the program.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if let Some(program) = lists_here(&arguments.command) {
        let error = Command::new(program).args(&arguments.command[1..]).exec();
        let heading = format!("failed to run {}: ", program.display());
        return Ok(not_run(&Failure::from(error).of(&heading)));
    }
    match in_guest(arguments) {
        Ok(code) => Ok(code),
        Err(failure) => Ok(not_run(&failure)),
    }
}

/// The program, if it would only list its tests. That needs no kernel.
fn lists_here(command: &[String]) -> Option<&Path> {
    let (program, arguments) = command.split_first()?;
    let program = Path::new(program);
    let is_listing = program.components().count() > 1 && arguments.iter().any(|a| a == "--list");
    (is_listing && test_program::lists_here(program).unwrap_or(false)).then_some(program)
}

fn in_guest(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let kernels = selection::open(&arguments.scope)?;
    let here = std::env::current_dir()?;
    let program = here.join(&arguments.command[0]);
    let entry = only_entry(&kernels, &arguments.kernel, &arguments.scope, &program)?;
    let guest = arguments.guest.dir(&kernels)?;
    let input = input::for_runner()?;
    let at = RunContext::of_process(&here, input.as_ref().map(|file| file.path().to_owned()));
    let surroundings = Surroundings::of(&program, &here, &at.environment, &|path| path.exists());
    let data = surroundings
        .data(arguments.data.rule().as_ref())
        .map_err(|error| Failure::usage(chain(&error)))?;
    for notice in &data.notices {
        say!("kernlab runner: {notice}; --file PATH adds one, --data-limit MIB raises the limit");
    }
    let suite = Suite {
        data: data.files.into(),
        is_test: true,
        ..arguments.machine.suite(arguments.command.clone())
    };
    let runs = runs_dir(&surroundings, kernels.store());
    let invocation =
        Invocation::Runner { options: given_options(arguments), argv: arguments.command.clone() };
    let suites = Suites {
        suites: std::slice::from_ref(&suite),
        kernels: &[],
        at,
        invocation,
        remarks: Vec::new(),
        runs: Some(runs.clone()),
    };
    let options = TestOptions {
        selected: Selected { kernels: vec![entry.selector()], scope: arguments.scope.clone() },
        execution: Execution { cold: arguments.machine.cold, ..Execution::default() },
        timeout: Some(arguments.timeout),
        ..TestOptions::default()
    };
    let show: Arc<dyn RunObserver> = Arc::new(Terminal::quiet());
    let pass_on = |_: &str, stream: Stream, bytes: &[u8]| write_to(stream, bytes);
    // Nobody reads the report of a single test.
    let ran = run::run(&kernels, &options, &suites, &guest, &show, &pass_on);
    let (Outcomes { report, dir }, _) = failure::outcomes(ran)?;
    let [cell] = &report.cells[..] else {
        return Err(Failure::failed("the run of one program has another number of cells"));
    };
    if cell.outcome == Outcome::Pass {
        // Nobody looks at a thousand tests that passed.
        let _ = std::fs::remove_dir_all(dir.path());
    } else {
        explain(cell, &format!("kernlab runner: {}: ", entry.id));
        say!("evidence: {}", dir.path().display());
    }
    // What is left of tests that failed long ago.
    unused::remove_runs(&runs);
    Ok(exit_code(cell))
}

/// The one kernel that is selected. A release means the kernel of it that can run the program: cargo
/// starts the same runner for programs of every architecture.
fn only_entry(
    kernels: &Kernels,
    selector: &str,
    scope: &Scope,
    program: &Path,
) -> Result<Entry, Failure> {
    if let (None, Ok(Some(Machine::Known(arch)))) = (scope.arch, Machine::of_file(program))
        && let Ok(entry) = selection::only(kernels, &scope_of(scope, arch), selector)
    {
        return Ok(entry);
    }
    selection::only(kernels, scope, selector)
}

/// Where runs are kept: with what is built, which is no data of tests.
fn runs_dir(surroundings: &Surroundings, store: &Store) -> PathBuf {
    match (&surroundings.build, &surroundings.project) {
        (Some(build), _) => build.join("kernlab-runner"),
        (None, Some(project)) => project.join(".kernlab/runner"),
        (None, None) => store.root().join(Part::Runner.name()),
    }
}

fn given_options(arguments: &Arguments) -> Vec<String> {
    let mut words = arguments.machine.words();
    words.extend(arguments.data.words());
    if arguments.timeout != TIMEOUT {
        words.extend(["--timeout".to_owned(), arguments.timeout.to_string()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(command: &[&str]) -> bool {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        lists_here(&command).is_some()
    }

    #[test]
    fn only_listings_of_the_harness_that_is_known_run_here() {
        let own = std::env::current_exe().unwrap();
        let own = own.to_str().unwrap();
        assert!(lists(&[own, "--list", "--format", "terse"]));
        assert!(!lists(&[own, "a_test", "--exact"]));
        assert!(!lists(&["/bin/sh", "--list"]), "it has another harness");
        assert!(!lists(&["/no/such/program", "--list"]));
        assert!(!lists(&["ls", "--list"]));
    }
}
