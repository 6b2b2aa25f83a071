//! The verdict on a cell of a user's suite.

mod course;
mod expectations;

use std::collections::BTreeMap;

use kernlab_core::{
    dossier::missing::KnownKernel,
    object_record::ObjectRecord,
    outcome::{Outcome, Reason, Verdict},
};
use kernlab_proto::suite::End;
use kernlab_splat::Splat;

use self::{
    course::{of_conductor, of_remains, of_start, of_tracer, subject},
    expectations::{is_known_to_fail, named_functions, of_expectations},
};
use super::{GuestSplats, PolicyOutcome, SplatPolicy, Trace, lost_guest, object, out_of_memory};
use crate::{
    lab::{JobOutput, LabError},
    report::AllowedSplat,
    suite::{
        events,
        manifest::{Subject, Suite},
        observed::Observed,
        unmatched::Unmatched,
    },
};

/// The longest output, in bytes, of which events are kept if no golden snapshot needs them: the text of
/// events is several times as long as some output.
const LARGEST: usize = 16 << 20;

/// What one attempt at a cell of a suite showed, and what that is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SuiteInput<'a> {
    pub(crate) suite: &'a Suite,
    pub(crate) trace: &'a Trace,
    pub(crate) observed: &'a Observed,
    /// The outcome of the suite's BPF object, if it has one and its loader has told.
    pub(crate) object: Option<&'a ObjectRecord>,
    /// The text of the golden snapshot, if there is one.
    pub(crate) golden: Option<&'a str>,
    /// What is known of the kernel, if the suite expects something of some kernels.
    pub(crate) kernel: Option<KnownKernel<'a>>,
    /// Why not all of that is known.
    pub(crate) examination_failure: Option<&'a Verdict>,
    pub(crate) policy: SplatPolicy<'a>,
    /// The guest's memory in mebibytes.
    pub(crate) memory_mib: u32,
}

/// A verdict with what explains it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SuiteJudgement {
    pub(crate) verdict: Verdict,
    /// The events as they are compared with the golden snapshot.
    pub(crate) events: Option<String>,
    /// Expected against observed, as a unified diff, if they differ.
    pub(crate) diff: Option<String>,
    /// Whether the events could become the golden snapshot: nothing else is wrong.
    pub(crate) acceptable: bool,
    /// The splats without consequence.
    pub(crate) allowed: Vec<AllowedSplat>,
    /// What the user should know and what does not change the verdict.
    pub(crate) remarks: Vec<String>,
    /// Rules of the whole project, each with a remark if it matched nothing.
    pub(crate) shared: BTreeMap<String, Option<String>>,
}

impl SuiteJudgement {
    fn of(PolicyOutcome { verdict, allowed }: PolicyOutcome) -> Self {
        SuiteJudgement {
            verdict,
            events: None,
            diff: None,
            acceptable: false,
            allowed,
            remarks: Vec::new(),
            shared: BTreeMap::new(),
        }
    }

    fn because(outcome: Outcome, reason: Reason, message: impl Into<String>) -> Self {
        Self::of(PolicyOutcome::unchanged(Verdict::because(outcome, reason, message)))
    }
}

/// The verdict on one attempt at a cell of a suite. Each rule outranks those after it:
///
/// 1. a guest that was never ready reports why, and says nothing about the tracer;
/// 2. a lost guest: its kernel's crash, its splats, then the way in which it was lost;
/// 3. a splat that `splats.toml` does not allow, whatever the tracer says;
/// 4. a guest that ran out of memory;
/// 5. a guest that could not be prepared, or a program that could not be started;
/// 6. a tracer that was not ready, ended too early, did not end in time or when it was asked to;
/// 7. a workload that failed, unless the tracer had crashed;
/// 8. the tracer's exit code;
/// 9. processes and BPF programs that it left behind;
/// 10. events that were lost, or differ from the golden snapshot;
/// 11. assertions; or what became of the programs of a BPF object.
///
/// Then the suite's expectations are compared with that: an expected failure is `unsupported`, an
/// expected failure that did not occur is a failure.
pub(crate) fn of_suite(input: &SuiteInput<'_>) -> SuiteJudgement {
    let SuiteInput { suite, trace, observed, policy, memory_mib, .. } = *input;
    let mut judgement = match trace {
        Trace::NotStarted(error) => {
            let verdict = out_of_memory::with_advice(error.verdict(), memory_mib);
            return SuiteJudgement::of(PolicyOutcome::unchanged(verdict));
        }
        Trace::Lost(error) => {
            let lost = lost_guest::verdict(error, policy);
            let is_unknown = matches!(lost.verdict.outcome, Outcome::Infra | Outcome::Timeout);
            match is_unknown.then(|| shut_down(&error.evidence().console_log.text)).flatten() {
                Some(said) => {
                    let message = format!("a program of the suite shut the guest down: {said}");
                    let verdict = Verdict::because(Outcome::Fail, Reason::TracerDied, message);
                    SuiteJudgement::of(PolicyOutcome { verdict, ..lost })
                }
                None => {
                    let verdict =
                        lost_for_memory(error, policy, memory_mib).unwrap_or(lost.verdict);
                    SuiteJudgement::of(PolicyOutcome { verdict, allowed: lost.allowed })
                }
            }
        }
        Trace::Ended { output, kernel_log, console } => {
            let course = of_conductor(output, observed)
                .or_else(|| of_start(suite, observed))
                .or_else(|| of_tracer(suite, observed, output))
                .or_else(|| of_remains(suite, observed));
            let mut judgement = match course {
                Some(verdict) => SuiteJudgement::of(PolicyOutcome::unchanged(verdict)),
                None => match (&suite.subject, input.object) {
                    (Subject::Object(object), Some(record)) => {
                        let (verdict, remarks) = object::judge(object, record);
                        let judgement = SuiteJudgement::of(PolicyOutcome::unchanged(verdict));
                        SuiteJudgement { remarks, ..judgement }
                    }
                    (Subject::Object(_), None) => SuiteJudgement::because(
                        Outcome::Infra,
                        Reason::ConnectionLost,
                        unread_record(&output.stdout),
                    ),
                    _ => with_lost_output(suite, observed, of_events(suite, output, input.golden)),
                },
            };
            let is_kept = suite.golden.is_some() || output.stdout.len() <= LARGEST;
            if !is_kept {
                judgement.events = None;
            } else if judgement.events.is_none() && !matches!(suite.subject, Subject::Object(_)) {
                judgement.events = events::normalise(&output.stdout, suite).ok();
            }
            let mut splats = GuestSplats::of(kernel_log, console);
            let memory = splats.take_out_of_memory(policy);
            if let Some(first) = memory.first() {
                let then = &judgement.verdict;
                judgement.verdict = out_of_memory::verdict(&splats, first, memory_mib, then);
                judgement.acceptable = false;
            }
            let PolicyOutcome { verdict, allowed } =
                policy.apply(judgement.verdict, &splats, output.cpu_time);
            (judgement.verdict, judgement.allowed) = (verdict, allowed);
            judgement.remarks.extend(splats.remarks());
            judgement
        }
    };
    judgement.verdict = out_of_memory::with_advice(judgement.verdict, memory_mib);
    judgement.verdict = of_expectations(input, judgement.verdict);
    // Neither what a kernel is known to get wrong, nor the consequences of a kernel that complained.
    judgement.acceptable &= matches!(judgement.verdict.outcome, Outcome::Pass | Outcome::Fail)
        && !is_known_to_fail(input);
    judgement.shared.extend(named_functions(input));
    judgement
}

/// Why it is not known what became of a BPF object.
fn unread_record(record: &[u8]) -> String {
    match serde_json::from_slice::<ObjectRecord>(record) {
        Err(error) if !record.is_empty() => {
            format!("the loader's record can't be read: {error}")
        }
        _ => "the loader sent no record".to_owned(),
    }
}

/// The verdict on a lost guest whose kernel complains of nothing but a lack of memory, and of the time
/// that this took.
fn lost_for_memory(error: &LabError, policy: SplatPolicy<'_>, memory_mib: u32) -> Option<Verdict> {
    let mut splats = GuestSplats::of_console(&error.evidence().console_log);
    let memory = splats.take_out_of_memory(policy);
    let is_other = |splat: &Splat| !splat.kind.is_slowness() && !policy.allows(splat);
    let others = splats.splats().iter().any(is_other);
    let first = memory.first().filter(|_| !others)?;
    Some(out_of_memory::verdict(&splats, first, memory_mib, &error.verdict()))
}

/// What the kernel said last if it was told to restart, halt or power off: kernel/reboot.c.
fn shut_down(console: &str) -> Option<&str> {
    let last = console.trim_end().lines().last()?;
    let (_, said) = last.split_once("reboot: ")?;
    ["Restarting system", "Power down", "System halted", "machine restart"]
        .iter()
        .any(|known| said.starts_with(known))
        .then_some(said)
}

fn of_events(suite: &Suite, output: &JobOutput, golden: Option<&str>) -> SuiteJudgement {
    let is_compared = suite.golden.is_some() || output.stdout.len() <= LARGEST;
    let normalised = is_compared.then(|| events::normalise(&output.stdout, suite));
    let observed = match normalised.transpose() {
        Ok(observed) => observed.unwrap_or_default(),
        Err(error) => {
            let message = format!("the events can't be compared: {error}");
            return SuiteJudgement::because(Outcome::Fail, Reason::EventsDiffer, message);
        }
    };
    let (mut verdict, mut diff, mut acceptable) = (Verdict::pass(), None, true);
    if let Some(message) = of_lost(suite, output) {
        verdict = Verdict::because(Outcome::Fail, Reason::EventsLost, message);
        acceptable = false;
    } else if let Some(path) = &suite.golden {
        match golden {
            None if observed.is_empty() => {
                let message = format!(
                    "there is no golden snapshot {}, and the tracer printed no events: an empty snapshot \
                     is not written",
                    path.display()
                );
                verdict = Verdict::because(Outcome::Fail, Reason::SnapshotMissing, message);
                acceptable = false;
            }
            None => {
                let message = format!(
                    "there is no golden snapshot {}: read the events, and accept them with \
                     --update-snapshots",
                    path.display()
                );
                verdict = Verdict::because(Outcome::Fail, Reason::SnapshotMissing, message);
                diff = events::diff("", &observed);
            }
            Some(expected) => {
                diff = events::diff(expected, &observed);
                if diff.is_some() {
                    let message =
                        format!("the events differ from the golden snapshot {}", path.display());
                    verdict = Verdict::because(Outcome::Fail, Reason::EventsDiffer, message);
                }
            }
        }
    }
    let are_compared = [None, Some(Reason::EventsDiffer), Some(Reason::SnapshotMissing)];
    if are_compared.contains(&verdict.reason) {
        let failures: Vec<_> = suite
            .assertions
            .iter()
            .filter_map(|assertion| assertion.check(&output.stdout, &output.stderr).err())
            .map(|failure| failure.to_string())
            .collect();
        if !failures.is_empty() {
            acceptable = false;
            let message = failures.join("\n");
            match verdict.outcome {
                Outcome::Pass => {
                    verdict = Verdict::because(Outcome::Fail, Reason::AssertionFailed, message);
                }
                _ => verdict.message.push_str(&format!("\n{message}")),
            }
        }
    }
    let judgement = SuiteJudgement::of(PolicyOutcome::unchanged(verdict));
    let Unmatched { own: remarks, shared } = Unmatched::of(suite, &output.stdout, &output.stderr);
    SuiteJudgement { events: Some(observed), diff, acceptable, remarks, shared, ..judgement }
}

/// Why too many events were lost, or why nobody knows.
fn of_lost(suite: &Suite, output: &JobOutput) -> Option<String> {
    let lost = suite.lost.as_ref()?;
    let subject = subject(suite);
    match events::lost(&output.stdout, &output.stderr, lost) {
        Ok(count) if count <= lost.max => None,
        // The sum of larger numbers is not known.
        Ok(u64::MAX) => Some(format!("{subject} reports more lost events than 64 bits can count")),
        Ok(count) => {
            Some(format!("{subject} reports {count} lost events, and {} are allowed", lost.max))
        }
        Err(error) => Some(format!("how many events {subject} lost is not known: {error}")),
    }
}

/// A program that a signal kills does not write what is still in its buffers.
fn with_lost_output(
    suite: &Suite,
    observed: &Observed,
    mut judgement: SuiteJudgement,
) -> SuiteJudgement {
    let is_killed = observed.tracer.is_some_and(|tracer| matches!(tracer.end, End::Signal(_)));
    if is_killed && judgement.verdict.outcome == Outcome::Fail {
        let signal = &suite.stop.signal;
        judgement.verdict.message.push_str(&format!(
            "\nthe tracer does not handle SIG{signal}, which killed it: what it had not flushed is lost"
        ));
    }
    judgement
}

#[cfg(test)]
mod tests;
