//! One cell: a kernel, a guest, a tracer, a verdict.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kernlab_core::{
    btf::{Btf, Extract},
    cell::{BtfMode, Cell},
    dossier::{Dossier, GivenTypes},
    facts::wanted_types,
    outcome::{Outcome, Reason, Verdict},
    record::Decision,
};

use super::{
    collect::CELL_FILE,
    dir::{RunDir, read_json, write_json},
    job_output::{keep_output, record, said, stages_in_the_guest},
    milliseconds,
    plan::{CellAttempt, RunPlan},
    preparation,
    primed::{self, BTF, Start},
    progress::{ProgressEvent, Reporter},
    splat_policy::SplatPolicy,
};
use crate::{
    checkpoints::Checkpoints,
    dossier::{self, How},
    golden,
    judge::{self, Golden, Judgement, judge},
    kernels::{self, Deviation, Entry, Kernels, Selection, Silent, Unpacked, chain},
    lab::{self, Bootable, Guest, Job, JobOutput, LabError},
    machine,
    qemu::InjectedFile,
    report::CellReport,
    splat::GuestSplats,
};

/// The events of a cell as text, in the directory of its evidence.
pub(crate) const EVENTS_FILE: &str = "events.txt";

/// Where a guest finds the BPF object that it is to load instead of its own.
const OBJECT: &str = "/tmp/object.o";

/// How long a scenario may take with acceleration; the slowest needs a tenth of it.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long a guest may take to end a scenario whose time is over, with acceleration.
const GRACE: Duration = Duration::from_secs(5);

/// Everything that all cells of a run have in common.
#[derive(Clone, Debug)]
pub struct Runner {
    kernels: Kernels,
    plan: RunPlan,
    dir: RunDir,
    snapshots: PathBuf,
}

/// A cell can end early with its verdict.
pub(super) type Step<T> = Result<T, Verdict>;

fn unavailable(error: kernels::Error) -> Verdict {
    Verdict::because(Outcome::Unavailable, error.reason(), chain(&error))
}

fn infra(reason: Reason, error: &(dyn std::error::Error + 'static)) -> Verdict {
    Verdict::because(Outcome::Infra, reason, chain(error))
}

impl Runner {
    /// A runner of the cells of `plan`, whose evidence goes to `dir`.
    pub fn new(kernels: Kernels, plan: RunPlan, dir: RunDir) -> Self {
        let snapshots = golden::dir(kernels.root());
        Runner { kernels, plan, dir, snapshots }
    }

    /// The plan.
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// Runs one cell, leaves its evidence and its report, and returns the report.
    pub fn run(&self, cell: &Cell) -> std::io::Result<CellReport> {
        self.run_attempt(cell, 1)
    }

    /// The same for one attempt at a cell that is repeated; attempts count from 1.
    pub fn run_attempt(&self, cell: &Cell, number: u32) -> std::io::Result<CellReport> {
        let id = cell.to_string();
        let attempt = CellAttempt { cell: id.clone(), number }.to_string();
        let reporter = Reporter::from_environment(&attempt);
        if self.plan.pending.contains(&cell.kernel) {
            reporter.notify(ProgressEvent::Waiting);
            return self.when_ready(&cell.kernel).run_attempt(cell, number);
        }
        let began = Instant::now();
        reporter.notify(ProgressEvent::Booting);
        let evidence = self.dir.create_evidence(&attempt)?;

        let mut report = CellReport::of_verdict(&id, Verdict::pass());
        report.evidence = RunDir::evidence(&attempt).display().to_string();
        let verdict = match self.attempt(cell, &evidence, &reporter, &mut report) {
            Ok(verdict) | Err(verdict) => verdict,
        };
        report.set_verdict(verdict);
        report.duration_ms = milliseconds(began.elapsed());
        write_json(&evidence.join(CELL_FILE), &report)?;
        reporter.notify(ProgressEvent::Finished { outcome: report.outcome, reason: report.reason });
        Ok(report)
    }

    /// The same runner when this kernel, which the run prepares meanwhile, is not pending any more.
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

    fn attempt(
        &self,
        cell: &Cell,
        evidence: &Path,
        reporter: &Reporter,
        report: &mut CellReport,
    ) -> Step<Verdict> {
        if let Some(verdict) = self.plan.unavailable.get(&cell.kernel) {
            return Err(verdict.clone());
        }
        let host_io = |error: std::io::Error| infra(Reason::HostIo, &error);
        let mut clock = Clock::default();
        let entry = self.entry(&cell.kernel)?;
        let kernel = self.kernel(&entry)?;
        kernel.check_mode(&entry, cell.btf).map_err(unavailable)?;
        let mut notify = |line| reporter.notify(ProgressEvent::Notice(line));
        let mut bootable = self.bootable(&entry, &kernel, cell.btf, &mut notify)?;
        bootable.console_file = Some(evidence.join("console.log"));
        clock.lap("prepare");
        self.open_kernel(&entry, &kernel, &mut notify)?;
        clock.lap("first of its kernel");

        let start = self.start(cell, &bootable, &mut notify);
        let start = start.map_err(|error| lab_verdict(&error, evidence))?;
        clock.lap("guest");
        reporter.notify(ProgressEvent::Tracing);
        report.release = Some(start.release().to_owned());
        let worked = start
            .run()
            .inspect(|_| clock.lap("trace"))
            .and_then(|(mut guest, output)| Ok((guest.kernel_log()?.to_owned(), output, guest)));
        let (kernel_log, output, guest) = match worked {
            Ok(worked) => worked,
            Err(error) => return Err(self.of_lost_guest(cell, &entry, &error, evidence, report)),
        };
        fs::write(evidence.join("kernel.log"), &kernel_log).map_err(host_io)?;
        keep_output(&output, evidence).map_err(host_io)?;
        clock.lap("kernel log");
        drop(guest);

        let verdict = match self.judge(cell, &entry, &output, evidence, report) {
            Ok(judgement) => {
                report.diff = judgement.diff;
                if let Some(log) = &judgement.verifier_log {
                    fs::write(evidence.join("verifier.log"), log).map_err(host_io)?;
                }
                let (predicted, observed) = (report.predicted.as_ref(), report.plan.as_ref());
                judge::against_prediction(judgement.verdict, predicted, observed)
            }
            // A tracer that came to no result may have met a kernel that complains.
            Err(verdict) => verdict,
        };
        clock.lap("judge");
        report.stages_ms.extend(clock.laps);
        let console = console(evidence);
        let guest_splats = GuestSplats::of(&kernel_log, &console);
        let applied = self.known(cell, &entry).apply(verdict, &guest_splats, output.running);
        report.allowed = applied.allowed;
        Ok(applied.verdict)
    }

    /// The verdict on a cell whose guest is gone or silent: what its kernel said on the console
    /// explains that better than we could.
    fn of_lost_guest(
        &self,
        cell: &Cell,
        entry: &Entry,
        error: &LabError,
        evidence: &Path,
        report: &mut CellReport,
    ) -> Verdict {
        let mut lost = lab_verdict(error, evidence);
        if lost.outcome == Outcome::Timeout {
            // Tells a guest that spins from one that waits, or that the host had no time for.
            let running = error.evidence().running;
            lost.message.push_str(&format!("; the host ran the guest for {running}"));
        }
        let console = console(evidence);
        let guest_splats = GuestSplats::of("", &console);
        let running = error.evidence().running;
        let applied = self.known(cell, entry).apply(lost.clone(), &guest_splats, running);
        report.allowed = applied.allowed;
        let mut verdict = applied.verdict;
        if lost.outcome == Outcome::KernelCrash {
            // Whatever it complained of before.
            (verdict.outcome, verdict.reason) = (lost.outcome, lost.reason);
        } else if verdict != lost {
            verdict.message.push_str(&format!("\nand then {}", lost.message));
        }
        verdict
    }

    /// What the kernel may print while this cell runs.
    fn known<'a>(&'a self, cell: &Cell, entry: &'a Entry) -> SplatPolicy<'a> {
        let deviation = deviation_of(cell, entry);
        let expected = deviation.and_then(|deviation| deviation.warning.as_deref());
        SplatPolicy { expected, allow: &self.plan.allow }
    }

    fn entry(&self, id: &str) -> Step<Entry> {
        // The selectors of the run know kernels that the matrix does not: `host`, and paths.
        let selected = self.kernels.select(&Selection::of(&self.plan.selectors));
        let selected = selected.map_err(|error| infra(Reason::NotLocked, &error))?;
        selected.entries.into_iter().find(|entry| entry.id == id).ok_or_else(|| {
            let message =
                format!("kernel {id} was in the matrix when the run began and is not now");
            Verdict::because(Outcome::Infra, Reason::NotLocked, message)
        })
    }

    fn kernel(&self, entry: &Entry) -> Step<Unpacked> {
        match self.plan.kernels.get(&entry.id) {
            Some(kernel) => Ok(kernel.clone()),
            None => self.kernels.prepare(entry, &Silent).map_err(unavailable),
        }
    }

    fn external_btf(&self, entry: &Entry, kernel: &Unpacked) -> Step<PathBuf> {
        match self.plan.external_btf.get(&entry.id) {
            Some(file) => Ok(file.clone()),
            None => self.kernels.external_btf(entry, kernel).map_err(unavailable),
        }
    }

    /// A guest for one cell. `bootable` is the cell's machine.
    fn start(
        &self,
        cell: &Cell,
        bootable: &Bootable,
        notify: &mut dyn FnMut(String),
    ) -> Result<Start, LabError> {
        let checkpoints = Checkpoints::of(self.kernels.store());
        if primed::is_worthwhile(&self.plan, &cell.kernel, cell.btf) {
            let tracer = primed::tracer(&self.plan, &cell.kernel, cell.btf);
            // Nobody waits for the first cell of a mode, nor tries again what it could not do.
            if self.dir.is_first(&format!("primed-{}-{}", cell.kernel, cell.btf)) {
                let mut bootable = bootable.clone();
                bootable.console_file =
                    bootable.console_file.map(|file| file.with_file_name("primed.log"));
                checkpoints.prime(&bootable, &tracer, notify)?;
            }
            if let Some(guest) = checkpoints.primed(bootable, &tracer, notify)? {
                return Ok(Start::Primed(guest, primed::work(cell), self.timed(tracer)));
            }
        }
        let guest = match self.plan.cold {
            true => Guest::boot(bootable, lab::BOOT_TIMEOUT),
            false => checkpoints.guest(bootable, notify),
        };
        Ok(Start::Ready(guest?, self.timed(self.job(cell))))
    }

    /// What the first cell of a kernel does for all others: it boots and saves the guest that they are
    /// restored from, and takes the dossier that they are predicted by. The others wait for it.
    fn open_kernel(
        &self,
        entry: &Entry,
        kernel: &Unpacked,
        notify: &mut dyn FnMut(String),
    ) -> Step<()> {
        let file = self.dir.dossier(&entry.id);
        let host_io = |error: std::io::Error| infra(Reason::HostIo, &error);
        if file.exists() {
            return Ok(());
        }
        let lock = self.kernels.store().lock(&format!("first-{}", entry.id));
        let _lock = lock.map_err(|error| infra(Reason::HostIo, &error))?;
        if file.exists() {
            return Ok(());
        }
        let dossier = self.dossier(entry, kernel, notify);
        let external = self.dir.external_types(&entry.id);
        let create_parent = |file: &Path| fs::create_dir_all(file.parent().unwrap_or(file));
        if entry.btf_file.is_some() {
            create_parent(&external).map_err(host_io)?;
            let types = self.external_types(entry, kernel);
            write_json(&external, &types).map_err(host_io)?;
        }
        create_parent(&file).and_then(|()| write_json(&file, &dossier)).map_err(host_io)
    }

    /// None if it can't be had. Where that is because there is no guest, every cell can say why.
    fn dossier(
        &self,
        entry: &Entry,
        kernel: &Unpacked,
        notify: &mut dyn FnMut(String),
    ) -> Option<Dossier> {
        let bootable = self.bootable(entry, kernel, BtfMode::Embedded, notify).ok()?;
        if !self.plan.cold {
            Checkpoints::of(self.kernels.store()).prepare(&bootable, notify).ok()?;
        }
        let how = How { guest: &self.plan.guest, cold: self.plan.cold, refresh: false };
        match dossier::of_kernel(&self.kernels, kernel.clone(), how, notify) {
            Ok(archive) => Some(archive.dossier),
            Err(error) => {
                let why = chain(&error);
                notify(format!(
                    "{}: there is no dossier, so nothing is predicted: {why}",
                    entry.id
                ));
                None
            }
        }
    }

    /// What the run keeps as the dossier of a cell's kernel, if there is one.
    fn kept_dossier(&self, cell: &Cell) -> Step<Option<Dossier>> {
        read_json::<Option<Dossier>>(&self.dir.dossier(&cell.kernel))
            .map(Option::flatten)
            .map_err(|error| infra(Reason::HostIo, &error))
    }

    /// What the kernel's dossier lets expect of a cell.
    fn predict(&self, cell: &Cell, dossier: &Dossier) -> Option<Decision> {
        let types = match cell.btf {
            BtfMode::Embedded | BtfMode::Absent => GivenTypes::Own,
            BtfMode::Masked => GivenTypes::None,
            BtfMode::External => {
                let file = self.dir.external_types(&cell.kernel);
                let extract = read_json::<Option<Extract>>(&file).ok()?.flatten()?;
                return Some(dossier.predict(cell.scenario, GivenTypes::File(&extract)));
            }
        };
        Some(dossier.predict(cell.scenario, types))
    }

    /// None if the file is not there, or no BTF: the cells that need it say so.
    fn external_types(&self, entry: &Entry, kernel: &Unpacked) -> Option<Extract> {
        let file = self.external_btf(entry, kernel).ok()?;
        Some(Btf::parse(fs::read(file).ok()?).ok()?.extract(&wanted_types()))
    }

    /// The machine of a kernel, with the files that its cells in this mode need.
    fn bootable(
        &self,
        entry: &Entry,
        kernel: &Unpacked,
        mode: BtfMode,
        notify: &mut dyn FnMut(String),
    ) -> Step<Bootable> {
        let programs = ["kernlab-tracer", "kernlab-workload", "kernlab-workload-static"];
        let store = self.kernels.store();
        let mut bootable = machine::of_kernel(store, kernel, &self.plan.guest, &programs, notify)
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

    /// A job with the time of a cell.
    fn timed(&self, job: Job) -> Job {
        let given = self.plan.timeout.map(|seconds| Duration::from_secs(seconds.get().into()));
        let timeout = given.unwrap_or(TIMEOUT);
        job.timeout(timeout).grace(GRACE.min(timeout))
    }

    fn judge(
        &self,
        cell: &Cell,
        entry: &Entry,
        output: &JobOutput,
        evidence: &Path,
        report: &mut CellReport,
    ) -> Step<Judgement> {
        let host_io = |error: std::io::Error| infra(Reason::HostIo, &error);
        let record = record(output, cell)?;
        report.plan = Some(record.decision.clone());
        report.stages_ms.extend(stages_in_the_guest(output, &record));
        let mut with_types = None;
        if let Some(dossier) = self.kept_dossier(cell)? {
            with_types = Some(dossier.predict(cell.scenario, GivenTypes::Own));
            report.predicted = self.predict(cell, &dossier);
        }
        let shared_name = golden::shared_name(cell.scenario);
        let shared = golden::read(&self.snapshots, &shared_name).map_err(host_io)?;
        let deviation = deviation_of(cell, entry);
        let deviation_name = deviation.and_then(|deviation| deviation.snapshot.clone());
        let special = match &deviation_name {
            Some(name) => golden::read(&self.snapshots, name).map_err(host_io)?,
            None => None,
        };
        let golden = Golden { shared: shared.as_deref(), deviation: special.as_deref() };
        let mut judgement = judge(cell.scenario, &record, golden);
        if judgement.verdict.reason == Some(Reason::WorkloadFailed) {
            judgement.verdict.message.push_str(&said(output));
        }
        judgement.verdict = judge::against_types(judgement.verdict, with_types.as_ref());
        let Some(events) = &judgement.events else { return Ok(judgement) };
        fs::write(evidence.join(EVENTS_FILE), events).map_err(host_io)?;
        let name = deviation_name.unwrap_or(shared_name);
        report.snapshot = Some(name.clone());
        if !(self.plan.update_snapshots && judgement.confirmed) {
            return Ok(judgement);
        }
        golden::write(&self.snapshots, &name, events)
            .map_err(|error| infra(Reason::HostIo, &error))?;
        Ok(judge(cell.scenario, &record, Golden { shared: Some(events), deviation: None }))
    }
}

fn deviation_of<'a>(cell: &Cell, entry: &'a Entry) -> Option<&'a Deviation> {
    entry.deviations.iter().find(|deviation| {
        deviation.scenario == cell.scenario
            && deviation.backend.is_none_or(|backend| backend == cell.backend)
            && deviation.btf.is_none_or(|btf| btf == cell.btf)
    })
}

/// What the console printed; a guest that was restored may have printed nothing.
fn console(evidence: &Path) -> String {
    let console = fs::read(evidence.join("console.log")).unwrap_or_default();
    String::from_utf8_lossy(&console).into_owned()
}

/// The verdict on a guest that failed, with what its console said kept as evidence.
fn lab_verdict(error: &LabError, evidence: &Path) -> Verdict {
    let text = format!("{}\n\nagain: {}\n", error.evidence().console, error.evidence().reproduce);
    let mut verdict = error.verdict();
    if let Err(error) = fs::write(evidence.join("guest.txt"), text) {
        verdict.message.push_str(&format!("; its console could not be kept: {error}"));
    }
    verdict
}

/// Where a cell's time goes.
#[derive(Debug)]
struct Clock {
    last: Instant,
    laps: BTreeMap<String, u64>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { last: Instant::now(), laps: BTreeMap::new() }
    }
}

impl Clock {
    fn lap(&mut self, stage: &str) {
        self.laps.insert(stage.to_owned(), milliseconds(self.last.elapsed()));
        self.last = Instant::now();
    }
}
