//! Commands that the host tool has: they are handed on in the words that were given.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    build,
    exit::Exit,
    setup::{Consent, Purpose},
};

/// What a command of the host tool takes, `--help` included.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Words {
    /// As `--help` tells.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

/// A command that only reads.
pub(crate) fn run(command: &str, args: &Words) -> Result<Exit> {
    Err(build::host_tool()?.exec(command, &args.rest, None))
}

/// A command that boots kernels: what that takes is installed and built.
pub(crate) fn run_with_guest(command: &str, args: &Words) -> Result<Exit> {
    let (guest, tool) = build::after_setup(Consent::Ask, Purpose::Work)?;
    Err(tool.exec(command, &args.rest, Some(&guest)))
}
