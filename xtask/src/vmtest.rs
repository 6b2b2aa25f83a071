//! `cargo xtask vmtest`: boots kernels, runs the tracers in them, compares what they report.
//!
//! The command line is checked here too, so that `--help` and typing errors need no build. The host tool
//! then gets the same words.

use std::{env, ffi::OsString};

use anyhow::Result;
use clap::{ValueEnum as _, builder::PossibleValue};
use kernlab_cli::{Exit, RunOptions, Scope, Selected};

use crate::{
    build, kernels,
    setup::{Consent, Purpose},
};

/// Boot kernels, run every tracer in them, compare its events with the golden snapshots.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    options: RunOptions,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    // Behind the names of this program and this command.
    let given: Vec<OsString> = env::args_os().skip(2).collect();
    if args.options.list {
        return Err(build::host_tool()?.exec("run", &given, None));
    }
    let (guest, tool) = build::after_setup(Consent::Ask, Purpose::Work)?;
    let selection = selection(&args.options.selected);
    let guest = build::for_kernels(guest, &tool, &selection)?;
    let tool = kernels::with_installer(tool, &selection)?;
    Err(tool.exec("run", &given, Some(&guest)))
}

/// The kernels asked for, as the commands of `kernels` take them.
fn selection(selected: &Selected) -> Vec<OsString> {
    let Scope { tier, arch, .. } = &selected.scope;
    let option = |name: &str, value: Option<PossibleValue>| -> Vec<OsString> {
        value.into_iter().flat_map(|value| [name.into(), value.get_name().into()]).collect()
    };
    let tier = option("--tier", tier.and_then(|tier| tier.to_possible_value()));
    let arch = option("--arch", arch.and_then(|arch| arch.to_possible_value()));
    selected.kernels.iter().map(Into::into).chain(tier).chain(arch).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rstest::rstest;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[rstest]
    #[case("", "")]
    #[case("--kernel 6.1 --arch arm64", "6.1 --arch aarch64")]
    #[case("--backend aya --kernel 5.15 --tier extended --kernel 6.1", "5.15 6.1 --tier extended")]
    fn the_tier_says_which_kernels_are_meant(#[case] line: &str, #[case] expected: &str) {
        let line = ["vmtest"].into_iter().chain(line.split_whitespace());
        let args = selection(&Line::parse_from(line).args.options.selected);
        assert_eq!(args, expected.split_whitespace().collect::<Vec<_>>());
    }

    #[rstest]
    #[case("--backend bcc")]
    #[case("--btf no")]
    #[case("--tier some")]
    #[case("--jobs 0")]
    #[case("--repeat 0")]
    #[case("--timeout 0")]
    #[case("--timings=yes")]
    #[case("--repeat 2 --update-snapshots")]
    #[case("debian-6.1")]
    fn a_typing_error_is_told_before_anything_is_built(#[case] line: &str) {
        let error = Line::try_parse_from(["vmtest"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.args)
            .unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
