//! `kernlab run`: the matrix.

use std::{
    error::Error,
    fs, io,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use globset::GlobMatcher;
use kernlab_core::{
    cell::{BackendKind, BtfMode},
    outcome::Severity,
};
use kernlab_kernels::chain;
use kernlab_vmtest::{
    report::{Tally, predictions, table, timings},
    run::{self, Options, Outcomes, RunError, Show, plan::Filter, shards::Partition},
};

use crate::{Exit, selection::Selected, show::Terminal};

/// Boot kernels, run every tracer in them, compare its events with the golden snapshots.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selected: Selected,
    /// The directory of the programs that run in guests.
    #[arg(long, env = "KERNLAB_GUEST", value_name = "DIR")]
    guest: PathBuf,
    /// Only the tracers of this backend.
    #[arg(long)]
    backend: Option<BackendKind>,
    /// Only scenarios whose `tracer/name` matches.
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    scenario: Option<GlobMatcher>,
    /// Only this BTF mode.
    #[arg(long, value_name = "MODE")]
    btf: Option<BtfMode>,
    /// Only this part of the cells, for machines that share a run.
    #[arg(long, value_name = "PART/OF")]
    partition: Option<Partition>,
    /// Boot a guest for every cell, instead of restoring a saved one.
    #[arg(long)]
    cold: bool,
    /// Guests at a time.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Run each cell so often. One that does not always end with the same verdict is flaky.
    #[arg(long, value_name = "N", conflicts_with = "update_snapshots")]
    repeat: Option<NonZeroU32>,
    /// How long a cell may take under KVM; four times as long without.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<NonZeroU32>,
    /// Write what is observed as the new golden snapshots.
    #[arg(long)]
    update_snapshots: bool,
    /// Say where the time of the cells went, stage by stage.
    #[arg(long)]
    timings: bool,
    /// Copy the report to this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

fn glob(text: &str) -> Result<GlobMatcher, globset::Error> {
    globset::Glob::new(text).map(|glob| glob.compile_matcher())
}

/// Runs the matrix and says on standard output what came of it.
pub(crate) fn run(arguments: Arguments) -> Exit {
    let kernels = match arguments.selected.open() {
        Ok(kernels) => kernels,
        Err(exit) => return exit,
    };
    let options = Options {
        kernels: arguments.selected.selection(),
        filter: Filter {
            backend: arguments.backend,
            btf: arguments.btf,
            scenario: arguments.scenario,
        },
        partition: arguments.partition,
        guest: arguments.guest,
        jobs: arguments.jobs.map(NonZeroUsize::get),
        cold: arguments.cold,
        update_snapshots: arguments.update_snapshots,
        repeat: arguments.repeat,
        timeout: arguments.timeout,
    };
    let terminal = Arc::new(Terminal::new());
    let show: Arc<dyn Show> = Arc::clone(&terminal) as _;
    let Outcomes { report, dir } = match run::run(&kernels, &options, &show) {
        Ok(outcomes) => outcomes,
        Err(error @ (RunError::Select(_) | RunError::Allow(_) | RunError::NoCells)) => {
            return complain(&error, Exit::Usage);
        }
        Err(error) => return complain(&error, Exit::Infrastructure),
    };
    println!("\n{}", table::matrix(&report, terminal.width()));
    let unsupported = predictions::unsupported(&report);
    if !unsupported.is_empty() {
        println!("{unsupported}");
    }
    print!("{}", table::findings(&report));
    if arguments.timings {
        println!("{}", timings::profile(&report));
    }
    println!("{}", table::summary(&report));
    println!("evidence: {}", dir.path().display());
    if let Some(copies) = &arguments.report
        && let Err(error) = copy_report(dir.path(), copies)
    {
        eprintln!("error: failed to copy the report to {}: {error}", copies.display());
        return Exit::Infrastructure;
    }
    match Tally::of(&report.cells).severity() {
        Severity::Expected => Exit::Success,
        Severity::Failure => Exit::Failure,
        Severity::Inconclusive => Exit::Infrastructure,
    }
}

fn copy_report(run: &Path, copies: &Path) -> io::Result<()> {
    const FILE: &str = "report.json";
    fs::create_dir_all(copies)?;
    fs::copy(run.join(FILE), copies.join(FILE)).map(drop)
}

fn complain(error: &dyn Error, exit: Exit) -> Exit {
    eprintln!("error: {}", chain(error));
    exit
}
