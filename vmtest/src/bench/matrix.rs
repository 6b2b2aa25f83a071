//! Measures runs of the matrix, as a user starts them.

use std::{
    io::{self, Write as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kernlab_cli::{RunOptions, Selected};
use kernlab_core::cell::BackendKind;

use super::{Named, Report, Summary};
use crate::{
    checkpoints::Checkpoints,
    machine::{self, MachineError},
    report::{self, CellReport, Tally},
    run::{self, RunError, RunObserver, plan::RunPlan, progress::ProgressEvent},
};
use kernlab_kernels::{Entry, Event, Kernels, Observer, SelectError, Silent};

/// What to run, and how often.
#[derive(Clone, Debug)]
pub struct MatrixBench {
    /// The kernels of the checkout, with their store.
    pub kernels: Kernels,
    /// Which kernels to run.
    pub selected: Selected,
    /// The directory of the programs that run in guests.
    pub guest: PathBuf,
    /// How often to run everything.
    pub rounds: NonZeroUsize,
}

/// Why the matrix can't be measured.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// A selector names no kernel.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A kernel is not available.
    #[error(transparent)]
    Kernel(#[from] kernlab_kernels::Error),
    /// The machine of a kernel can't be set up.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The run failed.
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

/// Measures in turn: all cells; the cells of one backend, then of the other; all cells without the
/// saved guests. `observe` is called before each round with its number, counted from 1.
pub fn matrix(bench: &MatrixBench, mut observe: impl FnMut(usize)) -> Result<Report, MatrixError> {
    let entries = bench.kernels.select(&run::selection(&bench.selected))?.entries;
    // A first run downloads, builds and saves what is missing, and is not measured.
    let (_, first) = run(bench, None)?;
    let (cells, jobs) = (first.cells.len(), first.run.jobs);
    let mut all = Vec::new();
    let mut kernels: Vec<(&str, Vec<Duration>)> =
        entries.iter().map(|entry| (entry.id.as_str(), Vec::new())).collect();
    let mut nothing_saved = Vec::new();
    let mut backends = BackendKind::ALL.map(|backend| (backend, Vec::new()));
    for number in 1..=bench.rounds.get() {
        observe(number);
        let (took, report) = run(bench, None)?;
        all.push(took);
        for (kernel, times) in &mut kernels {
            times.extend(mean(&report.cells, kernel));
        }
        for (backend, times) in &mut backends {
            times.push(run(bench, Some(*backend))?.0);
        }
        forget(bench, &entries)?;
        nothing_saved.push(run(bench, None)?.0);
    }
    let per_cell: Vec<Duration> = all.iter().map(|time| time.div_f64(cells as f64)).collect();
    let of = |times: &[Duration]| {
        Summary::of(times).unwrap_or_else(|| unreachable!("there is at least one round"))
    };
    let (all, nothing_saved) = (of(&all), of(&nothing_saved));
    let mut measurements = vec![("matrix".to_owned(), all), ("per cell".to_owned(), of(&per_cell))];
    measurements.extend(backends.iter().map(|(backend, times)| (backend.to_string(), of(times))));
    if let [_, _, ..] = kernels.as_slice() {
        let means = kernels
            .iter()
            .filter_map(|(kernel, times)| Some((format!("cell of {kernel}"), Summary::of(times)?)));
        measurements.extend(means);
    }
    measurements.push(("nothing saved".to_owned(), nothing_saved));
    Ok(Report {
        schema: 1,
        benchmark: "matrix",
        conditions: Named::of([
            ("kernels", entries.len().to_string()),
            ("cells", cells.to_string()),
            ("at a time", jobs.to_string()),
        ]),
        measurements: Named(measurements),
        ratios: Named::of([("nothing saved / matrix", nothing_saved.median_ms / all.median_ms)]),
    })
}

/// How long a cell of the kernel took on average, while others ran.
fn mean(cells: &[CellReport], kernel: &str) -> Option<Duration> {
    let times = cells.iter().filter(|cell| cell.kernel == kernel).map(|cell| cell.duration_ms);
    let times: Vec<u64> = times.collect();
    let count = u64::try_from(times.len()).ok().filter(|&count| count > 0)?;
    Some(Duration::from_millis(times.iter().sum::<u64>()) / u32::try_from(count).ok()?)
}

/// The duration of a run, and its report.
fn run(
    bench: &MatrixBench,
    backend: Option<BackendKind>,
) -> Result<(Duration, report::Report), MatrixError> {
    let options = RunOptions {
        selected: bench.selected.clone(),
        backend: backend.map(|backend| backend.to_string()),
        ..RunOptions::default()
    };
    let notices: Arc<dyn RunObserver> = Arc::new(Notices);
    let started = Instant::now();
    let outcomes = run::run(&bench.kernels, &options, &bench.guest, &notices)?;
    let took = started.elapsed();
    let report = outcomes.report;
    if report.run.exit_code != 0 {
        return Err(MatrixError::Verdicts {
            summary: Tally::of(&report.cells).to_string(),
            evidence: outcomes.dir.path().to_owned(),
        });
    }
    Ok((took, report))
}

/// Removes the kernels' saved guests.
fn forget(bench: &MatrixBench, entries: &[Entry]) -> Result<(), MatrixError> {
    let store = bench.kernels.store();
    for entry in entries {
        let kernel = bench.kernels.prepare(entry, &Silent)?;
        let bootable = machine::of_kernel(store, &kernel, &bench.guest, &[], &Silent)?;
        Checkpoints::of(store).forget(&bootable);
    }
    Ok(())
}

/// Prints only notices.
pub(super) struct Notices;

impl Observer for Notices {
    fn observe(&self, _: &str, _: Event<'_>) {}

    fn notice(&self, line: &str) {
        // Nobody has to read it.
        let _ = writeln!(io::stderr(), "note: {line}");
    }
}

impl RunObserver for Notices {
    fn begin(&self, _: &Path, _: &RunPlan) {}

    fn cell(&self, _: &str, _: &ProgressEvent) {}

    fn end(&self) {}
}
