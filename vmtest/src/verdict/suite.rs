//! The verdict on a cell of a user's suite.

use std::collections::BTreeMap;

use kernlab_core::{
    dossier::missing::Asked,
    object_record::ObjectRecord,
    outcome::{Outcome, Reason, Verdict},
};
use kernlab_proto::suite::{Cause, End, Part};
use strsim::osa_distance;

use super::{
    GuestSplats, PolicyOutcome, SplatPolicy, Trace, lost_guest, object, said::last_lines,
    want_of_memory,
};
use crate::{
    lab::{Exit, JobOutput, LabError},
    report::AllowedSplat,
    suite::{
        events,
        manifest::{Expectation, Subject, Suite},
        observed::{Observed, TracerEnd},
        spelling::nearest,
        unmatched::Unmatched,
    },
};

/// The longest output, in bytes, of which events are kept if no golden snapshot needs them: the text of
/// events is several times as long as some output.
const LARGEST: usize = 16 << 20;
/// How many letters of a name a slip of the pen changes at most.
const SLIP: usize = 2;

/// The findings of one attempt at a cell of a suite, and what they are compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SuiteFindings<'a> {
    pub(crate) suite: &'a Suite,
    pub(crate) trace: &'a Trace,
    pub(crate) observed: &'a Observed,
    /// What became of the suite's BPF object, if it has one and its loader has told.
    pub(crate) object: Option<&'a ObjectRecord>,
    /// The text of the golden snapshot, if there is one.
    pub(crate) golden: Option<&'a str>,
    /// What is known of the kernel, if the suite expects something of some kernels.
    pub(crate) kernel: Option<Asked<'a>>,
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
/// 7. a workload that failed;
/// 8. the tracer's exit code;
/// 9. processes and BPF programs that it left behind;
/// 10. events that were lost, or differ from the golden snapshot;
/// 11. assertions; or what became of the programs of a BPF object.
///
/// Then the suite's expectations are compared with that: an expected failure is `unsupported`, an
/// expected failure that did not occur is a failure.
pub(crate) fn of_suite(findings: &SuiteFindings<'_>) -> SuiteJudgement {
    let SuiteFindings { suite, trace, observed, policy, memory_mib, .. } = *findings;
    let mut judgement = match trace {
        Trace::NotStarted(error) => {
            let verdict = want_of_memory::with_advice(error.verdict(), memory_mib);
            return SuiteJudgement::of(PolicyOutcome::unchanged(verdict));
        }
        Trace::Lost(error) => {
            let lost = lost_guest::verdict(error, policy);
            let is_unknown = matches!(lost.verdict.outcome, Outcome::Infra | Outcome::Timeout);
            match is_unknown.then(|| shut_down(&error.evidence().console_log.text)).flatten() {
                Some(said) => SuiteJudgement::because(
                    Outcome::Fail,
                    Reason::TracerDied,
                    format!("a program of the suite shut the guest down: {said}"),
                ),
                None => SuiteJudgement::of(lost_for_memory(error, memory_mib).unwrap_or(lost)),
            }
        }
        Trace::Ended { output, kernel_log, console } => {
            let course = of_conductor(output, observed)
                .or_else(|| of_start(suite, observed))
                .or_else(|| of_tracer(suite, observed, output))
                .or_else(|| of_remains(suite, observed));
            let mut judgement = match course {
                Some(verdict) => SuiteJudgement::of(PolicyOutcome::unchanged(verdict)),
                None => match (&suite.subject, findings.object) {
                    (Subject::Object(object), Some(record)) => SuiteJudgement::of(
                        PolicyOutcome::unchanged(object::verdict(object, record)),
                    ),
                    (Subject::Object(_), None) => SuiteJudgement::because(
                        Outcome::Infra,
                        Reason::ConnectionLost,
                        "what became of the object did not arrive",
                    ),
                    _ => {
                        with_lost_output(suite, observed, of_events(suite, output, findings.golden))
                    }
                },
            };
            let is_kept = suite.golden.is_some() || output.stdout.len() <= LARGEST;
            if !is_kept {
                judgement.events = None;
            } else if judgement.events.is_none() && !matches!(suite.subject, Subject::Object(_)) {
                judgement.events = events::normalise(&output.stdout, suite).ok();
            }
            let mut splats = GuestSplats::of(kernel_log, console);
            let memory = splats.take_want_of_memory();
            if let Some(first) = memory.first() {
                let then = &judgement.verdict;
                judgement.verdict = want_of_memory::verdict(&splats, first, memory_mib, then);
                judgement.acceptable = false;
            }
            let PolicyOutcome { verdict, allowed } =
                policy.apply(judgement.verdict, &splats, output.cpu_time);
            (judgement.verdict, judgement.allowed) = (verdict, allowed);
            judgement.remarks.extend(splats.remarks());
            judgement
        }
    };
    judgement.verdict = want_of_memory::with_advice(judgement.verdict, memory_mib);
    judgement.verdict = of_expectations(findings, judgement.verdict);
    judgement.shared.extend(named_functions(findings));
    judgement
}

/// The functions that expectations name, each with a remark if the kernel lacks it and has one of
/// almost that name. Only if all kernels do, it is a slip of the pen.
fn named_functions(findings: &SuiteFindings<'_>) -> BTreeMap<String, Option<String>> {
    let Some(whole) = findings.kernel.and_then(|kernel| kernel.whole) else {
        return BTreeMap::new();
    };
    let suite = &findings.suite;
    let names = suite.expect.iter().flat_map(|expectation| expectation.when.other_functions());
    let told = |name: &str| {
        let rule = format!("symbol.{name}");
        if whole.function_names.contains(name) {
            return Some((rule, None));
        }
        let known = whole.function_names.iter().map(String::as_str);
        let other = nearest(name, known.filter(|known| osa_distance(name, known) <= SLIP))?;
        let suite = &suite.name;
        let remark = format!(
            "{suite}: no kernel of this run has `{rule}`, which `expect` names: did you mean \
             `symbol.{other}`?"
        );
        Some((rule, Some(remark)))
    };
    names.filter_map(told).collect()
}

/// The verdict on a lost guest whose kernel complains of nothing but want of memory, and of the time
/// that this took.
fn lost_for_memory(error: &LabError, memory_mib: u32) -> Option<PolicyOutcome> {
    let mut splats = GuestSplats::of_console(&error.evidence().console_log);
    let memory = splats.take_want_of_memory();
    let others = splats.splats().iter().any(|splat| !splat.kind.is_slowness());
    let first = memory.first().filter(|_| !others)?;
    let verdict = want_of_memory::verdict(&splats, first, memory_mib, &error.verdict());
    Some(PolicyOutcome::unchanged(verdict))
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

/// The conductor itself failed, or what it wrote is not complete.
fn of_conductor(output: &JobOutput, observed: &Observed) -> Option<Verdict> {
    let infra =
        |message: String| Some(Verdict::because(Outcome::Infra, Reason::ConnectionLost, message));
    if output.stuck {
        let message = "the guest's kernel holds a process that can't be killed";
        return Some(Verdict::because(Outcome::Timeout, Reason::DeadlineExceeded, message));
    }
    match output.exit {
        Exit::Code(0) if observed.done && observed.started && observed.tracer.is_none() => {
            infra("how the tracer ended was not reported".to_owned())
        }
        Exit::Code(0) if observed.done && output.dropped == 0 => None,
        Exit::Code(0) if output.dropped > 0 => {
            let dropped = output.dropped;
            let message = format!("{dropped} bytes of output exceeded the limit and were dropped");
            Some(Verdict::because(Outcome::Fail, Reason::EventsLost, message))
        }
        Exit::Deadline => infra("the guest's conductor did not end in time".to_owned()),
        exit => {
            let text = last_lines(&output.stderr);
            infra(format!("the guest's conductor ended with {exit:?}{text}"))
        }
    }
}

/// What a message calls the suite's subject. Without a workload it is a command, such as a program
/// that tests itself.
fn subject(suite: &Suite) -> &'static str {
    if suite.workload.is_some() { "the tracer" } else { "the program" }
}

fn of_start(suite: &Suite, observed: &Observed) -> Option<Verdict> {
    if let Some(what) = &observed.setup_failed {
        let message = format!("the guest could not {what}");
        return Some(Verdict::because(Outcome::Infra, Reason::SetupFailed, message));
    }
    match &observed.not_started {
        Some((Part::Tracer, why)) => {
            let message = format!("{} could not be started: {why}", subject(suite));
            Some(Verdict::because(Outcome::Infra, Reason::SetupFailed, message))
        }
        Some((Part::Workload, why)) => {
            let message = format!("the workload could not be started: {why}");
            Some(Verdict::because(Outcome::Infra, Reason::WorkloadFailed, message))
        }
        None => None,
    }
}

/// Whether the tracer and the workload ran as they should.
fn of_tracer(suite: &Suite, observed: &Observed, output: &JobOutput) -> Option<Verdict> {
    let TracerEnd { end, cause, duration_ms } = observed.tracer?;
    let said = last_lines(&output.stderr);
    let subject = subject(suite);
    let seconds = duration_ms.saturating_add(500) / 1000;
    let because =
        |outcome, reason, message: String| Some(Verdict::because(outcome, reason, message + &said));
    let has_workload = suite.workload.is_some();
    match cause {
        Cause::NeverReady => {
            let loaded = match &observed.programs[..] {
                [] => "no BPF program was loaded".to_owned(),
                programs => format!("{} BPF programs were loaded", programs.len()),
            };
            let message = format!("{subject} was not ready after {seconds} s; {loaded}");
            return because(Outcome::Timeout, Reason::NotReady, message);
        }
        Cause::Itself if has_workload && observed.ready_after_ms.is_none() => {
            let message = format!("{subject} ended before it was ready: {}", described(end));
            return because(Outcome::Fail, Reason::TracerDied, message);
        }
        Cause::Itself | Cause::Stopped | Cause::Killed | Cause::Deadline => {}
    }
    if let Some(workload) = &observed.workload
        && workload.end != Some(End::Code(0))
    {
        let text = last_lines(workload.output.as_bytes()).replace("stderr", "output");
        let Some(end) = workload.end else {
            let message = format!("the workload did not end within {seconds} s{text}");
            return Some(Verdict::because(Outcome::Timeout, Reason::DeadlineExceeded, message));
        };
        let message = format!("the workload failed: {}{text}", described(end));
        return Some(Verdict::because(Outcome::Infra, Reason::WorkloadFailed, message));
    }
    match cause {
        Cause::Deadline => {
            let message = format!(
                "it was stopped after {seconds} s; the host ran the guest for {}",
                output.cpu_time
            );
            return because(Outcome::Timeout, Reason::DeadlineExceeded, message);
        }
        Cause::Killed => {
            let (signal, within) = (&suite.stop.signal, suite.stop.within.as_secs_f32());
            let message =
                format!("{subject} did not end within {within} s of SIG{signal}, and was killed");
            return because(Outcome::Fail, Reason::StopIgnored, message);
        }
        Cause::Itself if has_workload && suite.exit != Some(Observed::status(end)) => {
            let message = format!("{subject} ended while the workload ran: {}", described(end));
            return because(Outcome::Fail, Reason::TracerDied, message);
        }
        Cause::Itself | Cause::Stopped | Cause::NeverReady => {}
    }
    let is_expected = match suite.exit {
        Some(code) => end == End::Code(code),
        None if cause == Cause::Stopped => {
            let signal = suite.stop.number();
            // Shells and interpreters report the signal that ended them by a code.
            [End::Code(0), End::Signal(signal), End::Code(128 + signal)].contains(&end)
        }
        None => end == End::Code(0),
    };
    if is_expected {
        return None;
    }
    let expected = match suite.exit {
        Some(code) if code != 0 => format!(", expected code {code}"),
        _ => String::new(),
    };
    let message = format!("{subject} ended: {}{expected}", described(end));
    because(Outcome::Fail, Reason::UnexpectedExit, message)
}

fn of_remains(suite: &Suite, observed: &Observed) -> Option<Verdict> {
    let because =
        |message: String| Some(Verdict::because(Outcome::Fail, Reason::StateLeftBehind, message));
    if !observed.left_running.is_empty() {
        let names = observed.left_running.join(", ");
        return because(format!("processes were left running, and were killed: {names}"));
    }
    if !observed.left_loaded.is_empty() {
        let names: Vec<_> = observed.left_loaded.iter().map(|program| &*program.name).collect();
        let names = names.join(", ");
        let subject = subject(suite);
        return because(format!("BPF programs stayed loaded after {subject} had ended: {names}"));
    }
    None
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

/// Compares the verdict with what the suite expects of kernels such as this one.
fn of_expectations(findings: &SuiteFindings<'_>, verdict: Verdict) -> Verdict {
    let SuiteFindings { suite, kernel, .. } = *findings;
    // Nothing can be said about such a cell, so nothing can be expected.
    if matches!(verdict.outcome, Outcome::Infra | Outcome::Unavailable | Outcome::NotRun)
        && verdict.reason != Some(Reason::SetupFailed)
    {
        return verdict;
    }
    for expectation in &suite.expect {
        let holds = match kernel {
            Some(kernel) => expectation.when.holds(kernel).map_err(|error| error.to_string()),
            None => Err("the kernel has no dossier".to_owned()),
        };
        match holds {
            Ok(false) => {}
            Ok(true) => return of_expectation(expectation, verdict),
            Err(why) => {
                let when = expectation.when.text();
                let message = format!("whether `{when}` holds on this kernel is unknown: {why}");
                return Verdict::because(Outcome::Infra, Reason::ExpectationUndecided, message);
            }
        }
    }
    verdict
}

fn of_expectation(expectation: &Expectation, verdict: Verdict) -> Verdict {
    let Expectation { when, outcome, code, reason, .. } = expectation;
    let when = when.text();
    if verdict.outcome == Outcome::Pass {
        let message = format!(
            "it passes, but is expected to end with `{}` where `{when}` holds ({reason}): remove the \
             expectation",
            outcome.outcome()
        );
        return Verdict::because(Outcome::Fail, Reason::ExpectationStale, message);
    }
    if verdict.outcome != outcome.outcome() || code.is_some_and(|code| verdict.reason != Some(code))
    {
        return verdict;
    }
    let message = format!("{reason} (`{when}`); it ended with: {}", verdict.message);
    Verdict::because(Outcome::Unsupported, Reason::ExpectedFailure, message)
}

fn described(end: End) -> String {
    match end {
        End::Code(code) => format!("exit code {code}"),
        End::Signal(signal) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(name) => format!("{name} killed it"),
            Err(_) => format!("signal {signal} killed it"),
        },
    }
}

#[cfg(test)]
mod tests;
