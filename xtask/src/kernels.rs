//! `cargo xtask kernels`: the matrix and what it resolves to.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, exit::Exit};

/// List, resolve and fetch kernels.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab kernels` takes: `list`, `update`, `fetch`, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    Err(build::host_tool()?.exec("kernels", &args.rest, None))
}
