//! All rules that decide a cell's verdict. They are pure: what was found goes in, a verdict comes out.
//!
//! `of_cell` states which rule outranks which for one attempt at a cell, `of_run` for the cells
//! of a run that has ended. The outcomes and reasons themselves are in `kernlab_core::outcome`.

mod cross_check;
mod events;
mod guest_splats;
mod job_output;
mod last_lines;
mod lost_guest;
mod object;
mod out_of_memory;
mod prediction;
pub(crate) mod release;
mod repeats;
mod splat_policy;
pub(crate) mod suite;
pub(crate) mod suite_remarks;
#[cfg(test)]
mod test_support;
pub(crate) mod unsupported_everywhere;

use std::{collections::BTreeMap, io};

use kernlab_core::{
    cell::Cell,
    outcome::{Outcome, Reason, Verdict},
    record::Record,
};

use self::last_lines::{Stream, last_lines};
pub use self::{
    events::Golden,
    guest_splats::GuestSplats,
    last_lines::without_stderr,
    splat_policy::{PolicyOutcome, SplatPolicy},
};
pub(crate) use self::{job_output::stages_in_the_guest, prediction::Prediction, repeats::combine};
use crate::{
    lab::{JobOutput, LabError},
    report::{AllowedSplat, CellReport},
};

/// What happened to a cell's guest.
#[derive(Debug)]
pub(crate) enum Trace {
    /// The guest was never ready.
    NotStarted(LabError),
    /// The guest was lost, or stopped answering, while it worked.
    Lost(LabError),
    /// The tracer ended, and the guest sent its kernel's log.
    Ended {
        /// What the tracer left.
        output: JobOutput,
        /// What the kernel printed since it booted.
        kernel_log: String,
        /// What the console printed; a restored guest may have printed nothing.
        console: String,
    },
}

/// What one attempt at a cell showed, and what that is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellInput<'a> {
    pub(crate) cell: &'a Cell,
    pub(crate) trace: &'a Trace,
    pub(crate) golden: Golden<'a>,
    pub(crate) prediction: &'a Prediction,
    pub(crate) policy: SplatPolicy<'a>,
    /// The release that the guest reported when it was ready, if it was.
    pub(crate) release: Option<&'a str>,
}

/// A verdict with what explains it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// What the tracer recorded, if the record can be trusted.
    pub(crate) record: Option<Record>,
    /// The events as text, if there were any to judge.
    pub(crate) events: Option<String>,
    /// Expected against observed, as a unified diff, if they differ.
    pub(crate) diff: Option<String>,
    /// Whether the events match the workload's ground truth, whatever a snapshot says.
    pub(crate) confirmed: bool,
    /// The verifier's log.
    pub(crate) verifier_log: Option<String>,
    /// The splats without consequence.
    pub(crate) allowed: Vec<AllowedSplat>,
    /// What the user should know and what does not change the verdict.
    pub(crate) remarks: Vec<String>,
}

impl Judgement {
    /// The events that may become the golden snapshot: those that the workload confirms.
    pub(crate) fn new_snapshot(&self) -> Option<&str> {
        self.events.as_deref().filter(|_| self.confirmed)
    }

    fn of(PolicyOutcome { verdict, allowed }: PolicyOutcome) -> Self {
        Judgement {
            verdict,
            record: None,
            events: None,
            diff: None,
            confirmed: false,
            verifier_log: None,
            allowed,
            remarks: Vec::new(),
        }
    }
}

/// The verdict on one attempt at a cell. Each rule outranks those after it:
///
/// 1. a guest that was never ready reports why, and says nothing about the tracer;
/// 2. a lost guest: its kernel's crash, its splats, then the way in which it was lost;
/// 3. a splat that neither a deviation expects nor `splats.toml` allows, whatever the tracer says;
/// 4. a tracer that was killed or failed, or a record that can't be trusted;
/// 5. the record's own result: unsupported, failed;
/// 6. events that were lost, differ from the ground truth, or differ from the snapshot;
/// 7. a memory search that found nothing although the type information has the answer;
/// 8. a plan that differs from the prediction;
/// 9. a warning that a deviation expects and that is missing, or appears more than once.
pub(crate) fn of_cell(input: &CellInput<'_>) -> Judgement {
    let CellInput { cell, trace, golden, prediction, policy, release } = *input;
    let (output, kernel_log, console) = match trace {
        Trace::NotStarted(error) => {
            return Judgement::of(PolicyOutcome::unchanged(error.verdict()));
        }
        Trace::Lost(error) => return Judgement::of(lost_guest::verdict(error, policy)),
        Trace::Ended { output, kernel_log, console } => (output, kernel_log, console),
    };
    let record = job_output::record(output, cell)
        .and_then(|record| release::of_record(&record, release).map(|()| record));
    let mut judgement = match record {
        // If the tracer has no result, the kernel's splats may explain why.
        Err(verdict) => Judgement::of(PolicyOutcome::unchanged(verdict)),
        Ok(record) => {
            let mut judgement = events::judge(cell.scenario, &record, golden);
            if judgement.verdict.reason == Some(Reason::WorkloadFailed) {
                judgement.verdict.message.push_str(&last_lines(Stream::Stderr, &output.stderr));
            }
            let verdict = prediction.with_types_checked(judgement.verdict);
            judgement.verdict = prediction.checked(verdict, &record.decision);
            Judgement { record: Some(record), ..judgement }
        }
    };
    let splats = GuestSplats::of(kernel_log, console);
    let PolicyOutcome { verdict, allowed } =
        policy.apply(judgement.verdict, &splats, output.cpu_time);
    (judgement.verdict, judgement.allowed) = (verdict, allowed);
    judgement.remarks.extend(splats.remarks());
    judgement
}

/// Reads the text that belongs to a value; none if it has no text.
pub(crate) type ReadText<'a, T> = &'a dyn Fn(&T) -> io::Result<Option<String>>;

/// What the verdicts of a run's cells depend on, beside the cells themselves.
pub(crate) struct RunInput<'a> {
    /// The releases of the kernels that the run prepared, by id.
    pub(crate) releases: BTreeMap<&'a str, &'a str>,
    /// The events of a cell as text, if it has any.
    pub(crate) events: ReadText<'a, CellReport>,
    /// Reads a snapshot that the run wrote, by its name. None if the run wrote none.
    pub(crate) new_snapshots: Option<ReadText<'a, str>>,
}

/// Amends the verdicts of cells by what only the whole run shows: a snapshot that another cell
/// overwrote, a guest that ran another kernel (which outranks that), and then the other backend's
/// events.
pub(crate) fn of_run(cells: &mut [CellReport], input: &RunInput<'_>) -> io::Result<()> {
    if let Some(snapshot) = input.new_snapshots {
        events::compare_with_new_snapshots(cells, input.events, snapshot)?;
    }
    release::check(cells, &input.releases);
    cross_check::compare(cells, input.events)
}

/// The verdict on a cell that left no report.
pub(crate) fn of_unfinished_cell() -> Verdict {
    let message = "the run ended before this cell had a verdict";
    Verdict::because(Outcome::NotRun, Reason::Interrupted, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kernlab_core::{
        plan::Unsupported,
        record::{Decision, Observation},
    };
    use kernlab_splat::AllowList;
    use rstest::rstest;

    use super::{
        test_support::{plan, record, write},
        *,
    };
    use crate::{
        console::{ConsoleLog, Log},
        lab::{CpuTime, Exit, GuestEvidence, LabErrorKind, Phase},
    };

    const CELL: &str = "debian-6.1/masked/aya/sys_write/threads";
    const GOLDEN: &str = "pid=<workload> tid=<workload> comm=workload write fd=3 count=5 ret=5\n";
    const QUIET: &str = "[    0.000001] Linux version 6.1.0\n";
    const WARNING: &str = "[    1.000001] WARNING: CPU: 0 PID: 9 at a/b.c:77 do_it+0x52/0x60\n";
    const CRASH: &str = "[    2.000001] divide error: 0000 [#1] SMP\n";

    fn refused(reason: Reason) -> Decision {
        Decision::Unsupported(Unsupported { reason, message: "no".to_owned() })
    }

    /// Events as they should be, but for the descriptor of the only write.
    fn traced(fd: i32) -> (Decision, Option<Observation>) {
        (plan(), Some(test_support::traced(vec![write(fd)], vec![write(3)])))
    }

    fn unsupported(reason: Reason) -> (Decision, Option<Observation>) {
        (refused(reason), None)
    }

    fn ended(exit: Exit, of: (Decision, Option<Observation>), kernel_log: &str) -> Trace {
        let record = record(of.0, of.1);
        let output = JobOutput {
            exit,
            stdout: vec![],
            stderr: vec![],
            result: serde_json::to_vec(&record).unwrap(),
            dropped: 0,
            killed: 0,
            stuck: false,
            duration: Duration::ZERO,
            cpu_time: CpuTime::default(),
            guest_duration: Duration::ZERO,
        };
        Trace::Ended { output, kernel_log: kernel_log.to_owned(), console: String::new() }
    }

    fn lost(kind: LabErrorKind, console: &str) -> LabError {
        let mut log = Log::default();
        log.append(console.as_bytes());
        let console_log = ConsoleLog::of(&log);
        LabError::new(kind, GuestEvidence { console_log, ..GuestEvidence::default() })
    }

    fn silent() -> LabErrorKind {
        LabErrorKind::Silent { doing: "while it worked", waited: Duration::from_secs(5) }
    }

    fn died() -> LabErrorKind {
        LabErrorKind::Died { phase: Phase::Work, last_words: "none".to_owned() }
    }

    const OK: Exit = Exit::Code(0);
    const EXPECTED: Option<&str> = Some("do_it");
    const NO_BTF: Reason = Reason::MissingBtf;
    const NO_LAYOUT: Reason = Reason::LayoutNotFound;

    #[rstest]
    #[case::all_is_well(ended(OK, traced(3), QUIET), None, plan(), None)]
    #[case::not_started(
        Trace::NotStarted(lost(died(), CRASH)),
        None,
        plan(),
        Some(Reason::ConnectionLost)
    )]
    #[case::lost(Trace::Lost(lost(died(), QUIET)), None, plan(), Some(Reason::ConnectionLost))]
    #[case::silent(
        Trace::Lost(lost(silent(), QUIET)),
        None,
        plan(),
        Some(Reason::DeadlineExceeded)
    )]
    #[case::silent_after_a_warning(
        Trace::Lost(lost(silent(), WARNING)),
        None,
        plan(),
        Some(Reason::KernelWarned)
    )]
    #[case::silent_after_an_expected_warning(
        Trace::Lost(lost(silent(), WARNING)),
        EXPECTED,
        plan(),
        Some(Reason::DeadlineExceeded)
    )]
    #[case::silent_after_a_crash(
        Trace::Lost(lost(silent(), CRASH)),
        None,
        plan(),
        Some(Reason::KernelPanicked)
    )]
    #[case::splat_over_pass(
        ended(OK, traced(3), WARNING),
        None,
        plan(),
        Some(Reason::KernelWarned)
    )]
    #[case::splat_over_events(
        ended(OK, traced(4), WARNING),
        None,
        plan(),
        Some(Reason::KernelWarned)
    )]
    #[case::splat_over_exit(
        ended(Exit::Code(1), traced(3), WARNING),
        None,
        plan(),
        Some(Reason::KernelWarned)
    )]
    #[case::crash_over_warning(
        ended(OK, traced(3), &[WARNING, CRASH].concat()), None, plan(), Some(Reason::KernelPanicked)
    )]
    #[case::exit_over_events(
        ended(Exit::Code(1), traced(4), QUIET),
        None,
        plan(),
        Some(Reason::TracerDied)
    )]
    #[case::exit_over_expected_warning(
        ended(Exit::Code(1), traced(3), QUIET),
        EXPECTED,
        plan(),
        Some(Reason::TracerDied)
    )]
    #[case::events(ended(OK, traced(4), QUIET), None, plan(), Some(Reason::EventsDiffer))]
    #[case::events_over_prediction(
        ended(OK, traced(4), QUIET),
        None,
        refused(NO_BTF),
        Some(Reason::EventsDiffer)
    )]
    #[case::prediction_over_pass(
        ended(OK, traced(3), QUIET),
        None,
        refused(NO_BTF),
        Some(Reason::PredictionDiffers)
    )]
    #[case::prediction_over_unsupported(
        ended(OK, unsupported(NO_BTF), QUIET),
        None,
        plan(),
        Some(Reason::PredictionDiffers)
    )]
    #[case::types_over_unsupported(
        ended(OK, unsupported(NO_LAYOUT), QUIET),
        None,
        refused(NO_LAYOUT),
        Some(NO_LAYOUT)
    )]
    #[case::prediction_over_missing_warning(
        ended(OK, traced(3), QUIET),
        EXPECTED,
        refused(NO_BTF),
        Some(Reason::PredictionDiffers)
    )]
    #[case::missing_warning_over_pass(
        ended(OK, traced(3), QUIET),
        EXPECTED,
        plan(),
        Some(Reason::DeviationStale)
    )]
    #[case::expected_warning(ended(OK, traced(3), WARNING), EXPECTED, plan(), None)]
    fn rules_have_an_order(
        #[case] trace: Trace,
        #[case] expected_warning: Option<&str>,
        #[case] predicted: Decision,
        #[case] expected: Option<Reason>,
    ) {
        let cell: Cell = CELL.parse().unwrap();
        let prediction = Prediction { decision: Some(predicted), with_types: Some(plan()) };
        let input = CellInput {
            cell: &cell,
            trace: &trace,
            golden: Golden { shared: Some(GOLDEN), deviation: None },
            prediction: &prediction,
            policy: SplatPolicy { expected: expected_warning, allow: &AllowList::default() },
            release: None,
        };
        let Judgement { verdict, .. } = of_cell(&input);
        assert_eq!(verdict.reason, expected, "{}", verdict.message);
        let is_search = expected == Some(NO_LAYOUT);
        assert!(!is_search || verdict.outcome == Outcome::Fail, "{}", verdict.message);
    }

    #[rstest]
    #[case::of_this_kernel("6.1.0", None)]
    #[case::of_another_kernel("5.10.0", Some(Reason::WrongKernel))]
    fn a_record_is_kept_if_it_is_of_the_guests_kernel(
        #[case] guest: &str,
        #[case] expected: Option<Reason>,
    ) {
        let Judgement { verdict, record, .. } = of_cell(&CellInput {
            cell: &CELL.parse().unwrap(),
            trace: &ended(OK, traced(3), QUIET),
            golden: Golden { shared: Some(GOLDEN), deviation: None },
            prediction: &Prediction { decision: Some(plan()), with_types: Some(plan()) },
            policy: SplatPolicy { expected: None, allow: &AllowList::default() },
            release: Some(guest),
        });
        assert_eq!(verdict.reason, expected, "{}", verdict.message);
        assert_eq!(record.is_some(), expected.is_none());
    }
}
