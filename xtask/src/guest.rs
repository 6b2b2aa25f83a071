//! `cargo xtask guest`: builds the programs that run in guests.

use anyhow::Result;
use kernlab_cli::Exit;

use crate::{
    build,
    setup::{self, Consent, Purpose},
};

/// Build the programs that run in guests, and print their directory: the value of KERNLAB_GUEST.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: &Args) -> Result<Exit> {
    setup::ensure(Consent::Ask, Purpose::Work)?;
    println!("{}", build::guest_programs()?.dir_name()?);
    Ok(Exit::Success)
}
