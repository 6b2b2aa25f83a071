//! `cargo xtask install`: installs `kernlab`, for use outside of this repository.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kernlab_cli::Exit;

use crate::{
    build,
    invocation::Invocation,
    setup::{self, Consent, Purpose},
};

/// The package of the program.
const PACKAGE: &str = "vmtest";
/// A profile that builds in a third of the time of a release.
const PROFILE: &str = "quick";

/// Install `kernlab`, which tests your own tracers in any directory: with the matrix and the programs
/// that run in guests.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Install into `DIR/bin`. By default where `cargo install` puts programs.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    setup::ensure(Consent::Ask, Purpose::Work)?;
    let guest = build::guest_programs()?;
    guest.with_foreign_if_possible()?;
    // Cargo says where it puts the program.
    installation(args)?.env(build::GUEST_VARIABLE, guest.dir_name()?).run(build::BUILD_DEADLINE)?;
    Ok(Exit::Success)
}

fn installation(args: &Args) -> Result<Invocation> {
    let install = Invocation::cargo([
        "install",
        "--path",
        PACKAGE,
        "--profile",
        PROFILE,
        "--locked",
        "--force",
    ]);
    let Some(root) = &args.root else { return Ok(install) };
    // Cargo runs in another directory than the user.
    let root = std::path::absolute(root).context("there is no current directory")?;
    let root = root.to_str().context("the directory's name is not in UTF-8")?;
    Ok(install.args(["--root", root]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_directory_is_the_user_s() {
        let line = |root: Option<&str>| {
            let args = Args { root: root.map(PathBuf::from) };
            installation(&args).unwrap().to_string()
        };
        let here = std::env::current_dir().unwrap();
        assert!(
            line(None).ends_with("cargo install --path vmtest --profile quick --locked --force")
        );
        let expected = format!("--root {}", here.join("there").display());
        assert!(line(Some("there")).ends_with(&expected), "{}", line(Some("there")));
        assert!(line(Some("/opt/kernlab")).ends_with("--root /opt/kernlab"));
    }
}
