//! Whether the programs of a suite ran as they should.

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use kernlab_proto::suite::{Cause, End, Part};

use super::super::last_lines::{Stream, last_lines};
use crate::{
    lab::{Exit, JobOutput},
    report::table::counted,
    suite::{
        manifest::{Command, Ready, Subject, Suite},
        observed::{Observed, TracerEnd},
    },
};

/// The conductor itself failed, or what it wrote is not complete.
pub(super) fn of_conductor(output: &JobOutput, observed: &Observed) -> Option<Verdict> {
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
            let text = last_lines(Stream::Stderr, &output.stderr);
            infra(format!("the guest's conductor ended with {exit:?}{text}"))
        }
    }
}

/// What a message calls the suite's subject. Without a workload it is a command, such as a program
/// that tests itself.
pub(super) fn subject(suite: &Suite) -> &'static str {
    if suite.workload.is_some() { "the tracer" } else { "the program" }
}

pub(super) fn of_start(suite: &Suite, observed: &Observed) -> Option<Verdict> {
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
        None => {
            let began = suite.workload.is_some() && observed.ready_after_ms.is_some();
            let message = "how the workload ended was not reported";
            (began && observed.workload.is_none())
                .then(|| Verdict::because(Outcome::Infra, Reason::ConnectionLost, message))
        }
    }
}

/// Whether the tracer and the workload ran as they should.
pub(super) fn of_tracer(suite: &Suite, observed: &Observed, output: &JobOutput) -> Option<Verdict> {
    let TracerEnd { end, cause, duration_ms } = observed.tracer?;
    let said = last_lines(Stream::Stderr, &output.stderr);
    let subject = subject(suite);
    let seconds = duration_ms.saturating_add(500) / 1000;
    let because =
        |outcome, reason, message: String| Some(Verdict::because(outcome, reason, message + &said));
    let has_workload = suite.workload.is_some();
    match cause {
        Cause::NeverReady => {
            let loaded = match &observed.programs[..] {
                [] => "no BPF program was loaded".to_owned(),
                [_] => "1 BPF program was loaded".to_owned(),
                programs => format!("{} BPF programs were loaded", programs.len()),
            };
            let sign = suite.ready.as_ref().map(expected_sign).unwrap_or_default();
            let message = format!("{subject} was not ready after {seconds} s{sign}; {loaded}");
            return because(Outcome::Timeout, Reason::NotReady, message);
        }
        Cause::Itself if has_workload && observed.ready_after_ms.is_none() => {
            let hint = subject_hint(suite, end);
            let message = format!("{subject} ended before it was ready: {end}{hint}");
            return because(Outcome::Fail, Reason::TracerDied, message);
        }
        Cause::Itself | Cause::Stopped | Cause::Killed | Cause::Deadline => {}
    }
    if let Some(workload) = &observed.workload
        && workload.end != Some(End::Code(0))
    {
        let text = last_lines(Stream::Output, workload.output.as_bytes());
        let (outcome, reason, message) = match workload.end {
            None => (
                Outcome::Timeout,
                Reason::DeadlineExceeded,
                format!("the workload did not end within {seconds} s{text}"),
            ),
            Some(end) => {
                let hint = suite.workload.as_ref().map(|command| hint(command, end));
                let hint = hint.unwrap_or_default();
                let message = format!("the workload failed: {end}{hint}{text}");
                (Outcome::Infra, Reason::WorkloadFailed, message)
            }
        };
        // A workload that talks to its tracer fails because the tracer has crashed. One that only exits may do
        // so because the workload has failed.
        if cause == Cause::Itself && matches!(end, End::Signal(_)) {
            let died = format!("{subject} crashed: {end}");
            return because(Outcome::Fail, Reason::TracerDied, format!("{died}; {message}"));
        }
        return Some(Verdict::because(outcome, reason, message));
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
        Cause::Itself if has_workload && suite.exit != Some(end.status()) => {
            let message = format!("{subject} ended while the workload ran: {end}");
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
    let hint = subject_hint(suite, end);
    let message = format!("{subject} ended: {end}{expected}{hint}");
    because(Outcome::Fail, Reason::UnexpectedExit, message)
}

/// What to do about a tracer's shell that did not find a program.
fn subject_hint(suite: &Suite, end: End) -> &'static str {
    match &suite.subject {
        Subject::Run(command) => hint(command, end),
        Subject::Bpftrace(_) | Subject::Object(_) => "",
    }
}

/// What to do about a shell that did not find a program.
fn hint(command: &Command, end: End) -> &'static str {
    match (command, end) {
        (Command::Shell(_), End::Code(126 | 127)) => {
            "; the words of a command line bring no files into the guest: use a list, as in \
             [\"./program\", \"argument\"], or name them in `files`"
        }
        _ => "",
    }
}

/// What a tracer is waited for to do.
fn expected_sign(ready: &Ready) -> String {
    match ready {
        Ready::Stdout(pattern) => format!(": its standard output has no `{}`", pattern.source()),
        Ready::Stderr(pattern) => format!(": its standard error has no `{}`", pattern.source()),
        Ready::Programs(count) => {
            format!(": it was to load {} and then to sleep", counted(*count as usize, "program"))
        }
    }
}

/// Whether processes and BPF programs are gone when the tracer has ended.
pub(super) fn of_remains(suite: &Suite, observed: &Observed) -> Option<Verdict> {
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
