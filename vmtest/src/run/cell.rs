//! Runs one cell: a kernel, a guest, a tracer. The steps are: gather, judge, report.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use kernlab_core::{
    cell::{BtfMode, Cell},
    dossier::Dossier,
    outcome::{Outcome, Reason, Verdict},
};

use super::{
    dir::RunDir,
    evidence::CellEvidence,
    judging, milliseconds,
    plan::{CellAttempt, RunPlan},
    prediction, preparation,
    primed::{self, BTF, Start},
    progress::{ProgressEvent, Reporter},
};
use crate::{
    checkpoints::Checkpoints,
    dossier::{self, How},
    golden,
    lab::{Bootable, Job, LabError},
    machine,
    qemu::InjectedFile,
    report::CellReport,
    verdict::{self, CellInput, Golden, SplatPolicy, Trace},
};
use kernlab_kernels::{Archs, Entry, Kernels, Observer, Selection, Silent, Unpacked, chain};

/// Where the guest has the BPF object to load instead of the embedded one.
const OBJECT: &str = "/tmp/object.o";

/// The timeout of a scenario with acceleration; the slowest scenario needs a tenth of it.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long a guest may take to end a scenario that exceeded its timeout, with acceleration.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the cells of a plan; has everything that these cells share.
#[derive(Clone, Debug)]
pub struct Runner {
    kernels: Kernels,
    plan: RunPlan,
    dir: RunDir,
    snapshots: PathBuf,
}

/// The verdict on a cell that ended before its guest was ready.
struct Early(Verdict);

fn unavailable(error: kernlab_kernels::Error) -> Early {
    Early(Verdict::because(Outcome::Unavailable, error.reason(), chain(&error)))
}

fn infra(reason: Reason, error: &(dyn std::error::Error + 'static)) -> Early {
    Early(Verdict::because(Outcome::Infra, reason, chain(error)))
}

fn host_io(error: io::Error) -> Early {
    infra(Reason::HostIo, &error)
}

/// What one attempt at a cell produced.
struct Gathered {
    entry: Entry,
    /// The release that the guest reported; none if the guest was not ready.
    release: Option<String>,
    trace: Trace,
    clock: Clock,
    /// Why the evidence of a lost guest could not be written.
    not_kept: Option<io::Error>,
}

impl Runner {
    /// Makes a runner for the cells of `plan`, whose evidence goes to `dir`.
    pub fn new(kernels: Kernels, plan: RunPlan, dir: RunDir) -> Self {
        let snapshots = golden::dir(kernels.root());
        Runner { kernels, plan, dir, snapshots }
    }

    /// The plan of the run.
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// Runs one cell, writes its evidence and its report, and returns the report.
    pub fn run(&self, cell: &Cell) -> io::Result<CellReport> {
        self.run_attempt(cell, 1)
    }

    /// Runs one attempt at a repeated cell. Attempts count from 1.
    pub fn run_attempt(&self, cell: &Cell, number: u32) -> io::Result<CellReport> {
        let id = cell.to_string();
        let attempt = CellAttempt { cell: id.clone(), number }.to_string();
        let reporter = Reporter::from_environment(&attempt);
        if self.plan.pending.contains(&cell.kernel) {
            reporter.report(ProgressEvent::Waiting);
            return self.when_ready(&cell.kernel).run_attempt(cell, number);
        }
        let began = Instant::now();
        reporter.report(ProgressEvent::Booting);
        let evidence = self.dir.create_evidence(&attempt)?;

        let gathered = self.gather(cell, &evidence, &reporter);
        let judged = gathered.and_then(|gathered| self.judge_in_time(cell, gathered, &evidence));
        let mut report = match judged {
            Ok(report) => report,
            Err(Early(verdict)) => CellReport::of_verdict(&id, verdict),
        };
        report.evidence = RunDir::evidence(&attempt).display().to_string();
        report.duration_ms = milliseconds(began.elapsed());
        evidence.keep_report(&report)?;
        reporter.report(ProgressEvent::Finished { outcome: report.outcome, reason: report.reason });
        Ok(report)
    }

    /// Waits until the run has prepared this kernel, and returns a runner whose plan has the
    /// result.
    fn when_ready(&self, kernel: &str) -> Runner {
        let mut runner = self.clone();
        runner.plan.pending.remove(kernel);
        match preparation::wait_for(&self.dir, kernel) {
            Ok(prepared) => prepared.note(kernel, &mut runner.plan),
            Err(verdict) => {
                runner.plan.unavailable.insert(kernel.to_owned(), verdict);
            }
        }
        runner
    }

    /// Boots or restores the cell's guest, runs the tracer in it, and keeps the output of both.
    fn gather(
        &self,
        cell: &Cell,
        evidence: &CellEvidence,
        reporter: &Reporter,
    ) -> Result<Gathered, Early> {
        if let Some(verdict) = self.plan.unavailable.get(&cell.kernel) {
            return Err(Early(verdict.clone()));
        }
        let mut clock = Clock::default();
        let entry = self.entry(&cell.kernel)?;
        let kernel = self.kernel(&entry)?;
        kernel.check_mode(&entry, cell.btf).map_err(unavailable)?;
        let mut bootable = self.bootable(&entry, &kernel, cell.btf, reporter)?;
        bootable.console_file = Some(evidence.console_file());
        clock.lap("prepare");
        self.open_kernel(&entry, &kernel, reporter)?;
        clock.lap("first of its kernel");

        let start = match self.start(cell, &bootable, evidence, reporter) {
            Ok(start) => start,
            Err(error) => {
                let not_kept = evidence.keep_lost_guest(&error).err();
                let trace = Trace::NotStarted(error);
                return Ok(Gathered { entry, release: None, trace, clock, not_kept });
            }
        };
        clock.lap("guest");
        reporter.report(ProgressEvent::Tracing);
        verdict::release::of_guest(start.hello(), &kernel).map_err(Early)?;
        let release = Some(start.hello().release.clone());
        let worked = start
            .run()
            .inspect(|_| clock.lap("trace"))
            .and_then(|(mut guest, output)| Ok((guest.kernel_log()?.to_owned(), output, guest)));
        let (kernel_log, output, guest) = match worked {
            Ok(worked) => worked,
            Err(error) => {
                let not_kept = evidence.keep_lost_guest(&error).err();
                let trace = Trace::Lost(error);
                return Ok(Gathered { entry, release, trace, clock, not_kept });
            }
        };
        evidence.keep_kernel_log(&kernel_log).map_err(host_io)?;
        evidence.keep_output(&output).map_err(host_io)?;
        clock.lap("kernel log");
        drop(guest);
        let trace = Trace::Ended { output, kernel_log, console: evidence.console() };
        Ok(Gathered { entry, release, trace, clock, not_kept: None })
    }

    /// Judges what was gathered, whatever the guest reported, within a deadline.
    fn judge_in_time(
        &self,
        cell: &Cell,
        gathered: Gathered,
        evidence: &CellEvidence,
    ) -> Result<CellReport, Early> {
        let (runner, cell, evidence) = (self.clone(), cell.clone(), evidence.clone());
        let judge = move || runner.judge(&cell, gathered, &evidence);
        judging::within(judging::DEADLINE, judge)
            .unwrap_or_else(|error| Err(Early(error.verdict())))
    }

    /// Judges what was gathered, keeps what the verdict rests on, and reports.
    fn judge(
        &self,
        cell: &Cell,
        gathered: Gathered,
        evidence: &CellEvidence,
    ) -> Result<CellReport, Early> {
        let Gathered { entry, release, trace, mut clock, not_kept } = gathered;
        let prediction = prediction::of_cell(&self.dir, cell).map_err(host_io)?;
        let read = |name: &str| golden::read(&self.snapshots, name).map_err(host_io);
        let deviation = entry.deviations.iter().find(|deviation| deviation.concerns(cell));
        let deviation_name = deviation.and_then(|deviation| deviation.snapshot.clone());
        let shared_name = golden::shared_name(cell.scenario);
        let shared = read(&shared_name)?;
        let special = deviation_name.as_deref().map(read).transpose()?;
        let policy = SplatPolicy {
            expected: deviation.and_then(|deviation| deviation.warning.as_deref()),
            allow: &self.plan.allow,
        };
        let golden = match &special {
            None => Golden { shared: shared.as_deref(), deviation: None },
            Some(special) => Golden::of_deviation(shared.as_deref(), special.as_deref()),
        };
        let input = CellInput {
            cell,
            trace: &trace,
            golden,
            prediction: &prediction,
            policy,
            release: release.as_deref(),
        };
        let mut judgement = verdict::of_cell(&input);
        let snapshot =
            judgement.events.as_ref().map(|_| deviation_name.clone().unwrap_or(shared_name));
        if let (true, Some(events), Some(name)) =
            (self.plan.options.update_snapshots, judgement.new_snapshot(), &snapshot)
        {
            // The snapshot of a deviation that no longer occurs is to be removed, not updated.
            let is_stale = deviation_name.is_some() && shared.as_deref() == Some(events);
            let golden = if is_stale {
                Golden { shared: shared.as_deref(), deviation: Some(events) }
            } else {
                golden::write(&self.snapshots, name, events)
                    .map_err(|error| infra(Reason::HostIo, &error))?;
                Golden { shared: Some(events), deviation: None }
            };
            judgement = verdict::of_cell(&CellInput { golden, ..input });
        }
        evidence.keep_judgement(&judgement).map_err(host_io)?;
        if let Some(error) = not_kept {
            let message = format!("; its evidence could not be written: {error}");
            judgement.verdict.message.push_str(&message);
        }
        clock.lap("judge");
        let mut stages_ms = clock.laps;
        if let (Trace::Ended { output, .. }, Some(record)) = (&trace, &judgement.record) {
            stages_ms.extend(verdict::stages_in_the_guest(output, record));
        }
        Ok(CellReport {
            release,
            stages_ms,
            // Without a plan from the guest there is nothing to compare a prediction with.
            predicted: prediction.decision.filter(|_| judgement.record.is_some()),
            plan: judgement.record.map(|record| record.decision),
            diff: judgement.diff,
            snapshot,
            allowed: judgement.allowed,
            remarks: judgement.remarks,
            ..CellReport::of_verdict(&cell.to_string(), judgement.verdict)
        })
    }

    fn entry(&self, id: &str) -> Result<Entry, Early> {
        // The selectors of the run also select kernels outside the matrix: `host`, and paths.
        let selectors = &self.plan.options.selected.kernels;
        let selection = Selection { archs: Archs::All, ..Selection::of(selectors) };
        let selected = self.kernels.select(&selection);
        let selected = selected.map_err(|error| infra(Reason::NotLocked, &error))?;
        selected.entries.into_iter().find(|entry| entry.id == id).ok_or_else(|| {
            let message = format!("kernel {id} was removed from the matrix after the run began");
            Early(Verdict::because(Outcome::Infra, Reason::NotLocked, message))
        })
    }

    fn kernel(&self, entry: &Entry) -> Result<Unpacked, Early> {
        match self.plan.kernels.get(&entry.id) {
            Some(kernel) => Ok(kernel.clone()),
            None => self.kernels.prepare(entry, &Silent).map_err(unavailable),
        }
    }

    fn external_btf(&self, entry: &Entry, kernel: &Unpacked) -> Result<PathBuf, Early> {
        match self.plan.external_btf.get(&entry.id) {
            Some(file) => Ok(file.clone()),
            None => self.kernels.external_btf(entry, kernel).map_err(unavailable),
        }
    }

    /// Starts a guest for one cell. `bootable` is the cell's machine.
    fn start(
        &self,
        cell: &Cell,
        bootable: &Bootable,
        evidence: &CellEvidence,
        observer: &dyn Observer,
    ) -> Result<Start, LabError> {
        let checkpoints = Checkpoints::of(self.kernels.store());
        if primed::is_worthwhile(&self.plan, &cell.kernel, cell.btf) {
            let tracer = primed::tracer(&self.plan, &cell.kernel, cell.btf);
            // The first cell of a mode primes the guest. No cell waits for it or retries what
            // failed.
            if self.dir.is_first(&format!("primed-{}-{}", cell.kernel, cell.btf)) {
                let mut bootable = bootable.clone();
                bootable.console_file = Some(evidence.primed_console_file());
                checkpoints.prime(&bootable, &tracer, observer)?;
            }
            if let Some(guest) = checkpoints.primed(bootable, &tracer, &[], observer) {
                return Ok(Start::Primed(guest, primed::work(cell), self.timed(tracer)));
            }
        }
        let guest = checkpoints.start(bootable, self.plan.options.execution.cold, observer)?;
        Ok(Start::Ready(guest, self.timed(self.job(cell))))
    }

    /// Does what a kernel's first cell does for all its cells: it boots and saves the guest that
    /// they are restored from, and takes the dossier that predicts their plans. The other cells
    /// wait for it.
    fn open_kernel(
        &self,
        entry: &Entry,
        kernel: &Unpacked,
        observer: &dyn Observer,
    ) -> Result<(), Early> {
        let file = self.dir.dossier(&entry.id);
        if file.exists() {
            return Ok(());
        }
        let lock = self.kernels.store().lock(&format!("first-{}", entry.id));
        let _lock = lock.map_err(|error| infra(Reason::HostIo, &error))?;
        if file.exists() {
            return Ok(());
        }
        let dossier = self.dossier(entry, kernel, observer);
        let types = entry.btf_file.as_ref().map(|_| {
            let file = self.external_btf(entry, kernel).ok()?;
            prediction::extract(&file, entry.arch)
        });
        prediction::keep(&self.dir, &entry.id, &dossier, types.as_ref()).map_err(host_io)
    }

    /// Takes the kernel's dossier. None if that fails; if the guest failed, each cell reports why.
    fn dossier(
        &self,
        entry: &Entry,
        kernel: &Unpacked,
        observer: &dyn Observer,
    ) -> Option<Dossier> {
        let bootable = self.bootable(entry, kernel, BtfMode::Embedded, observer).ok()?;
        if !self.plan.options.execution.cold {
            Checkpoints::of(self.kernels.store()).prepare(&bootable, observer).ok()?;
        }
        let how =
            How { guest: &self.plan.guest, cold: self.plan.options.execution.cold, refresh: false };
        match dossier::of_kernel(&self.kernels, kernel.clone(), how, observer) {
            Ok(archive) => Some(archive.dossier),
            Err(error) => {
                let why = chain(&error);
                observer.notice(&format!(
                    "{}: no dossier, so plans are not predicted: {why}",
                    entry.id
                ));
                None
            }
        }
    }

    /// The kernel's machine, with the files that its cells in this mode need.
    fn bootable(
        &self,
        entry: &Entry,
        kernel: &Unpacked,
        mode: BtfMode,
        observer: &dyn Observer,
    ) -> Result<Bootable, Early> {
        let programs = ["kernlab-tracer", "kernlab-workload", "kernlab-workload-static"];
        let store = self.kernels.store();
        let mut bootable = machine::of_kernel(store, kernel, &self.plan.guest, &programs, observer)
            .map_err(|error| infra(error.reason(), &error))?;
        bootable.machine.injected.extend(
            self.plan.object.clone().map(|host| InjectedFile { guest: OBJECT.to_owned(), host }),
        );
        if mode == BtfMode::External {
            let host = self.external_btf(entry, kernel)?;
            bootable.machine.injected.push(InjectedFile { guest: BTF.to_owned(), host });
        }
        Ok(bootable)
    }

    fn job(&self, cell: &Cell) -> Job {
        let mut args = vec!["/bin/kernlab-tracer".to_owned(), "run".to_owned()];
        args.extend(["--backend".to_owned(), cell.backend.to_string()]);
        args.extend(["--scenario".to_owned(), cell.scenario.to_string()]);
        if self.plan.object.is_some() {
            args.extend(["--object".to_owned(), OBJECT.to_owned()]);
        }
        primed::with_types(args, cell.btf)
    }

    /// Sets a cell's timeout on a job.
    fn timed(&self, job: Job) -> Job {
        let given =
            self.plan.options.timeout.map(|seconds| Duration::from_secs(seconds.get().into()));
        let timeout = given.unwrap_or(TIMEOUT);
        job.timeout(timeout).grace(GRACE.min(timeout))
    }
}

/// Measures how long each stage of a cell takes.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Instant,
    pub(crate) laps: BTreeMap<String, u64>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { last: Instant::now(), laps: BTreeMap::new() }
    }
}

impl Clock {
    pub(crate) fn lap(&mut self, stage: &str) {
        self.laps.insert(stage.to_owned(), milliseconds(self.last.elapsed()));
        self.last = Instant::now();
    }
}
