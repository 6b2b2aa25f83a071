//! `cargo xtask bench`: what the lab's own steps cost.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    build,
    exit::Exit,
    setup::{self, Consent, Purpose},
};

/// Measure what booting and running cost on this machine.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab bench` takes, `--help` included.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    setup::ensure(Consent::Ask, Purpose::Work)?;
    let guest = build::guest_programs()?;
    Err(build::host_tool()?.exec("bench", &args.rest, Some(&guest)))
}
