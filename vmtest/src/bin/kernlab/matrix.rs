//! `kernlab matrix`: a run in parts, for CI.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{ArgGroup, Args};
use kernlab_cli::{Exit, Selected};
use kernlab_kernels::chain;
use kernlab_vmtest::{
    report::{Tally, table},
    run::{plan::Filter, shards},
};
use serde::Serialize;

use crate::{
    failure::{Failure, exit_of},
    kernels::Progress,
    selection,
};

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("part").required(true).args(["shards", "merge"])))]
pub(crate) struct Arguments {
    #[command(flatten)]
    selected: Selected,
    /// Divide the matrix, and print the parts in the form that a GitHub workflow's `matrix` takes.
    #[arg(long, value_name = "N")]
    shards: Option<NonZeroUsize>,
    /// Make one report of the runs in these directories.
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "into")]
    merge: Vec<PathBuf>,
    /// Where that goes, with the evidence of all of them.
    #[arg(long, value_name = "DIR", requires = "merge")]
    into: Option<PathBuf>,
}

/// `strategy.matrix` of a workflow.
#[derive(Serialize)]
struct Include {
    include: Vec<shards::Shard>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (kernels, entries) = selection::selected(&arguments.selected)?;
    let cells = Filter::default().cells(&entries);
    let Some(into) = &arguments.into else {
        // The machines that run the shards get one lock, which says the same to each.
        let progress = Progress::new();
        for entry in &entries {
            if let Err(error) = kernels.resolve(entry, &progress) {
                eprintln!("warning: {}", chain(&error));
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
    let report = shards::merge(&cells, &arguments.merge, into)
        .map_err(|error| Failure::infrastructure(&error))?;
    println!("{}", table::matrix(&report, 100));
    print!("{}", table::findings(&report));
    println!("{}", table::summary(&report));
    Ok(exit_of(Tally::of(&report.cells).severity()))
}
