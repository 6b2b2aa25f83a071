//! `cargo xtask matrix`: a run in parts, for CI.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, exit::Exit};

/// Divide the matrix into shards, and make one report of theirs.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab matrix` takes: `--shards`, `--merge`, `--into`, `--kernel`, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    Err(build::host_tool()?.exec("matrix", &args.rest, None))
}
