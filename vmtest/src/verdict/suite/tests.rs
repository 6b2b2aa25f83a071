use std::time::Duration;

use kernlab_proto::suite::{Cause, End, LoadedProgram, Part, SuiteReport};
use kernlab_splat::{AllowEntry, AllowList};
use rstest::rstest;

use super::*;
use crate::{
    console::{ConsoleLog, Log},
    lab::{CpuTime, Exit, GuestEvidence, LabErrorKind, Phase},
    suite::manifest::{Command, Project},
};

const QUIET: &str = "[    0.000001] Linux version 6.1.0\n";
const WARNING: &str = "[    1.000001] WARNING: CPU: 0 PID: 9 at a/b.c:77 do_it+0x52/0x60\n";
const OK: End = End::Code(0);
const EVENT: &str = "{\"event\": 1}\n";

/// A suite with a workload, a golden snapshot, an assertion, and a limit of lost events.
fn suite() -> Suite {
    let text = "[[suite]]\nname = \"opens\"\nrun = [\"tracer\"]\nworkload = [\"work\"]\ngolden = \
                \"opens.snap\"\nassert = ['count(stdout ~ \"event\") == 1']\nlost = { stderr = 'lost \
                (\\d+)', max = 1 }\n";
    let path = std::path::Path::new("kernlab.toml");
    let mut project = Project::parse(path, text).unwrap();
    project.suites.remove(0)
}

fn ready() -> SuiteReport {
    SuiteReport::Ready { after_ms: 5 }
}

fn worked(end: Option<End>) -> SuiteReport {
    SuiteReport::WorkloadEnded { end, duration_ms: 9, output: "some words".to_owned() }
}

fn ended(end: End, cause: Cause) -> SuiteReport {
    SuiteReport::TracerEnded { end, cause, duration_ms: 3996 }
}

fn left() -> SuiteReport {
    let program = LoadedProgram {
        id: 1,
        kind: 2,
        name: "probe".to_owned(),
        verified_instructions: None,
        missed_runs: None,
    };
    SuiteReport::LeftLoaded { programs: vec![program] }
}

/// The course of a suite that is well, up to the reports that differ.
fn course(reports: Vec<SuiteReport>) -> Vec<SuiteReport> {
    [vec![SuiteReport::Started], reports, vec![SuiteReport::Done]].concat()
}

fn well() -> Vec<SuiteReport> {
    course(vec![ready(), worked(Some(OK)), ended(End::Signal(2), Cause::Stopped)])
}

fn output(exit: Exit, stdout: &str, stderr: &str) -> JobOutput {
    JobOutput {
        exit,
        stdout: stdout.into(),
        stderr: stderr.into(),
        result: vec![],
        dropped: 0,
        killed: 0,
        stuck: false,
        duration: Duration::ZERO,
        cpu_time: CpuTime::default(),
        guest_duration: Duration::ZERO,
    }
}

/// The verdict on a guest that was lost, with this on its console.
fn judge_lost(kind: LabErrorKind, console: &str, allow: &AllowList) -> SuiteJudgement {
    let mut log = Log::default();
    log.append(console.as_bytes());
    let console_log = ConsoleLog::of(&log);
    let error = LabError::new(kind, GuestEvidence { console_log, ..GuestEvidence::default() });
    of_suite(&SuiteInput {
        suite: &suite(),
        trace: &Trace::Lost(error),
        observed: &Observed::default(),
        object: None,
        golden: Some(EVENT),
        kernel: None,
        examination_failure: None,
        memory_mib: 256,
        policy: SplatPolicy { expected: None, allow },
    })
}

fn judge(suite: &Suite, reports: &[SuiteReport], output: JobOutput, log: &str) -> SuiteJudgement {
    judge_with(suite, reports, output, log, None, &AllowList::default())
}

fn judge_allowing(
    suite: &Suite,
    reports: &[SuiteReport],
    output: JobOutput,
    log: &str,
    allow: &AllowList,
) -> SuiteJudgement {
    judge_with(suite, reports, output, log, None, allow)
}

fn judge_with(
    suite: &Suite,
    reports: &[SuiteReport],
    output: JobOutput,
    log: &str,
    examination_failure: Option<&Verdict>,
    allow: &AllowList,
) -> SuiteJudgement {
    let line = |report| serde_json::to_string(report).unwrap() + "\n";
    let observed = Observed::read(reports.iter().map(line).collect::<String>().as_bytes());
    let (kernel_log, console) = (log.to_owned(), String::new());
    of_suite(&SuiteInput {
        suite,
        trace: &Trace::Ended { output, kernel_log, console },
        observed: &observed,
        object: None,
        golden: Some(EVENT),
        kernel: None,
        examination_failure,
        memory_mib: 256,
        policy: SplatPolicy { expected: None, allow },
    })
}

#[rstest]
#[case::all_is_well(well(), None, "")]
#[case::setup(
    vec![SuiteReport::SetupFailed { what: "set a to b".to_owned() }, SuiteReport::Done],
    Some(Reason::SetupFailed),
    "could not set a to b"
)]
#[case::no_tracer(
    vec![SuiteReport::NotStarted { part: Part::Tracer, why: "x: gone".to_owned() }, SuiteReport::Done],
    Some(Reason::SetupFailed),
    "the tracer could not be started: x: gone"
)]
#[case::no_workload(
    course(vec![
        ready(),
        SuiteReport::NotStarted { part: Part::Workload, why: "y: gone".to_owned() },
        ended(End::Signal(2), Cause::Stopped),
    ]),
    Some(Reason::WorkloadFailed),
    "the workload could not be started: y: gone"
)]
#[case::the_workloads_end_was_hidden(
    course(vec![ready(), ended(End::Signal(2), Cause::Stopped)]),
    Some(Reason::ConnectionLost),
    "how the workload ended was not reported"
)]
#[case::never_ready(
    course(vec![ended(End::Signal(9), Cause::NeverReady)]),
    Some(Reason::NotReady),
    "not ready after 4 s"
)]
#[case::died_before_it_was_ready(
    course(vec![ended(OK, Cause::Itself)]),
    Some(Reason::TracerDied),
    "ended before it was ready: exit code 0"
)]
#[case::died_during_the_workload(
    course(vec![ready(), worked(Some(OK)), ended(OK, Cause::Itself)]),
    Some(Reason::TracerDied),
    "while the workload ran"
)]
#[case::a_crash_over_the_workload_that_it_makes_fail(
    course(vec![ready(), worked(Some(End::Code(3))), ended(End::Signal(11), Cause::Itself)]),
    Some(Reason::TracerDied),
    "killed by SIGSEGV; the workload failed: exit code 3"
)]
#[case::workload_failed_and_then_the_tracer(
    course(vec![ready(), worked(Some(End::Code(3))), ended(End::Code(1), Cause::Itself)]),
    Some(Reason::WorkloadFailed),
    "exit code 3"
)]
#[case::workload_failed_over_the_tracers_end(
    course(vec![ready(), worked(Some(End::Code(3))), ended(End::Code(4), Cause::Stopped)]),
    Some(Reason::WorkloadFailed),
    "exit code 3"
)]
#[case::workload_took_too_long(
    course(vec![ready(), worked(None), ended(OK, Cause::Stopped)]),
    Some(Reason::DeadlineExceeded),
    "the workload did not end"
)]
#[case::ignored_its_signal(
    course(vec![ready(), worked(Some(OK)), ended(End::Signal(9), Cause::Killed)]),
    Some(Reason::StopIgnored),
    "within 5 s of SIGINT"
)]
#[case::as_a_shell_reports_a_signal(
    course(vec![ready(), worked(Some(OK)), ended(End::Code(130), Cause::Stopped)]),
    None,
    ""
)]
#[case::another_exit_code(
    course(vec![ready(), worked(Some(OK)), ended(End::Code(1), Cause::Stopped)]),
    Some(Reason::UnexpectedExit),
    "exit code 1"
)]
#[case::exit_over_what_was_left(
    course(vec![ready(), worked(Some(OK)), ended(End::Code(1), Cause::Stopped), left()]),
    Some(Reason::UnexpectedExit),
    "exit code 1"
)]
#[case::a_program_was_left(
    course(vec![ready(), worked(Some(OK)), ended(OK, Cause::Stopped), left()]),
    Some(Reason::StateLeftBehind),
    "probe"
)]
#[case::the_conductor_did_not_finish(
    vec![SuiteReport::Started, ready()],
    Some(Reason::ConnectionLost),
    "conductor"
)]
#[case::the_tracers_end_was_hidden(
    course(vec![ready(), worked(Some(OK))]),
    Some(Reason::ConnectionLost),
    "was not reported"
)]
fn the_course_decides(
    #[case] reports: Vec<SuiteReport>,
    #[case] reason: Option<Reason>,
    #[case] message: &str,
) {
    let output = output(Exit::Code(0), EVENT, "");
    let SuiteJudgement { verdict, .. } = judge(&suite(), &reports, output, QUIET);
    assert_eq!(verdict.reason, reason, "{}", verdict.message);
    assert!(verdict.message.contains(message), "{}", verdict.message);
}

#[test]
fn output_that_was_dropped_is_lost() {
    let output = JobOutput { dropped: 5, ..output(Exit::Code(0), EVENT, "") };
    let SuiteJudgement { verdict, .. } = judge(&suite(), &well(), output, QUIET);
    assert_eq!(verdict.reason, Some(Reason::EventsLost), "{}", verdict.message);
    assert!(verdict.message.starts_with("5 bytes of output"), "{}", verdict.message);
}

#[rstest]
#[case::as_the_snapshot(EVENT, "", None, true)]
#[case::few_are_lost(EVENT, "lost 1\n", None, true)]
#[case::lost_over_different(
    "{\"event\": 2}\n",
    "lost 1\nlost 1\n",
    Some(Reason::EventsLost),
    false
)]
#[case::different("{\"event\": 2}\n", "", Some(Reason::EventsDiffer), true)]
#[case::different_and_against_an_assertion("", "", Some(Reason::EventsDiffer), false)]
fn events_decide(
    #[case] stdout: &str,
    #[case] stderr: &str,
    #[case] reason: Option<Reason>,
    #[case] acceptable: bool,
) {
    let judgement = judge(&suite(), &well(), output(Exit::Code(0), stdout, stderr), QUIET);
    assert_eq!(judgement.verdict.reason, reason, "{}", judgement.verdict.message);
    assert_eq!(judgement.acceptable, acceptable, "whether it may become the snapshot");
    assert_eq!(judgement.diff.is_some(), reason == Some(Reason::EventsDiffer));
    assert_eq!(judgement.events.as_deref(), Some(stdout), "they are kept");
}

#[test]
fn a_rule_without_effect_is_a_remark() {
    let text = "normalise = { gone = \"alias\" }\n[[suite]]\nname = \"a\"\nrun = [\"a\"]\nevents = \
                'nothing == 1'\n";
    let project = Project::parse(std::path::Path::new("kernlab.toml"), text).unwrap();
    let reports = course(vec![ended(OK, Cause::Itself)]);
    let judgement = judge(&project.suites[0], &reports, output(Exit::Code(0), EVENT, ""), QUIET);
    let [remark, ..] = &judgement.remarks[..] else { panic!("{judgement:?}") };
    assert!(remark.starts_with("`events` "), "{remark}");
    assert!(judgement.shared["normalise.gone"].is_some(), "{:?}", judgement.shared);
}

#[test]
fn a_splat_outranks_everything_that_the_tracer_did() {
    for reports in [well(), course(vec![ended(OK, Cause::Itself)])] {
        let SuiteJudgement { verdict, .. } =
            judge(&suite(), &reports, output(Exit::Code(0), EVENT, ""), WARNING);
        assert_eq!(verdict.reason, Some(Reason::KernelWarned), "{}", verdict.message);
    }
}

/// What the kernel says when it kills a program for its memory.
const NO_MEMORY: &str = "<4>[    1.0] tail invoked oom-killer: gfp_mask=0x140cca, order=0\n\
                         <6>[    1.1] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)\n\
                         <3>[    1.2] Out of memory: Killed process 99 (tail)\n";
const OOPS: &str = "[    2.000001] divide error: 0000 [#1] SMP\n";

/// A list that allows all out-of-memory splats.
fn memory_may_run_out() -> AllowList {
    let text = |text: &str| text.to_owned();
    let entry = |title| AllowEntry {
        title: text(title),
        reason: text("it is what the tool is for"),
        link: text("https://example.org"),
    };
    AllowList { allow: vec![entry("*out of memory*"), entry("*Out of memory*"), entry("*oom*")] }
}

#[test]
fn events_of_a_guest_without_memory_become_no_snapshot() {
    let output = || output(Exit::Code(0), EVENT, "");
    let judged = judge(&suite(), &well(), output(), NO_MEMORY);
    assert_eq!(judged.verdict.reason, Some(Reason::OutOfMemory), "{}", judged.verdict.message);
    assert!(!judged.acceptable && judged.allowed.is_empty());
    let allow = memory_may_run_out();
    let judged = judge_allowing(&suite(), &well(), output(), NO_MEMORY, &allow);
    assert_eq!(judged.verdict, Verdict::pass());
    assert!(judged.acceptable);
    assert_eq!(judged.allowed.len(), 1, "it is told: {:?}", judged.allowed);
}

#[rstest]
#[case::memory(true, NO_MEMORY, Reason::OutOfMemory)]
#[case::a_crash_after_that(true, &[NO_MEMORY, OOPS].concat(), Reason::KernelPanicked)]
#[case::a_restart(false, "[    9.0] reboot: Restarting system\n", Reason::TracerDied)]
#[case::a_halt(true, "[    9.0] reboot: System halted\n", Reason::TracerDied)]
#[case::an_end(false, "[    9.0] reboot: Power down\n", Reason::TracerDied)]
#[case::another_line(false, "[    9.0] reboot: something\n", Reason::ConnectionLost)]
fn a_guest_is_lost_for_a_reason(
    #[case] is_silent: bool,
    #[case] console: &str,
    #[case] reason: Reason,
) {
    let kind = match is_silent {
        true => LabErrorKind::Silent { doing: "while it worked", waited: Duration::from_secs(5) },
        false => LabErrorKind::Died { phase: Phase::Work, last_words: "none".to_owned() },
    };
    let judged = judge_lost(kind, console, &AllowList::default());
    assert_eq!(judged.verdict.reason, Some(reason), "{}", judged.verdict.message);
    assert!(!judged.acceptable);
}

#[test]
fn a_known_splat_of_a_guest_that_is_gone_is_told() {
    let silent =
        || LabErrorKind::Silent { doing: "while it worked", waited: Duration::from_secs(5) };
    let allow = memory_may_run_out();
    let judged = judge_lost(silent(), NO_MEMORY, &allow);
    assert_eq!(judged.verdict.reason, Some(Reason::DeadlineExceeded), "{}", judged.verdict.message);
    assert_eq!(judged.allowed.len(), 1);
    let mut of_warnings = AllowList::default();
    of_warnings
        .allow
        .push(AllowEntry { title: "WARNING in *".to_owned(), ..allow.allow[0].clone() });
    let warned = format!("{WARNING}{NO_MEMORY}");
    let judged = judge_lost(silent(), &warned, &of_warnings);
    assert_eq!(judged.verdict.reason, Some(Reason::OutOfMemory), "{}", judged.verdict.message);
    assert_eq!(judged.allowed.len(), 1);
    let halted = format!("{NO_MEMORY}[    9.0] reboot: System halted\n");
    let judged = judge_lost(silent(), &halted, &allow);
    assert_eq!(judged.verdict.reason, Some(Reason::TracerDied), "{}", judged.verdict.message);
    assert_eq!(judged.allowed.len(), 1);
}

#[rstest]
#[case::nothing_is_told_of_it(None, (Outcome::Infra, Reason::ExpectationUndecided))]
#[case::its_guest_was_lost(
    Some((Outcome::Infra, Reason::QemuFailed)),
    (Outcome::Infra, Reason::QemuFailed)
)]
#[case::its_kernel_is_gone(
    Some((Outcome::Unavailable, Reason::HostIo)),
    (Outcome::Unavailable, Reason::HostIo)
)]
fn a_kernel_without_a_dossier_leaves_expectations_undecided(
    #[case] failed: Option<(Outcome, Reason)>,
    #[case] expected: (Outcome, Reason),
) {
    let text = "[[suite]]\nname = \"a\"\nrun = [\"a\"]\nexpect = [{ when = \"btf\", outcome = \
                \"fail\", reason = \"known\" }]\n";
    let path = std::path::Path::new("kernlab.toml");
    let project = Project::parse(path, text).unwrap();
    let reports = course(vec![ended(End::Code(1), Cause::Itself)]);
    let output = output(Exit::Code(0), "", "");
    let failure = failed.map(|(outcome, reason)| Verdict::because(outcome, reason, "QEMU ended"));
    let SuiteJudgement { verdict, .. } = judge_with(
        &project.suites[0],
        &reports,
        output,
        QUIET,
        failure.as_ref(),
        &AllowList::default(),
    );
    assert_eq!((verdict.outcome, verdict.reason), (expected.0, Some(expected.1)), "{verdict:?}");
    let why = if failed.is_some() { "QEMU ended" } else { "no dossier" };
    assert!(verdict.message.ends_with(why), "{}", verdict.message);
}

#[test]
fn a_command_is_no_tracer() {
    let command = Suite::command(vec!["./self-test".to_owned()]);
    let workload = Some(Command::Shell("true".to_owned()));
    let tracer = Suite { workload, ..command.clone() };
    for (suite, expected) in [(command, "the program"), (tracer, "the tracer")] {
        let observed = Observed {
            not_started: Some((Part::Tracer, "no such file".to_owned())),
            ..Observed::default()
        };
        let verdict = of_start(&suite, &observed).unwrap();
        assert_eq!(verdict.message, format!("{expected} could not be started: no such file"));
    }
}

#[rstest]
#[case::none("", "the loader sent no record")]
#[case::half("{", "the loader's record can't be read: EOF")]
fn without_a_record_of_its_object_a_cell_tells_why(#[case] record: &str, #[case] message: &str) {
    let text = "[[suite]]\nname = \"opens\"\nobject = \"opens.bpf.o\"\n";
    let suite =
        Project::parse(std::path::Path::new("kernlab.toml"), text).unwrap().suites.remove(0);
    let reports = course(vec![ended(OK, Cause::Itself)]);
    let judged = judge(&suite, &reports, output(Exit::Code(0), record, ""), QUIET);
    assert_eq!(judged.verdict.reason, Some(Reason::ConnectionLost));
    assert!(judged.verdict.message.starts_with(message), "{}", judged.verdict.message);
}
