//! `kernlab report diff`: shows what got worse, and why.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kernlab_cli::Exit;
use kernlab_vmtest::report::{
    exit_of,
    markdown::GITHUB_LIMIT,
    regression::{Regression, Side, html, markdown},
};

use super::{deliver, read};
use crate::failure::Failure;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kernlab report diff 20261128T101500 latest")]
pub(super) struct Arguments {
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Compare two kernels of the run BASE, instead of two runs.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "head")]
    kernels: Option<Vec<String>>,
    /// The run to compare with: its name, its directory, or the path of a report.json.
    #[arg(value_name = "BASE")]
    base: String,
    /// The run to compare.
    #[arg(value_name = "HEAD", required_unless_present = "kernels")]
    head: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for a terminal.
    Text,
    /// Markdown.
    Markdown,
    /// Markdown within GitHub's size limit, appended to the summary of the current job.
    Github,
    /// A self-contained HTML page.
    Html,
    /// JSON, as described in docs/report-schema.md.
    Json,
}

/// Compares. The exit code says whether anything got worse.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let regression = compare(arguments)?;
    let text = match arguments.format {
        Format::Text => regression.to_string(),
        Format::Markdown => markdown::render(&regression, usize::MAX),
        Format::Github => markdown::render(&regression, GITHUB_LIMIT),
        Format::Html => html::render(&regression),
        Format::Json => regression.to_json(),
    };
    let is_summary = arguments.format == Format::Github;
    deliver(arguments.output.as_deref(), is_summary, &text)?;
    Ok(exit_of(regression.severity()))
}

fn compare(arguments: &Arguments) -> Result<Regression, Failure> {
    let (base, beside_base) = read(Some(&arguments.base))?;
    let base = Side { report: &base, evidence: &beside_base };
    match (arguments.kernels.as_deref(), &arguments.head) {
        (Some([old, new]), _) => Regression::of_kernels(base, old, new)
            .map_err(|error| Failure::usage(error.to_string())),
        (_, Some(head)) => {
            let (head, beside_head) = read(Some(head))?;
            Ok(Regression::of_runs(base, Side { report: &head, evidence: &beside_head }))
        }
        (_, None) => Err(Failure::usage("name a second run, or two kernels with --kernels")),
    }
}
