//! A run: executes the requested cells, each in its own process and guest, and reports on them.
//!
//! nextest starts the cells, and limits how many run at a time. This module decides which cells there
//! are, and collects their results.

pub(crate) mod allow_list;
pub(crate) mod capacity;
pub mod cell;
pub mod collect;
pub mod dir;
pub(crate) mod evidence;
pub mod identity;
pub(crate) mod judging;
pub mod life;
pub mod merge;
mod nextest;
pub mod nextest_cache;
mod order;
pub mod plan;
mod prediction;
mod preparation;
mod primed;
pub mod progress;
pub mod shards;

use std::{
    collections::BTreeSet,
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kernlab_cli::{RunOptions, Scope, Selected};
use kernlab_core::outcome::Outcome;

use self::{
    dir::{RunDir, write_json},
    nextest::{Ended, Nextest},
    plan::{Filter, RunPlan},
    preparation::Preparation,
    progress::{Listener, ProgressEvent},
};
use crate::{
    golden,
    report::{self, CellReport, Report, Run, SCHEMA, Tally},
    verdict::{self, RunInput},
};
use kernlab_kernels::{
    Arch, Archs, DocumentError, Entry, Kernels, Observer, SelectError, Selection, Tier, Tiers,
    interruption, paths::Location,
};

/// Why a run failed, or why its result can't be trusted.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A selector names no kernel.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The list of known splats can't be used.
    #[error(transparent)]
    Allow(#[from] DocumentError),
    /// A filter of the command line is not valid.
    #[error(transparent)]
    Filter(#[from] plan::FilterError),
    /// The filter leaves no cell.
    #[error(
        "there is no cell to run: the filter matches no scenario, backend and BTF mode of these kernels"
    )]
    NoCells,
    /// The command does not run in a checkout.
    #[error(
        "kernlab run needs a checkout of kernlab, with its tracers and golden snapshots: start it \
         there; kernlab test runs the suites of a project"
    )]
    NoCheckout,
    /// The guest programs are missing.
    #[error("no guest programs in {0}: `cargo xtask guest` builds them")]
    NoGuestPrograms(PathBuf),
    /// A file in the run's directory could not be read or written.
    #[error("failed to {action} in {dir}")]
    Dir {
        /// What failed.
        action: &'static str,
        /// The directory.
        dir: String,
        /// The error of the file system.
        #[source]
        source: io::Error,
    },
    /// The cells were run, and the run's report could not be written.
    #[error("the run's report could not be written")]
    Unwritten {
        /// What it would say.
        outcomes: Box<Outcomes>,
        /// Why.
        source: Box<RunError>,
    },
    /// nextest could not run the cells.
    #[error("nextest did not run the cells: {0}")]
    Nextest(String),
    /// A cell is missing or reported twice.
    #[error(transparent)]
    Census(#[from] report::CensusError),
}

/// Observes a run: its kernels, and also its cells.
pub trait RunObserver: Observer + Send + Sync {
    /// The run is about to start.
    fn begin(&self, dir: &Path, plan: &RunPlan);
    /// Something happened to a cell.
    fn cell(&self, cell: &str, event: &ProgressEvent);
    /// The last cell has ended.
    fn end(&self);
}

/// How long interrupted builds may take to remove their partial results.
const CLEANED_UP: Duration = Duration::from_secs(60);

/// The kernels that a command line selects.
pub fn selection(Selected { kernels, scope }: &Selected) -> Selection {
    let tiers = match scope.tier {
        None => Tiers::Preferred,
        Some(kernlab_cli::Tier::Default) => Tiers::Only(Tier::Default),
        Some(kernlab_cli::Tier::Extended) => Tiers::Only(Tier::Extended),
        Some(kernlab_cli::Tier::All) => Tiers::All,
    };
    let archs = match scope.arch {
        None => Archs::Host,
        Some(kernlab_cli::Arch::X86_64) => Archs::Only(Arch::X86_64),
        Some(kernlab_cli::Arch::Aarch64) => Archs::Only(Arch::Aarch64),
        Some(kernlab_cli::Arch::All) => Archs::All,
    };
    Selection { selectors: kernels.clone(), tiers, archs }
}

/// The same scope, for kernels that run programs of this architecture.
pub fn scope_of(scope: &Scope, arch: Arch) -> Scope {
    let arch = match arch {
        Arch::X86_64 => kernlab_cli::Arch::X86_64,
        Arch::Aarch64 => kernlab_cli::Arch::Aarch64,
    };
    Scope { arch: Some(arch), ..scope.clone() }
}

/// Refuses a run of the matrix outside of a checkout: its cells are a test binary of the checkout, and
/// so are the golden snapshots that they are compared with.
pub fn check_location(kernels: &Kernels) -> Result<(), RunError> {
    match kernels.location() {
        Location::Checkout(_) => Ok(()),
        Location::Project(_) | Location::Elsewhere(_) => Err(RunError::NoCheckout),
    }
}

/// Runs the requested cells, with the programs of the directory `guest`, and writes the report into
/// the directory of the run.
pub fn run(
    kernels: &Kernels,
    options: &RunOptions,
    guest: &Path,
    show: &Arc<dyn RunObserver>,
) -> Result<Outcomes, RunError> {
    let begun = Begun::now(guest)?;
    check_location(kernels)?;
    let (filter, partition) = (Filter::of(options)?, options.execution.partition);
    let chosen = kernels.select(&selection(&options.selected))?;
    for left_out in chosen.notices() {
        show.notice(&left_out);
    }
    let entries = kernels.with_modes_of_images(chosen.entries);
    let allow = allow_list::read(kernels.root())?;
    let cells = filter.cells(&entries);
    let cells = match partition {
        Some(partition) => partition.of(cells),
        None => cells,
    };
    // Kernels without a cell after the filter and the partition are not prepared.
    let wanted: BTreeSet<&str> = cells.iter().map(|cell| cell.kernel.as_str()).collect();
    let entries: Vec<_> =
        entries.into_iter().filter(|entry| wanted.contains(entry.id.as_str())).collect();
    let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
    if cells.is_empty() {
        return Err(RunError::NoCells);
    }
    let RunOptions { backend, scenario, btf, timeout, execution, .. } = options;
    let repeat = execution.repeat;
    let selected = format!(
        "backend {backend:?}, scenario {scenario:?}, btf {btf:?}, repeat {repeat:?}, timeout {timeout:?}"
    );
    let identity = identity::of_run(kernels, &entries, guest, &selected)
        .map_err(|source| RunError::in_dir("read the programs for guests in", guest, source))?;
    let runs = kernels.runs_dir();
    let before = RunDir::latest_report(&runs);
    let dir = new_dir(&runs)?;
    let at = |action, source| RunError::in_dir(action, dir.path(), source);

    // Cells run in other directories: their selectors have absolute paths.
    let kernels_of_run = entries.iter().map(Entry::selector).collect();
    let selected = Selected { kernels: kernels_of_run, ..options.selected.clone() };
    let own_options = RunOptions { selected, ..options.clone() };
    let mut plan = RunPlan { options: own_options, allow, ..RunPlan::of(cells, guest.to_owned()) };
    let preparation = Preparation::begin(kernels, &entries, &dir, &mut plan, &**show)
        .map_err(|source| at("record which kernels are not ready", source))?;
    plan.write(dir.path()).map_err(|source| at("write the plan", source))?;
    show.begin(dir.path(), &plan);

    let most_memory = entries.iter().map(|entry| entry.memory_mib).max().unwrap_or_default();
    let jobs =
        options.execution.jobs.map_or_else(|| capacity::guests(most_memory), NonZeroUsize::get);
    order::write(&plan, &preparation.order(), before.as_ref(), dir.path())
        .map_err(|source| at("write the cells' order", source))?;
    let listener = Listener::bind().map_err(|source| at("listen for progress", source))?;
    let nextest = Nextest {
        root: kernels.root(),
        matrix: kernels.matrix_dir(),
        run: dir.path(),
        progress: &listener.path(),
        jobs,
        update_snapshots: options.update_snapshots,
    };
    // From here on a signal ends the cells, and the run still writes its report.
    let hold = interruption::hold().map_err(|source| at("hold back signals", source))?;
    preparation.start(kernels, &dir, show);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(progress) = listener.next() {
                show.cell(&progress.cell, &progress.event);
            }
        });
        let ended = nextest.run();
        // All cells have ended, so this is the last message.
        let hung_up = listener.hang_up();
        ended.and_then(|ended| hung_up.map(|()| ended).map_err(|error| error.to_string()))
    });
    show.end();
    // No cell waits any longer for a build that is still running.
    hold.stop_others(CLEANED_UP);
    preparation::settle(&mut plan, &dir)
        .map_err(|source| at("read the state of the kernels", source))?;
    let planned = plan.write(dir.path());
    let mut cells = collect::cells(&dir, &plan, &Default::default())
        .map_err(|source| at("read the cells' reports", source))?;
    if cells.iter().all(|cell| cell.outcome == Outcome::NotRun) {
        match &ended {
            Ok(Ended { interrupted: true, .. } | Ended { killed: Some(_), .. }) => {}
            Ok(Ended { summary, .. }) | Err(summary) => {
                return Err(RunError::Nextest(summary.clone()));
            }
        }
    }
    let snapshot = |name: &str| golden::read(&golden::dir(kernels.root()), name);
    let input = RunInput {
        releases: plan.releases(),
        events: &|cell| match dir.evidence_of(cell) {
            Some(evidence) => evidence.events(),
            None => Ok(None),
        },
        new_snapshots: if options.update_snapshots { Some(&snapshot) } else { None },
    };
    verdict::of_run(&mut cells, &input).map_err(|source| at("read the cells' events", source))?;
    report::census(&plan.cells, &cells)?;
    let early_end = match ended {
        Ok(ended) => ended.killed,
        Err(summary) => Some(format!("not all cells were run: {summary}")),
    };
    let unpredicted = entries.iter().filter(|entry| prediction::is_missing(&dir, &entry.id));
    let unpredicted = unpredicted.map(|entry| {
        let id = &entry.id;
        format!(
            "{id}: no dossier could be taken, so what its cells did was compared with no prediction"
        )
    });

    let report = Report {
        schema: SCHEMA,
        run: Run { jobs, identity, ..begun.run(&dir, options, &cells) },
        kernels: collect::kernels(&plan, &entries, &cells),
        remarks: early_end
            .into_iter()
            .chain(unpredicted)
            .chain(verdict::unsupported_everywhere::remarks(&cells))
            .chain(verdict::suite_remarks::remarks_on_cells(&cells))
            .collect(),
        cells,
    };
    let planned = planned.map_err(|source| at("record the state of the kernels", source));
    Outcomes { report, dir }.finish(planned, Latest::Point)
}

/// When a run began.
pub(crate) struct Begun {
    started: jiff::Timestamp,
    clock: Instant,
}

impl Begun {
    /// A run begins, with the guest programs of this directory.
    pub(crate) fn now(guest: &Path) -> Result<Self, RunError> {
        match guest.join("kernlab-agent").is_file() {
            true => Ok(Begun { started: jiff::Timestamp::now(), clock: Instant::now() }),
            false => Err(RunError::NoGuestPrograms(guest.to_owned())),
        }
    }

    /// What a report says of a run that ends now.
    pub(crate) fn run(self, dir: &RunDir, options: &RunOptions, cells: &[CellReport]) -> Run {
        Run {
            id: dir.name(),
            started: self.started.to_string(),
            duration_ms: milliseconds(self.clock.elapsed()),
            selectors: options.selected.kernels.clone(),
            repeat: options.execution.repeats(),
            exit_code: report::exit_of(Tally::of(cells).severity()) as u8,
            ..Run::default()
        }
    }
}

/// Creates a run's directory in that of all runs.
pub(crate) fn new_dir(runs: &Path) -> Result<RunDir, RunError> {
    RunDir::create(runs)
        .map_err(|source| RunError::in_dir("create the run's directory", runs, source))
}

/// Whether `latest` points to a run when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Latest {
    /// It does.
    Point,
    /// It keeps pointing to an earlier run.
    Keep,
}

impl RunError {
    /// A file of a directory could not be read or written.
    pub(crate) fn in_dir(action: &'static str, dir: &Path, source: io::Error) -> Self {
        RunError::Dir { action, dir: dir.display().to_string(), source }
    }
}

/// A finished run whose report passed the census.
#[derive(Debug)]
pub struct Outcomes {
    /// The report of the run.
    pub report: Report,
    /// The directory with the evidence.
    pub dir: RunDir,
}

impl Outcomes {
    /// Writes the report into its directory. `planned` is whether the plan was written. An error takes
    /// the outcomes along: verdicts are not lost with the report.
    pub(crate) fn finish(
        self,
        planned: Result<(), RunError>,
        latest: Latest,
    ) -> Result<Self, RunError> {
        let at = |action, source| RunError::in_dir(action, self.dir.path(), source);
        let written = write_json(&self.dir.path().join("report.json"), &self.report)
            .map_err(|source| at("write the report", source))
            .and(planned)
            .and_then(|()| match latest {
                Latest::Keep => Ok(()),
                Latest::Point => {
                    self.dir.make_latest().map_err(|source| at("point `latest` to the run", source))
                }
            });
        match written {
            Ok(()) => Ok(self),
            Err(source) => {
                Err(RunError::Unwritten { outcomes: Box::new(self), source: Box::new(source) })
            }
        }
    }
}

/// Whole milliseconds, the unit of all durations in reports.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
