//! The parts that the lab's command lines share: exit codes, kernel selection, and the options of a
//! run.
//!
//! Each option is declared only here. `cargo xtask vmtest` checks its command line with
//! [`RunOptions`] before it builds anything, `kernlab run` takes the same options, and the plan of
//! a run keeps them for the run's cells.

mod partition;

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    ops::RangeInclusive,
    path::PathBuf,
    process::{ExitCode, Termination},
    str::FromStr,
};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub use self::partition::Partition;

/// How a command ended: the exit codes of every command, explained in docs/exit-codes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything is as expected.
    Success = 0,
    /// A cell, a test or a check failed.
    Failure = 1,
    /// The command line, or a file that it names or needs, is wrong. clap exits with the same code.
    Usage = 2,
    /// The infrastructure failed, or something is missing, so the result is unknown.
    Infrastructure = 3,
}

impl Exit {
    /// The last lines of `--help`.
    pub const HELP: &str = "\
Exit codes: 0 all as expected; 1 a cell, test or check failed; 2 wrong usage or configuration; \
3 infrastructure failed, result unknown.";

    /// The combined exit code of two steps: a failure outranks a wrong command line, which outranks
    /// an infrastructure failure.
    #[must_use]
    pub fn and(self, other: Exit) -> Exit {
        let rank = |exit: &Exit| match exit {
            Exit::Success => 0,
            Exit::Infrastructure => 1,
            Exit::Usage => 2,
            Exit::Failure => 3,
        };
        std::cmp::max_by_key(self, other, rank)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

/// Which kernels of a release to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The kernels that run when none is named, on machines of their architecture.
    Default,
    /// All other kernels.
    Extended,
    /// All kernels.
    All,
}

/// Kernels of which architecture to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// x86-64.
    #[value(name = "x86_64", alias = "amd64")]
    #[serde(rename = "x86_64")]
    X86_64,
    /// arm64.
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
    /// Every architecture.
    All,
}

/// What a release selects, and whether the lock may grow.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Take the kernels of this tier when a release is given. Without it, those of the default tier, or
    /// all kernels of a release whose architecture has none in it.
    #[arg(long)]
    pub tier: Option<Tier>,
    /// Take kernels of this architecture. Without it, those of this machine's, where the selectors match
    /// any.
    #[arg(long)]
    #[serde(default)]
    pub arch: Option<Arch>,
    /// Take only kernels that are in kernels.lock, instead of resolving and adding missing ones.
    /// KERNLAB_LOCKED=1 in the environment means the same for every command.
    #[arg(long)]
    pub locked: bool,
}

/// The kernels to run, selected by options.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
pub struct Selected {
    /// A kernel to boot: an id, a release (`5.10`: its kernels of the default tier), a glob, `host`, `all`,
    /// or the path of an image. Repeatable; without it, the kernels of the default tier.
    #[arg(long = "kernel", value_name = "SEL")]
    pub kernels: Vec<String>,
    /// What a release selects.
    #[command(flatten)]
    pub scope: Scope,
}

/// An upper bound: the plan of a run lists every attempt.
const MOST_REPEATS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// A day. No cell takes longer.
const MOST_SECONDS: NonZeroU32 = NonZeroU32::new(24 * 60 * 60).unwrap();

/// Far more guests than any machine has room for.
const MOST_JOBS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Parses the value of an option. The error says what is expected.
pub fn whole_number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number
        .ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

fn repeats(text: &str) -> Result<NonZeroU32, String> {
    whole_number(text, NonZeroU32::MIN..=MOST_REPEATS)
}

/// Parses a timeout.
pub fn seconds(text: &str) -> Result<NonZeroU32, String> {
    whole_number(text, NonZeroU32::MIN..=MOST_SECONDS)
}

/// Parses a number of guests.
pub fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    whole_number(text, NonZeroUsize::MIN..=MOST_JOBS)
}

/// How cells are run, whatever is in them.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
pub struct Execution {
    /// Run only this part of the cells, such as 1/4 to 4/4 on four machines that share a run.
    #[arg(long, value_name = "PART/OF")]
    pub partition: Option<Partition>,
    /// Boot a guest for every cell instead of restoring a saved one.
    #[arg(long)]
    pub cold: bool,
    /// Run N guests at a time. By default as many as the machine has room for.
    #[arg(long, value_name = "N", value_parser = jobs)]
    pub jobs: Option<NonZeroUsize>,
    /// Repeat each cell N times. A cell whose outcome varies is `flaky`, which counts as a failure.
    #[arg(long, value_name = "N", value_parser = repeats, conflicts_with = "update_snapshots")]
    pub repeat: Option<NonZeroU32>,
    /// Copy the report to this directory.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

impl Execution {
    /// How many times each cell runs.
    pub fn repeats(&self) -> NonZeroU32 {
        self.repeat.unwrap_or(NonZeroU32::MIN)
    }
}

/// What to run.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunOptions {
    /// Which kernels to run.
    #[command(flatten)]
    pub selected: Selected,
    /// Run only the tracers of this backend.
    #[arg(long, value_parser = ["libbpf", "aya"])]
    pub backend: Option<String>,
    /// Run only scenarios whose `tracer/name` matches.
    #[arg(long, value_name = "GLOB")]
    pub scenario: Option<String>,
    /// List the scenarios, or those that --scenario selects, instead of running them.
    #[arg(long)]
    pub list: bool,
    /// Run only cells with this source of BTF; `masked` hides the kernel's BTF from user space.
    #[arg(long, value_name = "MODE", value_parser = ["embedded", "masked", "absent", "external"])]
    pub btf: Option<String>,
    /// How cells are run.
    #[command(flatten)]
    #[serde(flatten)]
    pub execution: Execution,
    /// Stop a cell after this many seconds (default 15; four times that without KVM).
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<NonZeroU32>,
    /// Write the observed events as the new golden snapshots, if the workload's ground truth confirms
    /// them.
    #[arg(long)]
    pub update_snapshots: bool,
    /// Print how long each stage of the cells took.
    #[arg(long)]
    pub timings: bool,
}

/// How suites of a user's own are run.
#[derive(Args, Clone, Debug, Default)]
pub struct TestOptions {
    /// Which kernels to run.
    #[command(flatten)]
    pub selected: Selected,
    /// Run only suites whose name matches.
    #[arg(long, value_name = "GLOB")]
    pub suite: Option<String>,
    /// Run with this source of BTF; `masked` hides the kernel's BTF from user space.
    #[arg(long, value_name = "MODE", value_parser = ["embedded", "masked", "absent"])]
    pub btf: Option<String>,
    /// How cells are run.
    #[command(flatten)]
    pub execution: Execution,
    /// Stop a cell after this many seconds instead of after the suite's `timeout`; four times that
    /// without KVM.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<NonZeroU32>,
    /// Write the observed events as the new golden snapshots, unless something else is wrong.
    #[arg(long)]
    pub update_snapshots: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(repeats("10000").unwrap(), MOST_REPEATS);
        for text in ["0", "10001", "4294967295", "-1", "1.5", "many", ""] {
            let error = repeats(text).unwrap_err();
            assert_eq!(error, "expected a whole number from 1 to 10000", "{text}");
        }
        assert!(seconds("86400").is_ok() && seconds("86401").is_err());
        assert!(jobs("1").is_ok() && jobs("0").is_err());
    }

    #[test]
    fn a_failure_outranks_everything() {
        assert_eq!(Exit::Infrastructure.and(Exit::Failure), Exit::Failure);
        assert_eq!(Exit::Usage.and(Exit::Infrastructure), Exit::Usage);
        assert_eq!(Exit::Success.and(Exit::Infrastructure), Exit::Infrastructure);
        assert_eq!(Exit::Success.and(Exit::Success), Exit::Success);
    }
}
