//! `kernlab test`: runs a user's own tracers on many kernels.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use kernlab_cli::{Exit, TestOptions};
use kernlab_kernels::{Arch, chain};
use kernlab_vmtest::{
    report::{Tally, instructions, regression::Side, table},
    run::{Outcomes, RunObserver, scope_of},
    suite::{
        manifest::{CargoTests, FILE_NAME, Project},
        run,
    },
};

use crate::{
    failure::{self, Failure},
    runner::DataOptions,
    selection,
    show::Terminal,
    tested::{Listers, Tested},
};

/// Run the suites of `kernlab.toml` on many kernels, a command that tests itself, or the tests of a
/// cargo project.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab test
  kernlab test --kernel 6.1 --kernel 6.12 --suite opens
  kernlab test --cargo --package my-tracer --kernel 5.10 --kernel 6.12 -- maps::
  kernlab test -- ./agent --self-test")]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: TestOptions,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    /// The description of the suites, instead of the nearest kernlab.toml at or above this directory.
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    config: Option<std::path::PathBuf>,
    /// Run the tests of the cargo project in this directory, each in guests of its own, instead of the
    /// suites. What follows `--` goes to the tests, as with `cargo test`.
    #[arg(long, conflicts_with = "config")]
    cargo: bool,
    #[command(flatten)]
    tests: CargoOptions,
    #[command(flatten)]
    data: DataOptions,
    /// List the selected cells instead of running them.
    #[arg(long, conflicts_with_all = ["json", "update_snapshots"])]
    list: bool,
    /// Print the report as JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// A command that exits with 0 if all is well, instead of the suites; or with --cargo, filters and
    /// options of the tests.
    #[arg(trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

/// Which tests of a cargo project run.
#[derive(Args, Debug)]
struct CargoOptions {
    /// With --cargo, a package whose tests run. Repeatable; by default those that cargo would test.
    #[arg(short, long, value_name = "PACKAGE", requires = "cargo")]
    package: Vec<String>,
    /// With --cargo, run only the integration tests of this name. Repeatable.
    #[arg(long, value_name = "NAME", requires = "cargo")]
    test: Vec<String>,
    /// With --cargo, features to build the tests with.
    #[arg(long, value_name = "FEATURES", requires = "cargo")]
    features: Vec<String>,
    /// With --cargo, build the tests with optimisations.
    #[arg(long, requires = "cargo")]
    release: bool,
    /// With --cargo, build the tests for this target, such as aarch64-unknown-linux-gnu. A release of
    /// kernels then means those of its architecture.
    #[arg(long, value_name = "TRIPLE", requires = "cargo")]
    target: Option<String>,
    /// With --cargo, the project's Cargo.toml, if it is not in this directory or above.
    #[arg(long, value_name = "PATH", requires = "cargo")]
    manifest_path: Option<PathBuf>,
}

impl CargoOptions {
    fn tests(&self, args: &[String]) -> CargoTests {
        CargoTests {
            packages: self.package.clone(),
            tests: self.test.clone(),
            features: self.features.clone(),
            release: self.release,
            manifest: self.manifest_path.clone(),
            target: self.target.clone(),
            args: args.to_vec(),
        }
    }

    /// Options that select kernels of the target's architecture, unless they say which.
    fn for_target(&self, options: &TestOptions) -> TestOptions {
        let mut options = options.clone();
        let scope = &mut options.selected.scope;
        // A triple begins with the architecture.
        let machine = self.target.as_deref().and_then(|target| target.split('-').next());
        if let (None, Some(arch)) = (scope.arch, machine.and_then(Arch::of_machine)) {
            *scope = scope_of(scope, arch);
        }
        options
    }
}

/// Runs suites, and prints the results on standard output.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { options, guest, json, command, cargo, .. } = arguments;
    crate::snapshots::check(options.update_snapshots)?;
    let terminal = Arc::new(Terminal::new());
    let show: Arc<dyn RunObserver> = Arc::clone(&terminal) as _;
    let is_command = !command.is_empty() && !cargo;
    let mut tested = match *cargo {
        true => Tested::cargo(arguments.tests.tests(command))?,
        false if is_command => Tested::command(command)?,
        false => Tested::project(arguments.config.as_deref())?,
    };
    let options = &arguments.tests.for_target(options);
    let kernels = selection::open(&options.selected.scope)?;
    let programs = guest.dir(&kernels)?;
    if let Some(copies) = &options.execution.report {
        // Told now, and not after the run.
        check_dir(copies)?;
    }
    let listers = Listers { kernels: &kernels, guest, options };
    // Only cargo knows its tests. What else a project builds is not needed for a list.
    if !arguments.list || !tested.project.cargo.is_empty() {
        tested.build(arguments.data.rule().as_ref(), listers)?;
    }
    if arguments.list {
        let cells = run::cells(&kernels, options, &tested.suites(), &*show)?;
        tested.remarks().iter().for_each(|remark| say!("{remark}"));
        failure::print(&cells.iter().map(|cell| format!("{cell}\n")).collect::<String>())?;
        return Ok(Exit::Success);
    }
    let ran = run::run(&kernels, options, &tested.suites(), &programs, &show, &|_, _, _| {});
    let (Outcomes { report, dir }, mut unwritten) = failure::outcomes(ran)?;
    if *json {
        failure::print_or_note(&report.to_json());
    } else {
        let overview = match is_command {
            true => table::commands(&report),
            false => table::matrix(&report, terminal.width()),
        };
        failure::print_or_note(&format!(
            "\n{overview}\n{}{}\nevidence: {}\n",
            instructions::table(&report),
            table::results(Side { report: &report, evidence: &dir }),
            dir.path().display()
        ));
    }
    if let (Some(copies), None) = (&options.execution.report, &unwritten) {
        unwritten = copy_report(dir.path(), copies).err();
    }
    failure::exit_of_run(Tally::of(&report.cells).severity(), unwritten)
}

/// The nearest description of suites, in a directory or above it.
pub(crate) fn find(here: &Path) -> Option<PathBuf> {
    // Reading says what is wrong with one that is not a file.
    here.ancestors().map(|dir| dir.join(FILE_NAME)).find(|path| path.symlink_metadata().is_ok())
}

/// Reads the description of the suites.
pub(crate) fn read(config: Option<&Path>, here: &Path) -> Result<Project, Failure> {
    let path = match config {
        Some(path) => path.to_owned(),
        None => find(here).ok_or_else(|| {
            Failure::usage(format!(
                "there is no {FILE_NAME} at or above {}: `kernlab init` writes one, and `kernlab test -- \
                 PROGRAM` needs none",
                here.display()
            ))
        })?,
    };
    Project::read(&path).map_err(|error| Failure::usage(chain(&error)))
}

/// Runs the project's build command, whose output the user sees.
pub(crate) fn build(project: &Project) -> Result<(), Failure> {
    let Some(line) = &project.build else { return Ok(()) };
    say!("build: {line}");
    let status = std::process::Command::new("sh")
        .args(["-c", line])
        .current_dir(project.dir())
        // What a build prints is not a result.
        .stdout(std::io::stderr())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::failed(format!("the build command `{line}` failed: {status}"))),
    }
}

/// Checks that a report can be written to a directory, and makes it if necessary.
pub(crate) fn check_dir(copies: &Path) -> Result<(), Failure> {
    let writable =
        fs::create_dir_all(copies).and_then(|()| tempfile::tempfile_in(copies)).map(drop);
    writable.map_err(|error| {
        Failure::usage(format!("--report: can't write to {}: {error}", copies.display()))
    })
}

/// Copies a run's report to a directory.
pub(crate) fn copy_report(run: &Path, copies: &Path) -> Result<(), Failure> {
    const FILE: &str = "report.json";
    let copied = fs::create_dir_all(copies)
        .and_then(|()| fs::copy(run.join(FILE), copies.join(FILE)).map(drop));
    copied.map_err(|error| {
        let heading = format!("failed to copy the report to {}: ", copies.display());
        Failure::from(error).of(&heading)
    })
}
