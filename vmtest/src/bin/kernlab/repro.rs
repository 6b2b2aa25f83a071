//! `kernlab repro`: the command that runs one cell again.

use clap::Args;
use kernlab_cli::Exit;
use kernlab_vmtest::report::repro;

use crate::{
    failure::{self, Failure},
    report, why,
};

/// Print the command that runs one cell of a run again, or a script for another machine.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab repro debian-6.1/embedded/suite/opens
  kernlab repro 'debian-5.10/*/opens' --script")]
pub(crate) struct Arguments {
    /// The cell, as tables and reports name it, or a glob that matches only one.
    #[arg(value_name = "CELL")]
    cell: String,
    /// The run: its name, its directory, or the path of a report.json. By default the newest.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Print a shell script, which takes the directory of the project as its argument.
    #[arg(long)]
    script: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (report, _) = report::read(arguments.run.as_deref())?;
    let cell = why::find(&report, &arguments.cell)?;
    let text = match arguments.script {
        true => repro::script(&report, cell),
        false => cell.repro_command() + "\n",
    };
    failure::print(&text)?;
    Ok(Exit::Success)
}
