//! `cargo xtask vmtest`: boots kernels, runs the tracers in them, compares what they report.
//!
//! The arguments are declared here too, so that `--help` and a typing error cost no build. The tool
//! that does the work gets them again in the same words.

use std::{
    ffi::OsString,
    num::{NonZeroU16, NonZeroU32},
    path::PathBuf,
};

use anyhow::Result;
use clap::{ArgAction, ValueEnum};

use crate::{
    build,
    exit::Exit,
    kernels,
    setup::{Consent, Purpose},
};

/// Boot kernels, run every tracer in them, compare its events with the golden snapshots.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Kernels to boot: an id, a release (`5.10` selects every entry of it), a glob, `host`, `all`,
    /// or the path of an image. Repeatable; without it, every kernel of the default tier.
    #[arg(long = "kernel", value_name = "SEL", action = ArgAction::Append)]
    kernels: Vec<String>,
    /// Which kernels of a release. Without it, those of the default tier, and all of a release that
    /// has none there.
    #[arg(long)]
    tier: Option<Tier>,
    /// Take only kernels that are in kernels.lock, instead of adding what it lacks.
    #[arg(long)]
    locked: bool,
    /// Only the tracers of this backend.
    #[arg(long)]
    backend: Option<Backend>,
    /// Only scenarios whose `tracer/name` matches.
    #[arg(long, value_name = "GLOB")]
    scenario: Option<String>,
    /// Where the kernel's type information comes from.
    #[arg(long, value_name = "MODE")]
    btf: Option<Btf>,
    /// Only this part of the cells, 1/4 to 4/4 for example, for machines that share a run.
    #[arg(long, value_name = "PART/OF")]
    partition: Option<String>,
    /// Boot every guest from scratch instead of restoring a saved one.
    #[arg(long)]
    cold: bool,
    /// Guests that run at a time.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroU16>,
    /// Run each cell so often. One that does not always end with the same verdict is flaky.
    #[arg(long, value_name = "N", conflicts_with = "update_snapshots")]
    repeat: Option<NonZeroU32>,
    /// How long a cell may take under KVM; four times as long without.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<NonZeroU32>,
    /// Write what was observed as the new golden snapshots.
    #[arg(long)]
    update_snapshots: bool,
    /// Say where the time of the cells went, stage by stage.
    #[arg(long)]
    timings: bool,
    /// Copy the report to this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Backend {
    Libbpf,
    Aya,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tier {
    Default,
    Extended,
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Btf {
    Embedded,
    Masked,
    Absent,
    External,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let (guest, tool) = build::after_setup(Consent::Ask, Purpose::Work)?;
    let tool = kernels::with_installer(tool, &args.selection())?;
    Err(tool.exec("run", &args.to_args(), Some(&guest)))
}

impl Args {
    /// The kernels asked for, as the commands of `kernels` take them.
    fn selection(&self) -> Vec<OsString> {
        let tier = self.tier.map(|tier| ["--tier".into(), word(tier)]);
        self.kernels.iter().map(Into::into).chain(tier.into_iter().flatten()).collect()
    }

    /// The command line that clap would read as these arguments.
    fn to_args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        let mut option = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                args.extend([format!("--{name}").into(), value]);
            }
        };
        for kernel in &self.kernels {
            option("kernel", Some(kernel.into()));
        }
        option("tier", self.tier.map(word));
        option("backend", self.backend.map(word));
        option("scenario", self.scenario.as_ref().map(Into::into));
        option("btf", self.btf.map(word));
        option("partition", self.partition.as_ref().map(Into::into));
        option("jobs", self.jobs.map(|jobs| jobs.to_string().into()));
        option("repeat", self.repeat.map(|repeat| repeat.to_string().into()));
        option("timeout", self.timeout.map(|seconds| seconds.to_string().into()));
        option("report", self.report.as_ref().map(Into::into));
        for (name, given) in [
            ("locked", self.locked),
            ("cold", self.cold),
            ("update-snapshots", self.update_snapshots),
            ("timings", self.timings),
        ] {
            args.extend(given.then(|| format!("--{name}").into()));
        }
        args
    }
}

fn word(value: impl ValueEnum) -> OsString {
    let value = value.to_possible_value().expect("no variant is skipped");
    value.get_name().into()
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
    #[case::nothing("")]
    #[case::kernels("--kernel debian-6.1 --kernel 5.* --kernel ./bzImage")]
    #[case::often("--kernel 6.1 --repeat 20")]
    #[case::a_filter("--backend aya --scenario inotify/* --btf masked")]
    #[case::everything(
        "--kernel all --tier extended --backend libbpf --scenario * --btf embedded --partition 1/4 --jobs 2 --timeout 3 --report out --locked --cold \
         --update-snapshots --timings"
    )]
    fn the_tool_gets_what_was_asked_for(#[case] line: &str) {
        let given = line.split_whitespace().collect::<Vec<_>>();
        let args = Line::parse_from(["vmtest"].iter().chain(&given)).args.to_args();
        assert_eq!(args, given);
    }

    #[rstest]
    #[case("", "")]
    #[case("--backend aya --kernel 5.15 --tier extended --kernel 6.1", "5.15 6.1 --tier extended")]
    fn the_tier_says_which_kernels_are_meant(#[case] line: &str, #[case] expected: &str) {
        let line = ["vmtest"].into_iter().chain(line.split_whitespace());
        let args = Line::parse_from(line).args.selection();
        assert_eq!(args, expected.split_whitespace().collect::<Vec<_>>());
    }

    #[rstest]
    #[case("--backend bcc")]
    #[case("--btf no")]
    #[case("--tier some")]
    #[case("--jobs 0")]
    #[case("--repeat 0")]
    #[case("--timeout 0")]
    #[case("--repeat 2 --update-snapshots")]
    #[case("debian-6.1")]
    fn a_typing_error_is_told_before_anything_is_built(#[case] line: &str) {
        let error = Line::try_parse_from(["vmtest"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.args)
            .unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
