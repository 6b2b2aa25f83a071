//! What a cell's guest told, and the verdict that rests on it.

use std::{io, sync::Arc};

use kernlab_core::{
    dossier::{Dossier, diff::Whole, missing::KnownKernel},
    object_record::ObjectRecord,
    outcome::Verdict,
};
use kernlab_splat::AllowList;

use super::{
    manifest::{Subject, Suite},
    observed::Observed,
};
use crate::{
    lab::Stream,
    report::TracerReport,
    run::evidence::CellEvidence,
    verdict::{
        SplatPolicy, Trace,
        suite::{self as judge, SuiteInput, SuiteJudgement},
    },
};

/// All that a verdict rests on. It outlives its cell, because a verdict that takes too long is left
/// behind.
pub(super) struct Gathered {
    pub(super) suite: Suite,
    pub(super) trace: Trace,
    pub(super) collected: CollectedOutput,
    pub(super) golden: Option<String>,
    pub(super) dossier: Option<Dossier>,
    pub(super) whole: Option<Arc<Whole>>,
    pub(super) examination_failure: Option<Verdict>,
    pub(super) allow: AllowList,
    pub(super) memory_mib: u32,
    /// Whether the events may become the golden snapshot.
    pub(super) proposes: bool,
}

/// A verdict, and what was read on the way to it.
pub(super) struct Judged {
    pub(super) judgement: SuiteJudgement,
    /// The events that are to become the golden snapshot.
    pub(super) proposed: Option<String>,
    pub(super) observed: Observed,
    /// The outcome of the suite's BPF object, if it has one and its loader has told.
    pub(super) object: Option<ObjectRecord>,
    pub(super) tracer: TracerReport,
}

impl Gathered {
    /// How many bytes the guest has sent.
    pub(super) fn size(&self) -> usize {
        let CollectedOutput { stdout, stderr, reports } = &self.collected;
        stdout.len() + stderr.len() + reports.len()
    }

    pub(super) fn judged(mut self) -> Judged {
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
        let input = SuiteInput {
            suite: &self.suite,
            trace: &self.trace,
            observed: &observed,
            object: object.as_ref(),
            golden: self.golden.as_deref(),
            kernel: self.dossier.as_ref().map(|dossier| KnownKernel { dossier, whole }),
            examination_failure: self.examination_failure.as_ref(),
            policy: SplatPolicy { expected: None, allow: &self.allow },
            memory_mib: self.memory_mib,
        };
        let mut judgement = judge::of_suite(&input);
        let is_proposed = self.proposes && judgement.acceptable && self.suite.golden.is_some();
        let proposed = judgement.events.clone().filter(|_| is_proposed);
        if let Some(events) = &proposed {
            judgement = judge::of_suite(&SuiteInput { golden: Some(events), ..input });
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

/// What arrived, also from a guest that was lost.
#[derive(Debug, Default)]
pub(super) struct CollectedOutput {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    reports: Vec<u8>,
}

impl CollectedOutput {
    pub(super) fn add(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
            Stream::Result => self.reports.extend_from_slice(bytes),
            Stream::KernelLog => {}
        }
    }

    pub(super) fn keep(&self, evidence: &CellEvidence, trace: &Trace) -> io::Result<()> {
        let streams = evidence.keep_streams(&self.stdout, &self.stderr, &self.reports);
        let guest = match trace {
            Trace::NotStarted(error) | Trace::Lost(error) => evidence.keep_lost_guest(error),
            Trace::Ended { kernel_log, .. } => evidence.keep_kernel_log(kernel_log),
        };
        streams.and(guest)
    }
}
