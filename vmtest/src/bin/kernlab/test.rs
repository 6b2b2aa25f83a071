//! `kernlab test`: runs a user's own tracers on many kernels.

use std::{fs, path::Path, sync::Arc};

use clap::Args;
use kernlab_cli::{Exit, TestOptions};
use kernlab_kernels::chain;
use kernlab_vmtest::{
    report::{Tally, instructions, regression::Side, table},
    run::{Outcomes, RunObserver},
    suite::{
        invocation::Invocation,
        job::Circumstances,
        manifest::{FILE_NAME, Project, Suite},
        run::{self, Suites},
    },
};

use crate::{
    failure::{self, Failure, exit_of},
    selection,
    show::Terminal,
};

/// Run the suites of `kernlab.toml` on many kernels, or a command that tests itself.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab test
  kernlab test --kernel 6.1 --kernel 6.12 --suite opens
  kernlab test -- ./agent --self-test")]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: TestOptions,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    /// The description of the suites, instead of the nearest kernlab.toml at or above this directory.
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    config: Option<std::path::PathBuf>,
    /// Print the report as JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// A command that exits with 0 if all is well, instead of the suites.
    #[arg(trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

/// Runs suites, and prints the results on standard output.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { options, guest, json, command, .. } = arguments;
    let terminal = Arc::new(Terminal::new());
    let show: Arc<dyn RunObserver> = Arc::clone(&terminal) as _;
    let is_command = !command.is_empty();
    let tested = Tested::find(arguments.config.as_deref(), command)?;
    let kernels = selection::open(&options.selected.scope)?;
    let guest = guest.dir(&kernels)?;
    if let Some(copies) = &options.report {
        // Told now, and not after the run.
        check_dir(copies)?;
    }
    build(&tested.project)?;
    let Outcomes { report, dir } =
        run::run(&kernels, options, &tested.suites(), &guest, &show, &|_, _, _| {})?;
    if let Some(copies) = &options.report {
        copy_report(dir.path(), copies)?;
    }
    if *json {
        failure::print(&report.to_json())?;
    } else {
        let shown = match is_command {
            true => table::commands(&report),
            false => table::matrix(&report, terminal.width()),
        };
        failure::print(&format!(
            "\n{shown}\n{}{}{}\nevidence: {}\n",
            instructions::table(&report),
            table::findings(Side { report: &report, evidence: &dir }),
            table::summary(&report),
            dir.path().display()
        ))?;
    }
    Ok(exit_of(Tally::of(&report.cells).severity()))
}

/// What is tested: the suites of a project, or a command.
pub(crate) struct Tested {
    pub(crate) project: Project,
    at: Circumstances,
    invocation: Invocation,
}

impl Tested {
    /// The command, or else the suites of the file `config` or of the nearest one.
    pub(crate) fn find(config: Option<&Path>, command: &[String]) -> Result<Self, Failure> {
        let here = std::env::current_dir()?;
        if command.is_empty() {
            let project = read(config, &here)?;
            let at = Circumstances::of_project(&std::path::absolute(project.dir())?);
            let invocation = Invocation::Suites { config: config.map(Path::to_owned) };
            return Ok(Tested { project, at, invocation });
        }
        let suites = vec![Suite::command(command.to_vec())];
        let project = Project { path: here.join(FILE_NAME), kernels: vec![], build: None, suites };
        let at = Circumstances::of_process(&here, None);
        Ok(Tested { project, at, invocation: Invocation::Command { argv: command.to_vec() } })
    }

    /// For a run.
    pub(crate) fn suites(&self) -> Suites<'_> {
        Suites {
            suites: &self.project.suites,
            kernels: &self.project.kernels,
            at: self.at.clone(),
            invocation: self.invocation.clone(),
        }
    }
}

/// Reads the description of the suites.
pub(crate) fn read(config: Option<&Path>, here: &Path) -> Result<Project, Failure> {
    let path = match config {
        Some(path) => path.to_owned(),
        None => here
            .ancestors()
            .map(|dir| dir.join(FILE_NAME))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                Failure::usage(format!(
                    "there is no {FILE_NAME} at or above {}: `kernlab init` writes one, and `kernlab \
                     test -- PROGRAM` needs none",
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

/// Checks that a report can be written to a directory, and makes it if need be.
fn check_dir(copies: &Path) -> Result<(), Failure> {
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
