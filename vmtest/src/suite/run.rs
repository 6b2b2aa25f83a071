//! Runs suites on kernels: cells side by side, each in its own guest, then one report.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use kernlab_cli::{RunOptions, TestOptions};
use kernlab_core::{
    dossier::{Dossier, diff::Whole},
    outcome::{Outcome, Reason, Verdict},
};
use kernlab_kernels::{Entry, Kernels, Observer, SelectError, Unpacked, chain};

use super::{
    cell::{self, PackError, Packed, Setting, SuiteCell},
    invocation::{Choice, Invocation},
    job::Circumstances,
    manifest::{Subject, Suite},
    proposals::Proposals,
    selection::{self, Planned},
    unmatched::SharedRules,
};
use crate::{
    dossier::{self, DossierError, How},
    lab::Stream,
    report::{self, CellReport, Report, Run, SCHEMA, Tally},
    run::{
        Outcomes, RunError, RunObserver, allow_list, capacity, collect,
        dir::{RunDir, write_json},
        identity, milliseconds,
        plan::RunPlan,
        progress::ProgressEvent,
    },
    verdict,
};

/// The backend of a suite's cells in reports.
pub const SUITE: &str = "suite";

/// Why suites were not run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteRunError {
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A suite's files can't be given to guests.
    #[error("suite {suite}")]
    Pack {
        /// Its name.
        suite: String,
        /// Why.
        source: PackError,
    },
    /// `--suite` names none.
    #[error("no suite matches {given:?}: there are {known}")]
    NoSuite {
        /// The glob.
        given: String,
        /// The suites of the project.
        known: String,
    },
    /// There are more parts than cells.
    #[error("part {0} has no cell: there is nothing to do")]
    EmptyPart(String),
    /// `--suite` is no glob.
    #[error("--suite is not a valid glob")]
    Glob(#[from] globset::Error),
}

impl From<SelectError> for SuiteRunError {
    fn from(error: SelectError) -> Self {
        SuiteRunError::Run(error.into())
    }
}

/// The suites to run, and where their programs are.
#[derive(Clone, Debug)]
pub struct Suites<'a> {
    /// The suites.
    pub suites: &'a [Suite],
    /// The kernels if the command line names none.
    pub kernels: &'a [String],
    /// Where programs run, and with what.
    pub at: Circumstances,
    /// The command line that runs them.
    pub invocation: Invocation,
    /// What users should know of the suites.
    pub remarks: Vec<String>,
    /// The directory of runs, instead of the project's.
    pub runs: Option<PathBuf>,
}

/// Is told what a tracer writes: cell, stream, bytes.
pub type OutputListener<'a> = &'a (dyn Fn(&str, Stream, &[u8]) + Sync);

/// The kernels that the command line names, or else the project.
pub fn entries(
    kernels: &Kernels,
    options: &TestOptions,
    project: &[String],
    observer: &dyn Observer,
) -> Result<Vec<Entry>, SuiteRunError> {
    selection::entries(kernels, options, project, observer)
}

/// The names of the cells that [`run`] would run.
pub fn cells(
    kernels: &Kernels,
    options: &TestOptions,
    suites: &Suites<'_>,
    observer: &dyn Observer,
) -> Result<Vec<String>, SuiteRunError> {
    let chosen = selection::choose(suites.suites, options.suite.as_deref())?;
    let entries = selection::entries(kernels, options, suites.kernels, observer)?;
    let cells = selection::cells(suites.suites, &chosen, &entries, options)?;
    Ok(cells.into_iter().map(|cell| cell.id).collect())
}

/// What is selected beside kernels and a part of the cells.
fn identity_selection(options: &TestOptions) -> String {
    let TestOptions { suite, btf, repeat, timeout, .. } = options;
    format!("suite {suite:?}, btf {btf:?}, repeat {repeat:?}, timeout {timeout:?}")
}

/// Runs the suites on the selected kernels, with the programs of the directory `guest`, and writes
/// the report into the directory of the run.
pub fn run(
    kernels: &Kernels,
    options: &TestOptions,
    suites: &Suites<'_>,
    guest: &Path,
    show: &Arc<dyn RunObserver>,
    heard: OutputListener<'_>,
) -> Result<Outcomes, SuiteRunError> {
    let started = jiff::Timestamp::now();
    let clock = Instant::now();
    if !guest.join("kernlab-agent").is_file() {
        return Err(RunError::NoGuestPrograms(guest.to_owned()).into());
    }
    let chosen_suites = selection::choose(suites.suites, options.suite.as_deref())?;
    let entries = selection::entries(kernels, options, suites.kernels, &**show)?;
    let allow = allow_list::read(kernels.root()).map_err(RunError::from)?;
    let cells = selection::cells(suites.suites, &chosen_suites, &entries, options)?;
    // Files are packed before anything is downloaded: a missing one is told at once.
    let mut packed: BTreeMap<usize, Packed> = BTreeMap::new();
    let mut last: Option<usize> = None;
    for &suite in &chosen_suites {
        let described = &suites.suites[suite];
        let like = last.filter(|&last| suites.suites[last].shares_files_with(described));
        let files = match like.and_then(|like| packed.get_mut(&like)) {
            Some(like) => {
                like.is_shared = true;
                like.with_arguments_of(described)
            }
            None => {
                last = Some(suite);
                cell::pack(described, &suites.at, kernels, guest, &**show).map_err(|source| {
                    SuiteRunError::Pack { suite: described.name.clone(), source }
                })?
            }
        };
        packed.insert(suite, files);
    }
    let mut identity = identity::of_run(kernels, &entries, guest, &identity_selection(options))
        .map_err(|source| dir_error("read the programs for guests in", guest, source))?;
    // What runs one program for its user has no parts.
    let has_parts =
        !matches!(suites.invocation, Invocation::Exec { .. } | Invocation::Runner { .. });
    if has_parts {
        let own = packed.values().flat_map(|files| files.own_files.iter().map(PathBuf::as_path));
        let tracers = identity::of_files(kernels, own.filter(|file| file.is_file()));
        let tracers = tracers.map_err(|source| {
            dir_error("read the files of the suites in", &suites.at.directory, source)
        })?;
        identity.insert("tracers".to_owned(), tracers);
    }
    let runs = suites.runs.clone().unwrap_or_else(|| kernels.runs_dir());
    let dir = RunDir::create(&runs)
        .map_err(|source| dir_error("create the run's directory", &runs, source))?;
    let at = |action, source| dir_error(action, dir.path(), source);
    let names: Vec<String> = cells.iter().map(|cell| cell.id.clone()).collect();
    let mut plan = RunPlan {
        options: RunOptions {
            selected: options.selected.clone(),
            repeat: options.repeat,
            ..RunOptions::default()
        },
        ..RunPlan::of(names, guest.to_owned())
    };
    plan.write(dir.path()).map_err(|source| at("write the plan", source))?;
    show.begin(dir.path(), &plan);

    let memory = entries.iter().map(|entry| entry.memory_mib).max().unwrap_or_default();
    let jobs = options.jobs.map_or_else(|| capacity::guests(memory), std::num::NonZero::get);
    let jobs = jobs.min(cells.len());
    let (state, proposals, shared) =
        (State::default(), Proposals::default(), SharedRules::default());
    let work = Work {
        setting: Setting {
            kernels,
            guest,
            allow: &allow,
            cold: options.cold,
            timeout: options.timeout.map(|seconds| Duration::from_secs(seconds.get().into())),
            proposals: options.update_snapshots.then_some(&proposals),
            shared: &shared,
            directory: &suites.at.directory,
        },
        suites: suites.suites,
        packed: &packed,
        entries: &entries,
        cells: &cells,
        plan: &plan,
        dir: &dir,
        show: &**show,
        heard,
        options,
        invocation: &suites.invocation,
        state: &state,
        changed: Condvar::new(),
        queue: Mutex::new(cells.iter().enumerate().map(|(at, _)| at).collect()),
    };
    thread::scope(|scope| {
        scope.spawn(|| work.prepare_kernels());
        for _ in 0..jobs {
            scope.spawn(|| work.run_cells());
        }
    });
    show.end();
    let prepared = work.prepared();
    for (entry, prepared) in entries.iter().zip(&prepared) {
        match prepared {
            Some(Ok(ready)) => {
                plan.kernels.insert(entry.id.clone(), ready.kernel.clone());
            }
            Some(Err(verdict)) => {
                plan.unavailable.insert(entry.id.clone(), verdict.clone());
            }
            None => {}
        }
    }
    plan.write(dir.path()).map_err(|source| at("write the plan", source))?;
    let mut cells =
        collect::cells(&dir, &plan).map_err(|source| at("read the cells' reports", source))?;
    proposals
        .settle(&mut cells)
        .map_err(|(snapshot, source)| dir_error("write the golden snapshot", &snapshot, source))?;
    verdict::release::check(&mut cells, &plan.releases());
    report::census(&plan.cells, &cells).map_err(RunError::from)?;
    let mut remarks = suites.remarks.clone();
    remarks.extend(verdict::alike::remarks(&cells));
    remarks.extend(shared.remarks(chosen_suites.len() == suites.suites.len()));
    remarks.extend(chosen_suites.iter().flat_map(|&at| selection::due(&suites.suites[at])));
    let report = Report {
        schema: SCHEMA,
        run: Run {
            id: dir.name(),
            started: started.to_string(),
            duration_ms: milliseconds(clock.elapsed()),
            selectors: options.selected.kernels.clone(),
            jobs,
            repeat: options.repeat.unwrap_or(std::num::NonZero::<u32>::MIN),
            exit_code: report::exit_code(Tally::of(&cells).severity()),
            identity,
        },
        kernels: collect::kernels(&plan, &cells),
        cells,
        remarks,
    };
    write_json(&dir.path().join("report.json"), &report)
        .map_err(|source| at("write the report", source))?;
    match suites.invocation {
        // Who looks around with it means the run before.
        Invocation::Exec { .. } | Invocation::Runner { .. } => {}
        Invocation::Suites { .. } | Invocation::Command { .. } | Invocation::Cargo { .. } => {
            dir.make_latest().map_err(|source| at("point `latest` to the run", source))?;
        }
    }
    Ok(Outcomes { report, dir })
}

/// The names of the cells that a run would have.
pub fn list(
    kernels: &Kernels,
    options: &TestOptions,
    suites: &Suites<'_>,
    show: &dyn RunObserver,
) -> Result<Vec<String>, SuiteRunError> {
    let chosen = selection::choose(suites.suites, options.suite.as_deref())?;
    let entries = selection::entries(kernels, options, suites.kernels, show)?;
    let cells = selection::cells(suites.suites, &chosen, &entries, options)?;
    Ok(cells.into_iter().map(|cell| cell.id).collect())
}

fn dir_error(action: &'static str, dir: &Path, source: io::Error) -> RunError {
    RunError::Dir { action, dir: dir.display().to_string(), source }
}

/// A kernel that cells can run on.
#[derive(Clone, Debug)]
struct ReadyKernel {
    kernel: Unpacked,
    dossier: Option<Dossier>,
    whole: Option<Arc<Whole>>,
}

/// How far the kernels are, in the order of the entries.
#[derive(Debug, Default)]
struct State(Mutex<Vec<Option<Result<ReadyKernel, Verdict>>>>);

/// What the threads of a run share.
struct Work<'a> {
    setting: Setting<'a>,
    suites: &'a [Suite],
    packed: &'a BTreeMap<usize, Packed>,
    entries: &'a [Entry],
    cells: &'a [Planned],
    plan: &'a RunPlan,
    dir: &'a RunDir,
    show: &'a dyn RunObserver,
    heard: OutputListener<'a>,
    options: &'a TestOptions,
    invocation: &'a Invocation,
    state: &'a State,
    changed: Condvar,
    queue: Mutex<VecDeque<usize>>,
}

impl Work<'_> {
    fn kernels(&self) -> MutexGuard<'_, Vec<Option<Result<ReadyKernel, Verdict>>>> {
        let mut kernels = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        kernels.resize(self.entries.len(), None);
        kernels
    }

    fn prepared(&self) -> Vec<Option<Result<ReadyKernel, Verdict>>> {
        self.kernels().clone()
    }

    /// Makes the kernels ready, those first that need the least for it.
    fn prepare_kernels(&self) {
        use kernlab_kernels::State as Kept;

        let kernels = self.setting.kernels;
        let wanted: BTreeSet<usize> = self.cells.iter().map(|cell| cell.entry).collect();
        let mut order: Vec<usize> = wanted.into_iter().collect();
        order.sort_by_key(|&at| match kernels.state(&self.entries[at]) {
            Kept::Stored | Kept::Local => 0,
            Kept::Locked | Kept::Unresolved => 1,
            Kept::Unbuilt => 2,
        });
        for at in order {
            let entry = &self.entries[at];
            let prepared = kernels.prepare(entry, self.show).map_err(|error| {
                Verdict::because(Outcome::Unavailable, error.reason(), chain(&error))
            });
            let ready = prepared.map(|kernel| {
                let (dossier, whole) = self.dossier(at, &kernel);
                ReadyKernel { kernel, dossier, whole }
            });
            self.kernels()[at] = Some(ready);
            self.changed.notify_all();
        }
    }

    /// The kernel's dossier, if a suite on it asks for its features, and everything that the kernel has,
    /// if a prediction is to be made for a BPF object, or a suite asks for any function.
    fn dossier(&self, at: usize, kernel: &Unpacked) -> (Option<Dossier>, Option<Arc<Whole>>) {
        let here = self.cells.iter().filter(|cell| cell.entry == at);
        let suites: Vec<_> = here.map(|cell| &self.suites[cell.suite]).collect();
        let asks = |suite: &&Suite| {
            suite.expect.iter().any(|expect| !expect.when.other_functions().is_empty())
        };
        let needs_whole =
            |suite: &&Suite| matches!(suite.subject, Subject::Object(_)) || asks(suite);
        let predicts = suites.iter().copied().any(|suite| needs_whole(&suite));
        if !predicts && suites.iter().all(|suite| suite.expect.is_empty()) {
            return (None, None);
        }
        let entry = &self.entries[at];
        let Setting { kernels, guest, cold, .. } = self.setting;
        let how = How { guest, cold, refresh: false };
        let failed = |error: DossierError| {
            self.show.notice(&format!("{}: no dossier: {}", entry.id, chain(&error)));
        };
        match dossier::of_kernel(kernels, kernel.clone(), how, self.show) {
            Ok(archive) => {
                let whole = predicts.then(|| archive.whole(kernels, how, self.show));
                let whole = whole.and_then(|whole| whole.map_err(failed).ok());
                (Some(archive.dossier), whole.map(Arc::new))
            }
            Err(error) => {
                failed(error);
                (None, None)
            }
        }
    }

    /// Runs cells until none is left. Cells of kernels that are ready come first.
    fn run_cells(&self) {
        while let Some(at) = self.next() {
            let planned = &self.cells[at];
            for attempt in self.plan.attempts_at(&planned.id) {
                self.run_cell(planned, &attempt.to_string());
            }
        }
    }

    fn next(&self) -> Option<usize> {
        let mut kernels = self.kernels();
        loop {
            {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                if queue.is_empty() {
                    return None;
                }
                let ready = queue.iter().position(|&at| kernels[self.cells[at].entry].is_some());
                if let Some(position) = ready {
                    return queue.remove(position);
                }
            }
            kernels = self.changed.wait(kernels).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run_cell(&self, planned: &Planned, attempt: &str) {
        self.show.cell(attempt, &ProgressEvent::Booting);
        let mut report = match self.kernels()[planned.entry].clone() {
            Some(Ok(ready)) => self.run_on(planned, attempt, &ready),
            Some(Err(verdict)) => CellReport::of_verdict(&planned.id, verdict),
            None => unreachable!("a cell is taken when its kernel is ready"),
        };
        report.again = Some(self.again(planned));
        let kept = self.dir.create_evidence(attempt).and_then(|evidence| {
            let evidence_dir = RunDir::evidence(attempt).display().to_string();
            evidence.keep_report(&CellReport { evidence: evidence_dir, ..report.clone() })
        });
        if let Err(error) = kept {
            self.show.notice(&format!("{attempt}: its report could not be written: {error}"));
        }
        let (outcome, reason) = (report.outcome, report.reason);
        self.show.cell(attempt, &ProgressEvent::Finished { outcome, reason });
    }

    /// The command that runs the cell again.
    fn again(&self, planned: &Planned) -> String {
        let entry = &self.entries[planned.entry];
        let own_mode = entry.btf.first().copied();
        self.invocation.again(&Choice {
            kernel: &entry.selector(),
            btf: Some(planned.btf).filter(|btf| Some(*btf) != own_mode),
            suite: &self.suites[planned.suite].name,
            repeat: self.options.repeat.filter(|repeat| repeat.get() > 1),
            timeout: self.options.timeout,
        })
    }

    fn run_on(&self, planned: &Planned, attempt: &str, ready: &ReadyKernel) -> CellReport {
        let evidence = match self.dir.create_evidence(attempt) {
            Ok(evidence) => evidence,
            Err(error) => {
                let message = format!("its evidence can't be written: {error}");
                let verdict = Verdict::because(Outcome::Infra, Reason::HostIo, message);
                return CellReport::of_verdict(&planned.id, verdict);
            }
        };
        let cell = SuiteCell {
            id: &planned.id,
            suite: &self.suites[planned.suite],
            packed: &self.packed[&planned.suite],
            kernel: &ready.kernel,
            btf: planned.btf,
            backend: planned.backend,
            dossier: ready.dossier.as_ref(),
            whole: ready.whole.as_ref(),
            more: &[],
        };
        let mut first = true;
        let mut heard = |stream: Stream, bytes: &[u8]| {
            if std::mem::take(&mut first) {
                self.show.cell(attempt, &ProgressEvent::Tracing);
            }
            (self.heard)(&planned.id, stream, bytes);
        };
        let setting = &self.setting;
        let run = || cell::run(&cell, setting, &evidence, self.show, &mut heard);
        // A fault of the lab's own must not take the other cells with it.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            Ok(report) => report,
            Err(_) => {
                let message = "the lab failed while it ran this cell";
                let verdict = Verdict::because(Outcome::Infra, Reason::HostIo, message);
                CellReport::of_verdict(&planned.id, verdict)
            }
        }
    }
}
