//! Commands that the host tool implements: it gets the arguments unchanged.

use std::ffi::OsString;

use anyhow::Result;

use kernlab_cli::Exit;

use crate::{
    build,
    setup::{Consent, Purpose},
};

/// The arguments of a host tool command, `--help` included.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// See `--help` of the command.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

/// Runs a command that boots no kernel.
pub(crate) fn run(command: &str, args: &Arguments) -> Result<Exit> {
    Err(build::host_tool()?.exec(command, &args.rest, None))
}

/// Runs a command that boots kernels, after installing and building what that needs.
pub(crate) fn run_with_guest(command: &str, args: &Arguments) -> Result<Exit> {
    let (guest, tool) = build::after_setup(Consent::Ask, Purpose::Work)?;
    Err(tool.exec(command, &args.rest, Some(&guest)))
}
