//! Measures the cells of a user's suites beside a cell of the lab's own tracers.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use kernlab_cli::{Execution, RunOptions, Selected, TestOptions};
use kernlab_kernels::Kernels;

use super::{Named, Report, Summary, matrix::Notices};
use crate::{
    report::{CellReport, Tally},
    run::{self, Outcomes, RunError, RunObserver},
    suite::run::{SuiteRunError, Suites},
};

/// The lab's own cell: a small tracer with a ring buffer.
const OWN: &str = "sys_write/files_and_pipes";

/// What to measure.
#[derive(Debug)]
pub struct SuitesBench<'a> {
    /// The kernels of the checkout, with their store.
    pub kernels: Kernels,
    /// The kernel, by its selector.
    pub kernel: String,
    /// The suites.
    pub suites: Suites<'a>,
    /// Only those whose name matches.
    pub suite: Option<String>,
    /// The directory of the programs that run in guests.
    pub guest: PathBuf,
    /// How often to run everything.
    pub rounds: NonZeroUsize,
}

/// Why suites can't be measured.
#[derive(Debug, thiserror::Error)]
pub enum SuitesError {
    /// The suites were not run.
    #[error(transparent)]
    Suites(#[from] SuiteRunError),
    /// The lab's own cell was not run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A cell failed: failing cells may be faster, so their times don't count.
    #[error("not every cell was as expected: {summary}; evidence: {evidence}")]
    Verdicts {
        /// How many cells had which outcome.
        summary: String,
        /// The directory of the run.
        evidence: PathBuf,
    },
}

/// Runs the lab's own cell and the suites in turn, one guest at a time. `observe` is called before
/// each round with its number, counted from 1.
pub fn suites(
    bench: &SuitesBench<'_>,
    mut observe: impl FnMut(usize),
) -> Result<Report, SuitesError> {
    let mut times = BTreeMap::<(usize, String), Vec<Duration>>::new();
    // A first run saves what later ones restore, and is not measured.
    for number in 0..=bench.rounds.get() {
        if number > 0 {
            observe(number);
        }
        for (rank, cells) in [own(bench)?, of_suites(bench)?].into_iter().enumerate() {
            for cell in cells.iter().filter(|_| number > 0) {
                let whole = [(String::new(), cell.duration_ms)];
                let stages = cell.stages_ms.iter().map(|(stage, ms)| (format!(": {stage}"), *ms));
                for (part, ms) in whole.into_iter().chain(stages) {
                    let name = format!("{}/{}{part}", cell.backend, cell.scenario);
                    times.entry((rank, name)).or_default().push(Duration::from_millis(ms));
                }
            }
        }
    }
    let measurements: Vec<(String, Summary)> = times
        .into_iter()
        .filter_map(|((_, name), times)| Some((name, Summary::of(&times)?)))
        .collect();
    let whole: Vec<_> = measurements.iter().filter(|(name, _)| !name.contains(": ")).collect();
    let ratios = whole.split_first().map_or_else(Vec::new, |((_, own), suites)| {
        let ratio = |summary: &Summary| summary.median_ms / own.median_ms;
        suites.iter().map(|(name, it)| (format!("{name} / own"), ratio(it))).collect()
    });
    Ok(Report {
        schema: 1,
        benchmark: "suites",
        conditions: Named::of([("kernel", bench.kernel.clone())]),
        measurements: Named(measurements),
        ratios: Named(ratios),
    })
}

fn selected(bench: &SuitesBench<'_>) -> Selected {
    Selected { kernels: vec![bench.kernel.clone()], ..Selected::default() }
}

fn own(bench: &SuitesBench<'_>) -> Result<Vec<CellReport>, SuitesError> {
    let options = RunOptions {
        selected: selected(bench),
        backend: Some("libbpf".to_owned()),
        scenario: Some(OWN.to_owned()),
        btf: Some("embedded".to_owned()),
        execution: Execution { jobs: Some(NonZeroUsize::MIN), ..Execution::default() },
        ..RunOptions::default()
    };
    passed(run::run(&bench.kernels, &options, &bench.guest, &notices())?)
}

fn of_suites(bench: &SuitesBench<'_>) -> Result<Vec<CellReport>, SuitesError> {
    let options = TestOptions {
        selected: selected(bench),
        suite: bench.suite.clone(),
        btf: Some("embedded".to_owned()),
        execution: Execution { jobs: Some(NonZeroUsize::MIN), ..Execution::default() },
        ..TestOptions::default()
    };
    let SuitesBench { kernels, suites, guest, .. } = bench;
    let heard = |_: &str, _, _: &[u8]| {};
    passed(crate::suite::run::run(kernels, &options, suites, guest, &notices(), &heard)?)
}

fn notices() -> Arc<dyn RunObserver> {
    Arc::new(Notices)
}

fn passed(outcomes: Outcomes) -> Result<Vec<CellReport>, SuitesError> {
    let Outcomes { report, dir } = outcomes;
    if report.run.exit_code == 0 {
        return Ok(report.cells);
    }
    let summary = Tally::of(&report.cells).to_string();
    Err(SuitesError::Verdicts { summary, evidence: dir.path().to_owned() })
}
