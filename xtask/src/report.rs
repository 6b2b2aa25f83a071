//! `cargo xtask report`: a run's report, for whoever is to read it.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, exit::Exit};

/// Render the report of a run, or tell what got worse from one to another (`report diff BASE HEAD`).
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab report` takes: `--format`, `--output`, a run, `diff`, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    Err(build::host_tool()?.exec("report", &args.rest, None))
}
