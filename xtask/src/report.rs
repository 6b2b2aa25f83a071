//! `cargo xtask report`: a run's report, for whoever is to read it.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, exit::Exit};

/// Render the report of a run: as text, Markdown, HTML, JUnit's XML, or for a job on GitHub.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab report` takes: `--format`, `--output`, a run, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    Err(build::host_tool()?.exec("report", &args.rest, None))
}
