//! `kernlab run`: runs the matrix.

use std::sync::Arc;

use clap::Args;
use kernlab_cli::{Exit, RunOptions};
use kernlab_vmtest::{
    report::{Tally, predictions, regression::Side, table, timings},
    run::{self, Outcomes, RunObserver},
};

use crate::{
    failure::{self, Failure},
    scenarios, selection,
    show::Terminal,
    test::{check_dir, copy_report},
};

/// Boot kernels, run every tracer in them, and compare its events with the golden snapshots.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kernlab run --kernel 6.1 --scenario 'inotify/*'")]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    guest: selection::GuestPrograms,
}

/// Runs the matrix and prints the results on standard output.
pub(crate) fn run(Arguments { options, guest }: &Arguments) -> Result<Exit, Failure> {
    scenarios::check(options.scenario.as_deref())?;
    crate::snapshots::check(options.update_snapshots)?;
    if options.list {
        failure::print(&scenarios::list(options.scenario.as_deref()))?;
        return Ok(Exit::Success);
    }
    let kernels = selection::open(&options.selected.scope)?;
    run::check_location(&kernels)?;
    if let Some(copies) = &options.execution.report {
        check_dir(copies)?;
    }
    let guest = guest.dir(&kernels)?;
    let terminal = Arc::new(Terminal::new());
    let show: Arc<dyn RunObserver> = Arc::clone(&terminal) as _;
    let ran = run::run(&kernels, options, &guest, &show);
    let (Outcomes { report, dir }, mut unwritten) = failure::outcomes(ran)?;
    println!("\n{}", table::matrix(&report, terminal.width()));
    let unsupported = predictions::unsupported(&report);
    if !unsupported.is_empty() {
        println!("{unsupported}");
    }
    if options.timings {
        println!("{}", timings::profile(&report));
    }
    println!("{}", table::results(Side { report: &report, evidence: &dir }));
    println!("evidence: {}", dir.path().display());
    if let (Some(copies), None) = (&options.execution.report, &unwritten) {
        unwritten = copy_report(dir.path(), copies).err();
    }
    failure::exit_of_run(Tally::of(&report.cells).severity(), unwritten)
}
