//! One cell of a suite: a guest, the suite's programs in it, and the verdict.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kernlab_core::{
    cell::{BackendKind, BtfMode},
    dossier::{
        Dossier,
        diff::Whole,
        missing::{Asked, missing},
    },
    needs::{self, Needs},
    object_record::ObjectRecord,
    outcome::{Outcome, Reason, Verdict},
};
use kernlab_kernels::{Kernels, Observer, Unpacked, chain};
use kernlab_proto::suite::SuiteJob;
use kernlab_splat::AllowList;

use super::{
    job::{self, Circumstances},
    manifest::{Subject, Suite},
    observed::Observed,
    payload::{PayloadError, absolute},
    proposals::Proposals,
    start::{CONDUCTOR, start},
    targets,
    unmatched::SharedRules,
};
use crate::{
    image::root::{RootError, RootImage, RootStore},
    lab::{Bootable, Job, Limits, Stream},
    machine::{self, MachineError, Wanted},
    qemu::InjectedFile,
    report::{CellReport, TracerReport},
    run::{cell::Clock, evidence::CellEvidence, judging, milliseconds},
    verdict::{
        SplatPolicy, Trace,
        suite::{self as judge, SuiteFindings, SuiteJudgement},
    },
};

/// The time for the conductor's own work, on top of the suite's.
pub(super) const MARGIN: Duration = Duration::from_secs(15);

/// The time in which files are brought back, without KVM four times that.
const COLLECT: Duration = Duration::from_secs(5);

/// The most bytes of a stream that are kept.
const OUTPUT: u64 = 512 << 20;

/// A suite whose files are packed.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// What the system provides.
    pub(super) system: PathBuf,
    /// The suite's own files, if it has any.
    pub(super) own: Option<PathBuf>,
    /// Where this machine has the suite's own files.
    pub(super) own_files: Vec<PathBuf>,
    /// Whether several guests get the suite's own files, in this run or before.
    pub(crate) is_shared: bool,
    pub(crate) job: SuiteJob,
    /// The bytes of all files in the guest's memory.
    size: u64,
    /// The bytes of the files that the system provides.
    pub(super) system_size: u64,
    /// The bytes of the suite's own files.
    pub(super) own_size: u64,
    root: Option<RootImage>,
    /// What the suite's BPF object needs of a kernel, if it has one that can be read.
    needs: Option<Needs>,
}

impl Packed {
    /// The same files, with the arguments of another suite with the same program.
    pub(crate) fn with_arguments_of(&self, suite: &Suite) -> Self {
        let mut packed = self.clone();
        if let Subject::Run(command) = &suite.subject {
            packed.job.tracer.truncate(1);
            packed.job.tracer.extend(command.argv().into_iter().skip(1));
        }
        packed
    }
}

/// Why a suite can't be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file is missing, or can't run in a guest.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The files can't be packed.
    #[error(transparent)]
    Archive(#[from] super::payload::ArchiveError),
    /// The root file system can't be made into a disk.
    #[error(transparent)]
    Root(#[from] RootError),
}

impl PackError {
    /// Whether the store could not be written: then nothing is wrong with the suite.
    pub fn is_about_the_store(&self) -> bool {
        match self {
            PackError::Archive(error) => error.is_about_the_store(),
            PackError::Root(error) => {
                matches!(error, RootError::Write { .. } | RootError::Store(_))
            }
            _ => false,
        }
    }
}

/// Collects and packs the files of a suite.
pub(crate) fn pack(
    suite: &Suite,
    at: &Circumstances,
    kernels: &Kernels,
    guest: &Path,
    observer: &dyn Observer,
) -> Result<Packed, PackError> {
    let (payload, job) = job::prepare(suite, at, guest)?;
    let size = payload.size();
    let (system, own) = payload.split(&own_places(suite, at));
    let (system_size, own_size) = (system.size(), own.size());
    let root = suite
        .root
        .as_ref()
        .map(|root| RootStore::of(kernels.store()).image_of(&at.directory.join(root), observer));
    let root = root.transpose()?;
    let needs = match &suite.subject {
        Subject::Object(object) => fs::read(at.directory.join(&object.path))
            .ok()
            .and_then(|bytes| needs::of_object(&bytes).ok()),
        Subject::Run(_) | Subject::Bpftrace(_) => None,
    };
    let system = system.archive(kernels.store())?;
    let own_files = own.files().map(Path::to_owned).collect();
    let own = (!own.is_empty()).then(|| own.archived(kernels.store())).transpose()?;
    let (own, is_shared) = own.map_or((None, false), |(own, is_known)| (Some(own), is_known));
    Ok(Packed { system, own, own_files, is_shared, job, size, system_size, own_size, root, needs })
}

/// Where the files are that are not the system's: in the project, and the program of a test.
fn own_places(suite: &Suite, at: &Circumstances) -> Vec<PathBuf> {
    let mut places = vec![suite.directory.as_ref().unwrap_or(&at.directory).clone()];
    if let (true, Subject::Run(command)) = (suite.is_test, &suite.subject) {
        let program = command.argv().first().map(|program| absolute(&places[0].join(program)));
        places.extend(program.iter().filter_map(|program| program.canonicalize().ok()));
        places.extend(program);
    }
    places.extend(suite.data.iter().cloned());
    places
}

/// What a cell needs to know of its run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) kernels: &'a Kernels,
    /// The directory of the guest's programs.
    pub(crate) guest: &'a Path,
    pub(crate) allow: &'a AllowList,
    pub(crate) cold: bool,
    /// Instead of the suite's own.
    pub(crate) timeout: Option<Duration>,
    /// The golden snapshots that are to be written, if any are.
    pub(crate) proposals: Option<&'a Proposals>,
    /// Rules of the project that concern all suites.
    pub(crate) shared: &'a SharedRules,
    /// The directory that the suite's paths start from.
    pub(crate) directory: &'a Path,
}

/// One cell, on a kernel that is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SuiteCell<'a> {
    /// `kernel/btf/backend/name`.
    pub(crate) id: &'a str,
    pub(crate) suite: &'a Suite,
    pub(crate) packed: &'a Packed,
    pub(crate) kernel: &'a Unpacked,
    pub(crate) btf: BtfMode,
    /// The loader of a BPF object.
    pub(crate) backend: Option<BackendKind>,
    pub(crate) dossier: Option<&'a Dossier>,
    /// Everything that the kernel has, if a prediction is to be made for a BPF object, or a suite names
    /// any function in an expectation.
    pub(crate) whole: Option<&'a Arc<Whole>>,
    /// Archives that the guest gets beside those of the suite.
    pub(crate) more: &'a [InjectedFile],
}

/// The machine of a cell, and what runs in it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) bootable: Bootable,
    /// The archive with the conductor's job.
    pub(super) job: PathBuf,
    pub(super) conductor: Job,
}

/// Why a cell has no machine.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The machine can't be set up.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The files can't be packed.
    #[error(transparent)]
    Archive(#[from] super::payload::ArchiveError),
}

impl PlanError {
    fn reason(&self) -> Reason {
        match self {
            PlanError::Machine(error) => error.reason(),
            PlanError::Archive(_) => Reason::HostIo,
        }
    }
}

/// Is told what a tracer writes, when it arrives.
pub(crate) type Heard<'a> = &'a mut dyn FnMut(Stream, &[u8]);

/// Runs a cell and keeps its evidence.
pub(crate) fn run(
    cell: &SuiteCell<'_>,
    setting: &Setting<'_>,
    evidence: &CellEvidence,
    observer: &dyn Observer,
    heard: Heard<'_>,
) -> CellReport {
    let began = Instant::now();
    let attempted = judging::caught(|| attempt(cell, setting, evidence, observer, heard));
    let mut report = attempted
        .unwrap_or_else(|error| Err(Box::new(error.verdict())))
        .unwrap_or_else(|verdict| CellReport::of_verdict(cell.id, *verdict));
    report.duration_ms = milliseconds(began.elapsed());
    report
}

fn attempt(
    cell: &SuiteCell<'_>,
    setting: &Setting<'_>,
    evidence: &CellEvidence,
    observer: &dyn Observer,
    heard: Heard<'_>,
) -> Result<CellReport, Box<Verdict>> {
    let infra = |reason: Reason, error: &(dyn std::error::Error + 'static)| {
        Box::new(Verdict::because(Outcome::Infra, reason, chain(error)))
    };
    let suite = cell.suite;
    let mut clock = Clock::default();
    let mut planned =
        plan(cell, setting, observer).map_err(|error| infra(error.reason(), &error))?;
    planned.bootable.console_file = Some(evidence.console_file());
    let mut collected = Heardings::default();
    clock.lap("prepare");
    let started = start(cell, setting, &planned, observer);
    clock.lap("guest");
    let mut release = None;
    let trace = match started {
        Err(error) => Trace::NotStarted(error),
        Ok(start) => {
            crate::verdict::release::of_guest(start.hello(), cell.kernel)?;
            release = Some(start.hello().release.clone());
            let ran = start.run(&mut |stream, bytes| {
                collected.add(stream, bytes);
                heard(stream, bytes);
            });
            clock.lap("trace");
            match ran.and_then(|(mut guest, output)| {
                let kernel_log = guest.kernel_log()?.to_owned();
                Ok((output, kernel_log))
            }) {
                Ok((output, kernel_log)) => {
                    Trace::Ended { output, kernel_log, console: evidence.console() }
                }
                Err(error) => Trace::Lost(error),
            }
        }
    };
    collected.keep(evidence, &trace);
    clock.lap("kernel log");
    let golden_file = suite.golden.as_ref().map(|golden| setting.directory.join(golden));
    let golden = match &golden_file {
        Some(file) => {
            crate::run::dir::read_text(file).map_err(|error| unreadable_snapshot(file, &error))?
        }
        None => None,
    };
    let gathered = Gathered {
        suite: suite.clone(),
        trace,
        collected,
        golden,
        dossier: cell.dossier.cloned(),
        whole: cell.whole.cloned(),
        allow: setting.allow.clone(),
        memory_mib: planned.bootable.machine.memory_mib,
        proposes: setting.proposals.is_some(),
    };
    let Judged { judgement, proposed, observed, object, tracer } =
        judging::within(judging::deadline_for(gathered.size()), || gathered.judged())
            .map_err(|error| Box::new(error.verdict()))?;
    let not_kept = evidence.keep_collected(&observed.collected);
    if let (Some(proposals), Some(file), Some(events)) =
        (setting.proposals, &golden_file, &proposed)
    {
        proposals.add(absolute(file), cell.id, events);
    }
    evidence.keep_events(judgement.events.as_deref());
    if let Some(record) = &object {
        evidence.keep_verifier_logs(record);
    }
    setting.shared.add(judgement.shared);
    let mut remarks = judgement.remarks;
    remarks.extend(not_collected(observed.not_collected.into_iter().chain(not_kept)));
    // Of a suite that passes, nobody asks for them.
    let targets = match judgement.verdict.outcome {
        Outcome::Pass => Vec::new(),
        _ => {
            targets::of(cell.packed.own_files.iter().map(PathBuf::as_path), &cell.packed.job.tracer)
                .into_iter()
                .collect()
        }
    };
    let predicted_missing = if object.is_some() { predicted_missing(cell) } else { Vec::new() };
    clock.lap("judge");
    Ok(CellReport {
        release,
        stages_ms: clock.laps,
        diff: judgement.diff,
        snapshot: suite.golden.as_ref().map(|golden| golden.display().to_string()),
        allowed: judgement.allowed,
        remarks,
        tracer: Some(TracerReport { targets, predicted_missing, ..tracer })
            .filter(|_| observed.started),
        ..CellReport::of_verdict(cell.id, judgement.verdict)
    })
}

/// All that a verdict rests on. It outlives its cell, because a verdict that takes too long is left
/// behind.
struct Gathered {
    suite: Suite,
    trace: Trace,
    collected: Heardings,
    golden: Option<String>,
    dossier: Option<Dossier>,
    whole: Option<Arc<Whole>>,
    allow: AllowList,
    memory_mib: u32,
    /// Whether the events may become the golden snapshot.
    proposes: bool,
}

/// A verdict, and what was read on the way to it.
struct Judged {
    judgement: SuiteJudgement,
    /// The events that are to become the golden snapshot.
    proposed: Option<String>,
    observed: Observed,
    /// What became of the suite's BPF object, if it has one and its loader has told.
    object: Option<ObjectRecord>,
    tracer: TracerReport,
}

impl Gathered {
    /// How many bytes the guest has sent.
    fn size(&self) -> usize {
        let Heardings { stdout, stderr, reports } = &self.collected;
        stdout.len() + stderr.len() + reports.len()
    }

    fn judged(mut self) -> Judged {
        let observed = Observed::read(&self.collected.reports);
        let object = match &self.suite.subject {
            Subject::Object(_) => serde_json::from_slice(&self.collected.stdout).ok(),
            Subject::Run(_) | Subject::Bpftrace(_) => None,
        };
        if let Trace::Ended { output, .. } = &mut self.trace {
            output.stdout = std::mem::take(&mut self.collected.stdout);
            output.stderr = std::mem::take(&mut self.collected.stderr);
        }
        let whole = self.whole.as_deref();
        let findings = SuiteFindings {
            suite: &self.suite,
            trace: &self.trace,
            observed: &observed,
            object: object.as_ref(),
            golden: self.golden.as_deref(),
            kernel: self.dossier.as_ref().map(|dossier| Asked { dossier, whole }),
            policy: SplatPolicy { expected: None, allow: &self.allow },
            memory_mib: self.memory_mib,
        };
        let mut judgement = judge::of_suite(&findings);
        let is_proposed = self.proposes && judgement.acceptable && self.suite.golden.is_some();
        let proposed = judgement.events.clone().filter(|_| is_proposed);
        if let Some(events) = &proposed {
            judgement = judge::of_suite(&SuiteFindings { golden: Some(events), ..findings });
        }
        let tracer = match (&self.suite.subject, &object) {
            (Subject::Object(subject), Some(record)) => {
                TracerReport::of_object(&observed, subject, record)
            }
            _ => TracerReport::of(&observed),
        };
        Judged { judgement, proposed, observed, object, tracer }
    }
}

/// The verdict on a cell whose golden snapshot can't be read, or is no text.
fn unreadable_snapshot(file: &Path, error: &io::Error) -> Box<Verdict> {
    let message = format!("cannot read the golden snapshot {}: {error}", file.display());
    Box::new(Verdict::because(Outcome::Infra, Reason::HostIo, message))
}

/// Packs what a cell needs, and sets up its machine.
pub(crate) fn plan(
    cell: &SuiteCell<'_>,
    setting: &Setting<'_>,
    observer: &dyn Observer,
) -> Result<Planned, PlanError> {
    let SuiteCell { suite, packed, .. } = *cell;
    let store = setting.kernels.store();
    let bootable = machine::with(store, cell.kernel, setting.guest, &[], &wanted(cell), observer)?;
    let timeout = setting.timeout.unwrap_or(suite.timeout);
    let mut job = packed.job.clone();
    let scaled = |time| milliseconds(bootable.accelerator().scale_timeout(time));
    (job.deadline_ms, job.collect_within_ms) = (scaled(timeout), scaled(COLLECT));
    if let Some(backend) = cell.backend {
        job.tracer.extend(["--backend".to_owned(), backend.to_string()]);
    }
    let job = job::file(&job).archive(store)?;
    let conductor = conductor(cell, timeout + suite.stop.within + MARGIN);
    Ok(Planned { bootable, job, conductor })
}

/// What the kernel lacks of what the suite's BPF object needs, by its dossier.
fn predicted_missing(cell: &SuiteCell<'_>) -> Vec<String> {
    let (Some(needs), Some(dossier)) = (&cell.packed.needs, cell.dossier) else {
        return Vec::new();
    };
    let whole = cell.whole.map(|whole| &**whole);
    let missing = missing(needs, Asked { dossier, whole });
    missing.into_iter().map(|missing| format!("{}: {}", missing.need, missing.why)).collect()
}

/// What the suite asks for, and memory for its files.
fn wanted(SuiteCell { suite, packed, kernel, .. }: &SuiteCell<'_>) -> Wanted {
    const UNIT: u64 = 64 << 20;
    // A small payload fits in what every guest has.
    let files = packed.size.saturating_sub(UNIT / 2).next_multiple_of(UNIT) >> 20;
    let files = u32::try_from(files).unwrap_or(u32::MAX / 2);
    // A program's own files in memory are beside those that it maps.
    let enough = kernel.memory_mib.saturating_add(files * 3 / 2);
    Wanted {
        memory_mib: Some(suite.guest.memory_mib.unwrap_or(enough)),
        processors: suite.guest.cpus,
        modules: suite.guest.modules.clone(),
        lsm: suite.guest.lsm.clone(),
        root: packed.root.clone(),
        kernel_words: Vec::new(),
    }
}

fn conductor(cell: &SuiteCell<'_>, timeout: Duration) -> Job {
    let job = Job::new([CONDUCTOR, "--pause"]).timeout(timeout).limits(Limits {
        stdout: OUTPUT,
        stderr: OUTPUT,
        result: OUTPUT,
    });
    let job = job.heard_only();
    hidden(cell).into_iter().fold(job, Job::hide)
}

/// The paths that the suite and the BTF mode hide from programs.
pub(crate) fn hidden(cell: &SuiteCell<'_>) -> Vec<String> {
    let btf = match cell.btf {
        BtfMode::Masked | BtfMode::External => Some("/sys/kernel/btf".to_owned()),
        BtfMode::Embedded | BtfMode::Absent => None,
    };
    cell.suite.hide.iter().cloned().chain(btf).collect()
}

/// How many files that were not brought back are named.
const NAMED: usize = 5;

/// Remarks on files that were not brought back, or that can't be kept.
fn not_collected(files: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut remarks: Vec<_> =
        files.map(|(path, why)| format!("{path} was not brought back: {why}")).collect();
    if remarks.len() > NAMED {
        let more = remarks.len() - NAMED;
        remarks.truncate(NAMED);
        remarks.push(format!("{more} more files were not brought back: see record.jsonl"));
    }
    remarks
}

/// What arrived, also from a guest that was lost.
#[derive(Debug, Default)]
struct Heardings {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    reports: Vec<u8>,
}

impl Heardings {
    fn add(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
            Stream::Result => self.reports.extend_from_slice(bytes),
            Stream::KernelLog => {}
        }
    }

    fn keep(&self, evidence: &CellEvidence, trace: &Trace) {
        evidence.keep_streams(&self.stdout, &self.stderr, &self.reports);
        match trace {
            Trace::NotStarted(error) | Trace::Lost(error) => {
                let _ = evidence.keep_lost_guest(error);
            }
            Trace::Ended { kernel_log, .. } => {
                let _ = evidence.keep_kernel_log(kernel_log);
            }
        }
    }
}
