//! `cargo xtask deps`: what the tracers depend on.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    build,
    exit::Exit,
    setup::{self, Consent, Purpose},
};

/// Show what each tracer depends on, and what each kernel has of it.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab deps` takes: `--kernel SEL`, `--tracer NAME`, `--json`, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    setup::ensure(Consent::Ask, Purpose::Work)?;
    let guest = build::guest_programs()?;
    Err(build::host_tool()?.exec("deps", &args.rest, Some(&guest)))
}
