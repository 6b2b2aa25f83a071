//! One cell of a suite: a guest, the suite's programs in it, and the verdict.

use std::{
    io, iter,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kernlab_core::{
    cell::{BackendKind, BtfMode},
    dossier::{
        Dossier,
        diff::Whole,
        missing::{KnownKernel, missing},
    },
    outcome::{Outcome, Reason, Verdict},
};
use kernlab_kernels::{Kernels, Observer, Unpacked, chain};
use kernlab_proto::suite::SuiteJob;
use kernlab_splat::AllowList;

use super::{
    gathered::{CollectedOutput, Gathered, Judged},
    job,
    manifest::Suite,
    packed::Packed,
    payload::{self, ArchiveError, absolute},
    proposals::Proposals,
    start::{CONDUCTOR, start},
    targets,
    unmatched::SharedRules,
};
use crate::{
    lab::{Bootable, Job, Limits, Stream},
    machine::{self, MachineError, Wanted},
    qemu::{Accelerator, InjectedFile},
    report::{CellReport, TracerReport},
    run::{cell::Clock, evidence::CellEvidence, judging, milliseconds},
    verdict::Trace,
};

/// The time for the conductor's own work, on top of the suite's: until what it killed is gone (2 s), helpers
/// have ended (1 s), output has arrived (10 s), programs are freed (1 s), and files are brought back (5 s).
pub(super) const MARGIN: Duration = Duration::from_secs(25);

/// The time in which files are brought back, without KVM four times that.
const COLLECT: Duration = Duration::from_secs(5);

/// The most bytes of a stream that are kept.
const OUTPUT: u64 = 512 << 20;

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
    /// Why one of the two is not there although the suite may ask for it.
    pub(crate) examination_failure: Option<&'a Verdict>,
    /// Archives that the guest gets beside those of the suite.
    pub(crate) more: &'a [InjectedFile],
}

/// The machine of a cell, and what runs in it.
#[derive(Clone, Debug)]
pub(crate) struct CellMachine {
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
    Archive(#[from] ArchiveError),
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
    let mut collected = CollectedOutput::default();
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
    let kept = collected.keep(evidence, &trace);
    clock.lap("kernel log");
    let golden_file = suite.golden.as_ref().map(|golden| setting.directory.join(golden));
    let golden = match &golden_file {
        Some(file) => {
            crate::run::dir::read_text(file).map_err(|error| unreadable_snapshot(file, &error))?
        }
        None => None,
    };
    let mut as_it_ran = suite.clone();
    as_it_ran.stop.within = planned.bootable.accelerator().scale_timeout(suite.stop.within);
    let gathered = Gathered {
        suite: as_it_ran,
        trace,
        collected,
        golden,
        dossier: cell.dossier.cloned(),
        whole: cell.whole.cloned(),
        examination_failure: cell.examination_failure.cloned(),
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
    let kept = kept.and(evidence.keep_events(judgement.events.as_deref()));
    if let Some(record) = &object {
        evidence.keep_verifier_logs(record);
    }
    setting.shared.add(judgement.shared);
    let mut remarks = judgement.remarks;
    remarks.extend(kept.err().map(|error| format!("not all evidence could be kept: {error}")));
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
    if let (Some(_), Some(failure)) = (&object, cell.examination_failure) {
        let known = if cell.dossier.is_some() { "only in part" } else { "not" };
        let why = failure.message.lines().next().unwrap_or_default();
        remarks.push(format!("what the kernel lacks for the object is {known} predicted: {why}"));
    }
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
) -> Result<CellMachine, PlanError> {
    let SuiteCell { suite, packed, .. } = *cell;
    let store = setting.kernels.store();
    let bootable = machine::with(store, cell.kernel, setting.guest, &[], &wanted(cell), observer)?;
    let timeout = setting.timeout.unwrap_or(suite.timeout);
    let mut job = packed.job.clone();
    set_times(&mut job, timeout, suite.stop.within, bootable.accelerator());
    if let Some(backend) = cell.backend {
        job.tracer.extend(["--backend".to_owned(), backend.to_string()]);
    }
    // A run may take longer than an unused archive is kept.
    for archive in iter::once(&packed.system).chain(&packed.own) {
        payload::touch(archive);
    }
    let job = job::file(&job).archive(store)?;
    let conductor = conductor(cell, longest(suite, timeout));
    Ok(CellMachine { bootable, job, conductor })
}

/// Tells the conductor how long the suite, its tracer's end and its files may take.
fn set_times(job: &mut SuiteJob, timeout: Duration, stop: Duration, accelerator: Accelerator) {
    let scaled = |time| milliseconds(accelerator.scale_timeout(time));
    (job.deadline_ms, job.collect_within_ms) = (scaled(timeout), scaled(COLLECT));
    job.stop.within_ms = scaled(stop);
}

/// What the kernel lacks of what the suite's BPF object needs, by its dossier.
fn predicted_missing(cell: &SuiteCell<'_>) -> Vec<String> {
    let (Some(needs), Some(dossier)) = (&cell.packed.needs, cell.dossier) else {
        return Vec::new();
    };
    let whole = cell.whole.map(|whole| &**whole);
    let missing = missing(needs, KnownKernel { dossier, whole });
    missing.into_iter().map(|missing| format!("{}: {}", missing.need, missing.why)).collect()
}

fn wanted(SuiteCell { suite, packed, kernel, .. }: &SuiteCell<'_>) -> Wanted {
    Wanted {
        memory_mib: Some(packed.memory_mib(suite, kernel.memory_mib)),
        processors: suite.guest.cpus,
        modules: suite.guest.modules.clone(),
        lsm: suite.guest.lsm.clone(),
        root: packed.root.clone(),
        kernel_words: Vec::new(),
    }
}

/// How long the conductor may take for a suite with this timeout.
fn longest(suite: &Suite, timeout: Duration) -> Duration {
    timeout + suite.stop.within + MARGIN
}

fn conductor(cell: &SuiteCell<'_>, timeout: Duration) -> Job {
    let job = Job::new([CONDUCTOR, "--pause"]).timeout(timeout).limits(Limits {
        stdout: OUTPUT,
        stderr: OUTPUT,
        result: OUTPUT,
    });
    let job = job.only_streamed();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_without_kvm_gets_four_times_as_long() {
        let times = |accelerator| {
            let mut job = SuiteJob::default();
            let seconds = Duration::from_secs;
            set_times(&mut job, seconds(30), seconds(3), accelerator);
            [job.deadline_ms, job.stop.within_ms, job.collect_within_ms]
        };
        assert_eq!(times(Accelerator::Kvm), [30_000, 3000, 5000]);
        assert_eq!(times(Accelerator::Tcg), [120_000, 12_000, 20_000]);
    }

    #[test]
    fn a_tracer_may_take_its_time_to_stop() {
        let mut suite = Suite::command(vec!["./tracer".to_owned()]);
        suite.stop.within = Duration::from_secs(600);
        assert!(longest(&suite, Duration::from_secs(30)) >= Duration::from_secs(630) + MARGIN);
    }
}
