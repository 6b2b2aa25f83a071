//! `kernlab report merge`: the sum of several runs of one matrix.

use std::path::PathBuf;

use clap::Args;
use kernlab_cli::Exit;
use kernlab_vmtest::report::{exit_of, repeats::Repeats};

use super::{deliver, read};
use crate::failure::Failure;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kernlab report merge 20261128T101500 20261128T113000 latest")]
pub(super) struct Arguments {
    /// Write JSON, as described in docs/report-schema.md.
    #[arg(long)]
    json: bool,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The runs: names, directories, or paths of a report.json. Each is whole, or a part.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,
}

/// Adds up. The exit code says whether a cell fails, ended with different conclusive verdicts, or is unknown.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut reports = Vec::new();
    for name in &arguments.runs {
        let (report, _) = read(Some(name))?;
        // Counted once, however it is called.
        let is_known = |known: &&kernlab_vmtest::report::Report| {
            !report.run.id.is_empty()
                && (&known.run.id, &known.run.started) == (&report.run.id, &report.run.started)
        };
        if let Some(known) = reports.iter().find(is_known) {
            let message = format!("{name} is the run {}, which is named before", known.run.id);
            return Err(Failure::usage(message));
        }
        reports.push(report);
    }
    let repeats = Repeats::of(&reports);
    let text = if arguments.json { repeats.to_json() } else { repeats.to_string() };
    deliver(arguments.output.as_deref(), false, &text)?;
    Ok(exit_of(repeats.severity(&reports)))
}
