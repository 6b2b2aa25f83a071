//! `cargo xtask vmtest`: boots kernels, runs the tracers in them, compares what they report.
//!
//! The command line is checked here too, so that `--help` and typing errors need no build. The host tool
//! then gets the same words.

use std::{env, ffi::OsString};

use anyhow::Result;
use clap::ValueEnum as _;
use kernlab_cli::{Exit, RunOptions, Selected};

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
    let tool = kernels::with_installer(tool, &selection(&args.options.selected))?;
    Err(tool.exec("run", &given, Some(&guest)))
}

/// The kernels asked for, as the commands of `kernels` take them.
fn selection(selected: &Selected) -> Vec<OsString> {
    let tier = selected.scope.tier.and_then(|tier| tier.to_possible_value());
    let tier = tier.map(|tier| ["--tier".into(), tier.get_name().into()]);
    selected.kernels.iter().map(Into::into).chain(tier.into_iter().flatten()).collect()
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
