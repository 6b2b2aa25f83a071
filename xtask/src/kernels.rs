//! `cargo xtask kernels`: the matrix and what it resolves to.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    build,
    exit::Exit,
    setup::{self, Consent, Purpose},
};

/// The commands that boot kernels, and so need the guest's programs.
const BOOT: [&str; 2] = ["diff", "dossier"];

/// List, resolve, fetch and examine kernels.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What `kernlab kernels` takes: `list`, `update`, `fetch`, `gc`, `dossier`, `diff`, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let help = args.rest.iter().any(|word| word == "--help" || word == "-h");
    let boots = args.rest.first().is_some_and(|word| BOOT.iter().any(|command| word == command));
    let guest = if !help && boots {
        setup::ensure(Consent::Ask, Purpose::Work)?;
        Some(build::guest_programs()?)
    } else {
        None
    };
    Err(build::host_tool()?.exec("kernels", &args.rest, guest.as_ref()))
}
