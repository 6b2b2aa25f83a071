//! The threads of a run: one that makes kernels ready, and those that run cells.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use kernlab_cli::TestOptions;
use kernlab_core::{
    dossier::{Dossier, diff::Whole},
    outcome::{Outcome, Reason, Verdict},
};
use kernlab_kernels::{Entry, State as Kept, Unpacked, chain, interruption};

use super::{
    cell::{self, Setting, SuiteCell},
    invocation::{Choice, Invocation},
    manifest::{Subject, Suite},
    run::{AllPacked, OutputListener},
    selection::{PlannedCell, own_mode},
};
use crate::{
    dossier::{self, DossierError, How},
    lab::Stream,
    report::CellReport,
    run::{RunObserver, dir::RunDir, judging::caught, plan::RunPlan, progress::ProgressEvent},
    verdict,
};

/// A kernel that cells can run on.
#[derive(Clone, Debug)]
pub(super) struct ReadyKernel {
    pub(super) kernel: Unpacked,
    examined: Examined,
}

/// What is known of a kernel, as far as suites ask for it.
#[derive(Clone, Debug, Default)]
struct Examined {
    dossier: Option<Dossier>,
    whole: Option<Arc<Whole>>,
    /// Why one of them is not there although a suite asks for it.
    failure: Option<Verdict>,
}

/// A kernel, or why there is none. `None`: it is not known yet.
pub(super) type Prepared = Option<Result<ReadyKernel, Verdict>>;

/// What the threads of a run read.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) setting: Setting<'a>,
    pub(super) suites: &'a [Suite],
    pub(super) packed: &'a AllPacked,
    pub(super) entries: &'a [Entry],
    pub(super) cells: &'a [PlannedCell],
    pub(super) plan: &'a RunPlan,
    pub(super) dir: &'a RunDir,
    pub(super) show: &'a dyn RunObserver,
    pub(super) heard: OutputListener<'a>,
    pub(super) options: &'a TestOptions,
    pub(super) invocation: &'a Invocation,
}

impl Task<'_> {
    /// The command that runs a cell again.
    pub(super) fn again(&self, planned: &PlannedCell) -> String {
        let entry = &self.entries[planned.entry];
        let own_mode = own_mode(entry);
        self.invocation.again(&Choice {
            kernel: &entry.selector(),
            btf: Some(planned.btf).filter(|btf| Some(*btf) != own_mode),
            suite: &self.suites[planned.suite].name,
            repeat: self.options.execution.repeat.filter(|repeat| repeat.get() > 1),
            timeout: self.options.timeout,
        })
    }
}

/// The verdict on cells whose kernel is not available, or can't have their BTF mode.
fn unavailable(error: &kernlab_kernels::Error) -> Verdict {
    Verdict::because(Outcome::Unavailable, error.reason(), chain(error))
}

/// The outcome of a run's kernels and cells.
pub(super) struct Done {
    /// The kernels, in the order of the entries.
    pub(super) kernels: Vec<Prepared>,
    /// The reports of attempts that could not be written.
    pub(super) unwritten: BTreeMap<String, CellReport>,
}

/// Runs all cells, at most `jobs` side by side.
pub(super) fn run(task: Task<'_>, jobs: usize) -> Done {
    let work = Work {
        task,
        kernels: Mutex::new(vec![None; task.entries.len()]),
        changed: Condvar::new(),
        queue: Mutex::new((0..task.cells.len()).collect()),
        unwritten: Mutex::default(),
    };
    thread::scope(|scope| {
        scope.spawn(|| work.prepare_kernels());
        for _ in 0..jobs {
            scope.spawn(|| work.run_cells());
        }
    });
    let Work { kernels, unwritten, .. } = work;
    Done {
        kernels: kernels.into_inner().unwrap_or_else(PoisonError::into_inner),
        unwritten: unwritten.into_inner().unwrap_or_else(PoisonError::into_inner),
    }
}

/// How often a thread that waits for a kernel looks whether a signal has come.
const LOOK: Duration = Duration::from_millis(100);

/// What the threads share.
struct Work<'a> {
    task: Task<'a>,
    kernels: Mutex<Vec<Prepared>>,
    changed: Condvar,
    queue: Mutex<VecDeque<usize>>,
    unwritten: Mutex<BTreeMap<String, CellReport>>,
}

impl Work<'_> {
    fn kernels(&self) -> MutexGuard<'_, Vec<Prepared>> {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the kernels ready, those first that need the least for it.
    fn prepare_kernels(&self) {
        let kernels = self.task.setting.kernels;
        let wanted: BTreeSet<usize> = self.task.cells.iter().map(|cell| cell.entry).collect();
        let mut order: Vec<usize> = wanted.into_iter().collect();
        order.sort_by_key(|&at| match kernels.state(&self.task.entries[at]) {
            Kept::Stored | Kept::Local => 0,
            Kept::Locked | Kept::Unresolved => 1,
            Kept::Unbuilt => 2,
        });
        for at in order {
            if interruption::pending().is_some() {
                return;
            }
            let entry = &self.task.entries[at];
            let prepare = || {
                let kernel =
                    kernels.prepare(entry, self.task.show).map_err(|error| unavailable(&error))?;
                let examined = self.examined(at, &kernel);
                Ok(ReadyKernel { kernel, examined })
            };
            // Cells wait for their kernel, and must not wait for ever.
            let ready = caught(prepare).unwrap_or_else(|error| Err(error.verdict()));
            if ready.is_err() && interruption::pending().is_some() {
                return;
            }
            self.kernels()[at] = Some(ready);
            self.changed.notify_all();
        }
    }

    /// The kernel's dossier, if a suite on it asks for its features, and everything that the kernel has,
    /// if a prediction is to be made for a BPF object, or a suite asks for any function.
    fn examined(&self, at: usize, kernel: &Unpacked) -> Examined {
        let here = self.task.cells.iter().filter(|cell| cell.entry == at);
        let suites: Vec<_> = here.map(|cell| &self.task.suites[cell.suite]).collect();
        let asks = |suite: &&Suite| {
            suite.expect.iter().any(|expect| !expect.when.other_functions().is_empty())
        };
        let needs_whole =
            |suite: &&Suite| matches!(suite.subject, Subject::Object(_)) || asks(suite);
        let predicts = suites.iter().copied().any(|suite| needs_whole(&suite));
        if !predicts && suites.iter().all(|suite| suite.expect.is_empty()) {
            return Examined::default();
        }
        let entry = &self.task.entries[at];
        let Setting { kernels, guest, cold, .. } = self.task.setting;
        let how = How { guest, cold, refresh: false };
        let failed = |what: &str, error: &DossierError| {
            let mut verdict = error.verdict();
            verdict.message.insert_str(0, what);
            self.task.show.notice(&format!("{}: {}", entry.id, verdict.message));
            Some(verdict)
        };
        let archive = match dossier::of_kernel(kernels, kernel.clone(), how, self.task.show) {
            Ok(archive) => archive,
            Err(error) => {
                return Examined { failure: failed("no dossier: ", &error), ..Examined::default() };
            }
        };
        let whole = predicts.then(|| archive.whole(kernels, how, self.task.show)).transpose();
        let dossier = Some(archive.dossier);
        match whole {
            Ok(whole) => Examined { dossier, whole: whole.map(Arc::new), failure: None },
            Err(error) => {
                let failure = failed("no list of all functions and types: ", &error);
                Examined { dossier, whole: None, failure }
            }
        }
    }

    /// Runs cells until none is left, or a signal asks this process to end. Cells of kernels that are
    /// ready come first.
    fn run_cells(&self) {
        while let Some(at) = self.next() {
            let planned = &self.task.cells[at];
            for attempt in self.task.plan.attempts_at(&planned.id) {
                if interruption::pending().is_some() {
                    break;
                }
                self.run_cell(planned, &attempt.to_string());
            }
        }
    }

    fn next(&self) -> Option<usize> {
        let mut kernels = self.kernels();
        loop {
            if interruption::pending().is_some() {
                return None;
            }
            {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                if queue.is_empty() {
                    return None;
                }
                let ready =
                    queue.iter().position(|&at| kernels[self.task.cells[at].entry].is_some());
                if let Some(position) = ready {
                    return queue.remove(position);
                }
            }
            // A signal notifies nobody.
            let waited = self.changed.wait_timeout(kernels, LOOK);
            (kernels, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run_cell(&self, planned: &PlannedCell, attempt: &str) {
        self.task.show.cell(attempt, &ProgressEvent::Booting);
        let mut report = match self.kernels()[planned.entry].clone() {
            Some(Ok(ready)) => self.run_on(planned, attempt, &ready),
            Some(Err(verdict)) => CellReport::of_verdict(&planned.id, verdict),
            None => unreachable!("a cell is taken when its kernel is ready"),
        };
        if report.outcome == Outcome::Infra && interruption::pending().is_some() {
            // The same signal may have ended QEMU.
            report = CellReport::of_verdict(&planned.id, verdict::of_unfinished_cell());
        }
        report.suite = Some(self.task.invocation.kind());
        report.again = Some(self.task.again(planned));
        report.evidence = RunDir::evidence(attempt).display().to_string();
        let (outcome, reason) = (report.outcome, report.reason);
        let evidence = self.task.dir.create_evidence(attempt);
        if let Err(error) = evidence.and_then(|evidence| evidence.keep_report(&report)) {
            self.task.show.notice(&format!("{attempt}: its report could not be written: {error}"));
            let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            unwritten.insert(attempt.to_owned(), report);
        }
        self.task.show.cell(attempt, &ProgressEvent::Finished { outcome, reason });
    }

    fn run_on(&self, planned: &PlannedCell, attempt: &str, ready: &ReadyKernel) -> CellReport {
        let entry = &self.task.entries[planned.entry];
        if let Err(error) = ready.kernel.check_mode(entry, planned.btf) {
            return CellReport::of_verdict(&planned.id, unavailable(&error));
        }
        let evidence = match self.task.dir.create_evidence(attempt) {
            Ok(evidence) => evidence,
            Err(error) => {
                let message = format!("its evidence can't be written: {error}");
                let verdict = Verdict::because(Outcome::Infra, Reason::HostIo, message);
                return CellReport::of_verdict(&planned.id, verdict);
            }
        };
        let cell = SuiteCell {
            id: &planned.id,
            suite: &self.task.suites[planned.suite],
            packed: &self.task.packed[&(planned.suite, entry.arch)],
            kernel: &ready.kernel,
            btf: planned.btf,
            backend: planned.backend,
            dossier: ready.examined.dossier.as_ref(),
            whole: ready.examined.whole.as_ref(),
            examination_failure: ready.examined.failure.as_ref(),
            more: &[],
        };
        let mut first = true;
        let mut heard = |stream: Stream, bytes: &[u8]| {
            if std::mem::take(&mut first) {
                self.task.show.cell(attempt, &ProgressEvent::Tracing);
            }
            (self.task.heard)(&planned.id, stream, bytes);
        };
        let setting = &self.task.setting;
        let run = || cell::run(&cell, setting, &evidence, self.task.show, &mut heard);
        // A fault of the lab's own must not take the other cells with it.
        caught(run).unwrap_or_else(|error| CellReport::of_verdict(&planned.id, error.verdict()))
    }
}
