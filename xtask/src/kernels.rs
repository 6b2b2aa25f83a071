//! `cargo xtask kernels`: the matrix and what it resolves to.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    build,
    exit::Exit,
    setup::{self, Consent, Purpose},
};

/// The command that boots kernels, and so needs the guest's programs.
const BOOTS: &str = "dossier";

/// List, resolve, fetch and examine kernels.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab kernels` takes: `list`, `update`, `fetch`, `gc`, `dossier`, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let help = args.rest.iter().any(|word| word == "--help" || word == "-h");
    let guest = if !help && args.rest.first().is_some_and(|word| word == BOOTS) {
        setup::ensure(Consent::Ask, Purpose::Work)?;
        Some(build::guest_programs()?)
    } else {
        None
    };
    Err(build::host_tool()?.exec("kernels", &args.rest, guest.as_ref()))
}
