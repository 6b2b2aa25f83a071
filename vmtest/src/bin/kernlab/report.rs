//! `kernlab report`: renders a run's report.

mod diff;
mod merge;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use kernlab_cli::Exit;
use kernlab_kernels::{chain, paths::Location};
use kernlab_vmtest::{
    report::{
        Report, html, junit, markdown,
        regression::{Regression, Side},
        table,
    },
    run::dir::RunDir,
};

use crate::{
    ci::output::summarise,
    failure::{self, Failure},
};

#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  kernlab report --format html --output report.html"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The run: its name, its directory, or the path of a report.json. By default the newest.
    #[arg(value_name = "RUN")]
    run: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what got worse, and why: between two runs of one matrix, or two kernels of one run.
    Diff(diff::Arguments),
    /// Add up several runs of one matrix, whole or in parts: how often cells ran, and which of them changed
    /// their verdict.
    Merge(merge::Arguments),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text, as at the end of a run.
    Text,
    /// Markdown.
    Markdown,
    /// Markdown within GitHub's size limit, appended to the summary of the current job.
    Github,
    /// A self-contained HTML page.
    Html,
    /// JUnit XML for CI systems.
    Junit,
    /// report.json itself.
    Json,
}

/// Writes the report. The run's verdict does not change the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Some(Command::Diff(arguments)) => return diff::run(arguments),
        Some(Command::Merge(arguments)) => return merge::run(arguments),
        None => {}
    }
    let (report, run) = read(arguments.run.as_deref())?;
    let text = render(&report, &run, arguments.format);
    let is_summary = arguments.format == Format::Github;
    deliver(arguments.output.as_deref(), is_summary, &text)?;
    Ok(Exit::Success)
}

/// Writes to a file or to standard output. Without a file, a summary is appended to the job summary
/// that GitHub names, if it names one.
fn deliver(output: Option<&Path>, is_summary: bool, text: &str) -> Result<(), Failure> {
    if let Some(path) = output {
        return fs::write(path, text).map_err(|error| {
            Failure::from(error).of(&format!("failed to write {}: ", path.display()))
        });
    }
    match is_summary && summarise(text)? {
        true => Ok(()),
        false => failure::print(text),
    }
}

/// The selected report, and its directory.
pub(crate) fn read(run: Option<&str>) -> Result<(Report, RunDir), Failure> {
    let path = find(run).map_err(|error| Failure::usage(error.to_string()))?;
    let report = Report::read(&path).map_err(|error| Failure::usage(chain(&error)))?;
    let dir = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok((report, RunDir::open(dir)))
}

/// The file of the selected report.
pub(crate) fn find(run: Option<&str>) -> Result<PathBuf, NoReport> {
    if let Some(path) = run.map(Path::new)
        && path.exists()
    {
        return match path.is_dir() {
            true => in_dir(path),
            false => Ok(path.to_owned()),
        };
    }
    let location = Location::current().map_err(|error| NoReport::Unknown(error.to_string()))?;
    let runs = location.runs_dir();
    let dir = runs.join(run.unwrap_or("latest"));
    if dir.exists() {
        return in_dir(&dir);
    }
    Err(NoReport::Unknown(match run {
        Some(run) => {
            format!("there is no run {run:?} in {}, and no file of that name", runs.display())
        }
        None => {
            let makes = match location {
                Location::Checkout(_) => "cargo xtask vmtest",
                Location::Project(_) | Location::Elsewhere(_) => "kernlab test",
            };
            format!("there is no report in {}: `{makes}` makes one", runs.display())
        }
    }))
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoReport {
    /// The run has none.
    #[error("{} has no {FILE}: the run did not end", .0.display())]
    Unfinished(PathBuf),
    /// There is no such run.
    #[error("{0}")]
    Unknown(String),
}

/// The report in a run's directory.
fn in_dir(dir: &Path) -> Result<PathBuf, NoReport> {
    let path = dir.join(FILE);
    match path.exists() {
        true => Ok(path),
        false if RunDir::is_one(dir) => Err(NoReport::Unfinished(dir.to_owned())),
        false => Err(NoReport::Unknown(format!("{} has no {FILE}", dir.display()))),
    }
}

const FILE: &str = "report.json";

fn render(report: &Report, run: &RunDir, format: Format) -> String {
    let side = Side { report, evidence: run };
    match format {
        Format::Text => table::run(side, table::WIDTH) + "\n",
        Format::Markdown => markdown::render(report, usize::MAX),
        Format::Github => markdown::render(report, markdown::GITHUB_LIMIT),
        Format::Html => {
            let causes = Regression::causes(side);
            html::render(report, &causes, &|cell| html::EvidenceLinks::read(run, cell))
        }
        Format::Junit => junit::render(report),
        Format::Json => report.to_json(),
    }
}
