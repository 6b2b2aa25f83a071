//! `kernlab matrix`: splits a run into shards, for CI.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{ArgGroup, Args};
use kernlab_cli::{Exit, Selected};
use kernlab_kernels::chain;
use kernlab_vmtest::{
    report::{Tally, exit_of, regression::Side, table},
    run::{
        dir::RunDir,
        identity,
        merge::{self, MergeError},
        plan::Filter,
        shards,
    },
};
use serde::Serialize;

use crate::{failure::Failure, kernels::Progress, selection};

#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("part").required(true).args(["shards", "merge"])),
    after_help = "Examples:\n  kernlab matrix --kernel all --shards 4\n  kernlab matrix --kernel all --merge shard-1 shard-2 --into merged"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selected: Selected,
    /// Divide the matrix into N shards, and print them as the `matrix` of a GitHub workflow.
    #[arg(long, value_name = "N", value_parser = shard_count)]
    shards: Option<NonZeroUsize>,
    /// Merge the reports in these directories into one.
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "into")]
    merge: Vec<PathBuf>,
    /// Write the merged report and all evidence to this directory, which must not exist or be empty.
    #[arg(long, value_name = "DIR", requires = "merge")]
    into: Option<PathBuf>,
}

/// More than any service runs jobs.
const MOST_SHARDS: usize = 10_000;

fn shard_count(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST_SHARDS);
    number.ok_or_else(|| format!("expected a number from 1 to {MOST_SHARDS}"))
}

/// `strategy.matrix` of a workflow.
#[derive(Serialize)]
struct Include {
    include: Vec<shards::Shard>,
}

/// What is no part of the run was named by mistake.
pub(crate) fn merge_failed(error: MergeError) -> Failure {
    match error {
        MergeError::NotEmpty(_)
        | MergeError::OtherRun { .. }
        | MergeError::Unidentified(_)
        | MergeError::Stray { .. }
        | MergeError::Twice { .. }
        | MergeError::Report(_) => Failure::usage(chain(&error)),
        MergeError::Evidence { .. } => Failure::infrastructure(&error),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (kernels, entries) = selection::selected(&arguments.selected)?;
    let cells = Filter::default().cells(&entries);
    let Some(into) = &arguments.into else {
        // The machines that run the shards share one lock, so that each resolves the same kernels.
        let progress = Progress::new();
        for entry in &entries {
            if let Err(error) = kernels.resolve(entry, &progress) {
                say!("warning: {}", chain(&error));
            }
        }
        let count = arguments.shards.map_or(1, NonZeroUsize::get);
        let include = Include { include: shards::shards(&cells, count) };
        return match serde_json::to_string(&include) {
            Ok(text) => {
                println!("{text}");
                Ok(Exit::Success)
            }
            Err(error) => unreachable!("shards are plain data: {error}"),
        };
    };
    let identity = identity::of_kernels(&kernels, &entries);
    let report =
        merge::merge(&cells, &arguments.merge, into, &identity, &[]).map_err(merge_failed)?;
    let dir = RunDir::open(into.clone());
    println!("{}", table::run(Side { report: &report, evidence: &dir }, table::WIDTH));
    Ok(exit_of(Tally::of(&report.cells).severity()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_bounded() {
        assert_eq!(shard_count("8").unwrap().get(), 8);
        for text in ["0", "10001", "4294967295", "-1"] {
            assert!(shard_count(text).unwrap_err().contains("from 1 to 10000"), "{text}");
        }
    }
}
