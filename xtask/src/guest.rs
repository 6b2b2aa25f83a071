//! `cargo xtask guest`: builds the programs that run in guests.

use anyhow::Result;
use clap::ValueEnum;
use kernlab_cli::Exit;

use crate::{
    build,
    setup::{self, Consent, Purpose},
};

/// Build the programs that run in guests, and print their directory: the value of KERNLAB_GUEST.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Also build those for guests of this architecture.
    #[arg(long)]
    arch: Option<Arch>,
    /// Also build those of every architecture that this machine has the tools for: a build of kernlab
    /// embeds them.
    #[arg(long, hide = true, conflicts_with = "arch")]
    embed: bool,
}

/// An architecture of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    setup::ensure(Consent::Ask, Purpose::Work)?;
    let programs = build::guest_programs()?;
    if args.arch == Some(Arch::Aarch64) {
        programs.with_arm64()?;
    }
    if args.embed {
        programs.with_arm64_if_possible()?;
    }
    println!("{}", programs.dir_name()?);
    Ok(Exit::Success)
}
