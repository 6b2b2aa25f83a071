//! `cargo xtask guest`: builds the programs that run in guests.

use anyhow::Result;
use kernlab_cli::Exit;

use crate::{
    architecture::Architecture,
    build,
    setup::{self, Consent, Purpose},
};

/// Build the programs that run in guests, and print their directory: the value of KERNLAB_GUEST.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Also build those for guests of this architecture.
    #[arg(long)]
    arch: Option<Architecture>,
    /// Also build those of every architecture that this machine has the tools for: a build of kernlab
    /// embeds them.
    #[arg(long, hide = true, conflicts_with = "arch")]
    embed: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    setup::ensure(Consent::Ask, Purpose::Work)?;
    let programs = build::guest_programs()?;
    if args.arch == Some(Architecture::host().other()) {
        programs.with_foreign()?;
    }
    if args.embed {
        programs.with_foreign_if_possible()?;
    }
    println!("{}", programs.dir_name()?);
    Ok(Exit::Success)
}
