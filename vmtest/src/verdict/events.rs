//! Derives a verdict from a tracer's record: compares its events with the workload's ground truth
//! and with the golden snapshot.

use std::{collections::BTreeMap, io};

use kernlab_core::{
    losses::Losses,
    normalise::normalise,
    outcome::{Outcome, Reason, Verdict},
    plan::{BufferKind, Unsupported},
    record::{Decision, Leftover, Observation, Record},
    scenario::Scenario,
};

use super::{Judgement, PolicyOutcome, ReadText};
use crate::{diff, report::CellReport};

/// The snapshots that a cell is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Golden<'a> {
    /// The scenario's own, shared by all kernels and both backends.
    pub shared: Option<&'a str>,
    /// The one of a named deviation, which replaces the scenario's own.
    pub deviation: Option<&'a str>,
}

impl<'a> Golden<'a> {
    /// The snapshots of a cell with a deviation that names one. If that does not exist, the shared one
    /// can't stand in for it.
    pub fn of_deviation(shared: Option<&'a str>, deviation: Option<&'a str>) -> Self {
        match deviation {
            None => Golden::default(),
            Some(_) => Golden { shared, deviation },
        }
    }
}

/// Judges one record of a scenario.
pub(super) fn judge(scenario: &Scenario, record: &Record, golden: Golden<'_>) -> Judgement {
    match (&record.decision, &record.observation) {
        (Decision::Unsupported(Unsupported { reason, message }), None) => {
            let outcome = match reason {
                // The given BTF file is not usable with this kernel, so this cell's kernel is not
                // available.
                Reason::ForeignBtf => Outcome::Unavailable,
                // The kernel may have it.
                Reason::FactNotGathered | Reason::TrialInconclusive => Outcome::Infra,
                _ => Outcome::Unsupported,
            };
            judgement(Verdict::because(outcome, *reason, message.clone()))
        }
        (Decision::Unsupported(_), Some(_)) | (Decision::Plan { .. }, None) => {
            judgement(Verdict::because(
                Outcome::Fail,
                Reason::TracerDied,
                "the tracer's record contradicts itself: its plan and its observation don't match",
            ))
        }
        (_, Some(Observation::Failed { reason, message, verifier_log })) => {
            // A workload that failed says nothing about the tracer.
            let outcome = match reason {
                Reason::WorkloadFailed => Outcome::Infra,
                _ => Outcome::Fail,
            };
            Judgement {
                verifier_log: verifier_log.clone(),
                ..judgement(Verdict::because(outcome, *reason, message.clone()))
            }
        }
        (
            _,
            Some(Observation::Traced {
                events,
                lost,
                losses,
                skipped,
                left_behind,
                still_loaded,
                ground_truth,
            }),
        ) => {
            if let Err(clash) = ground_truth.names.check() {
                return judgement(Verdict::because(
                    Outcome::Infra,
                    Reason::WorkloadFailed,
                    format!("the workload's ground truth is ambiguous: {clash}"),
                ));
            }
            let buffer = buffer_of(&record.decision);
            let excess = losses.counted().saturating_sub(*lost);
            let (observed, done, lost) = match scenario.burst() {
                // The text of a burst includes the lost events.
                Some(burst) => {
                    let observed = burst.observed(events, ground_truth, *lost, *losses, buffer);
                    (observed, burst.expected(ground_truth), 0)
                }
                None => (
                    normalise(events, &ground_truth.names),
                    normalise(&ground_truth.events, &ground_truth.names),
                    *lost,
                ),
            };
            let missed = Missed {
                lost,
                losses: *losses,
                excess,
                buffer,
                skipped: *skipped,
                left_behind,
                still_loaded: *still_loaded,
            };
            let (verdict, diff) = compare(&observed, &done, missed, golden);
            let confirmed =
                missed.lost == 0 && missed.excess == 0 && missed.skipped == 0 && done == observed;
            Judgement { events: Some(observed), diff, confirmed, ..judgement(verdict) }
        }
    }
}

/// What counts against a session, beside its events.
#[derive(Clone, Copy)]
struct Missed<'a> {
    lost: u64,
    /// Why, as far as that happened before the buffer.
    losses: Losses,
    /// How many more events are counted as lost than are missing.
    excess: u64,
    buffer: BufferKind,
    skipped: u64,
    left_behind: &'a BTreeMap<String, Leftover>,
    still_loaded: u64,
}

/// The buffer of a plan.
fn buffer_of(decision: &Decision) -> BufferKind {
    match decision {
        Decision::Plan { buffer, .. } => *buffer,
        Decision::Unsupported(_) => BufferKind::Ring,
    }
}

fn compare(
    observed: &str,
    done: &str,
    Missed { lost, losses, excess, buffer, skipped, left_behind, still_loaded }: Missed<'_>,
    golden: Golden<'_>,
) -> (Verdict, Option<String>) {
    let fail = |reason, message: String| Verdict::because(Outcome::Fail, reason, message);
    // Shows which events are missing: that tells a full buffer from the unseen end of a call.
    let missing = || (done != observed).then(|| unified_diff(done, observed));
    if excess > 0 {
        let message = format!(
            "the programs count {excess} more events as lost than are missing: {}",
            losses.describe(losses.counted(), buffer)
        );
        return (fail(Reason::EventsLost, message), missing());
    }
    if lost > 0 {
        let message = format!(
            "{lost} events that the programs meant to send are missing: {}",
            losses.describe(lost, buffer)
        );
        return (fail(Reason::EventsLost, message), missing());
    }
    if skipped > 0 {
        let message = format!(
            "the kernel skipped {skipped} runs of the tracer's programs (recursion_misses), so events \
             may be missing: another thread was preempted inside them, or a map was in use"
        );
        return (fail(Reason::EventsLost, message), missing());
    }
    if done != observed {
        let message = "the events differ from the workload's ground truth".to_owned();
        return (fail(Reason::EventsDiffer, message), Some(unified_diff(done, observed)));
    }
    let Some(expected) = golden.deviation.or(golden.shared) else {
        let message = "there is no golden snapshot of this scenario: read the events, then run the \
                       same command with --update-snapshots";
        return (fail(Reason::SnapshotMissing, message.to_owned()), None);
    };
    if golden.deviation.is_some() && golden.shared == Some(observed) {
        let message = "the events equal the shared snapshot, so the deviation that kernels.toml \
                       names no longer occurs: remove it";
        return (fail(Reason::DeviationStale, message.to_owned()), None);
    }
    if expected != observed {
        let (verdict, diff) = differs_from_snapshot(expected, observed);
        return (verdict, Some(diff));
    }
    if !left_behind.is_empty() {
        return (fail(Reason::StateLeftBehind, leftovers(left_behind)), None);
    }
    if still_loaded > 0 {
        let message = format!(
            "{still_loaded} programs stayed in the kernel after the session: the loader did not detach \
             or close them"
        );
        return (fail(Reason::StateLeftBehind, message), None);
    }
    (Verdict::pass(), None)
}

/// What is wrong with which maps.
fn leftovers(maps: &BTreeMap<String, Leftover>) -> String {
    let of_map = |(map, Leftover { entries, expected }): (&String, &Leftover)| {
        format!("the map {map} has {entries} entries at the end, not {expected}")
    };
    let maps: Vec<_> = maps.iter().map(of_map).collect();
    format!(
        "the tracer left state behind for what has ended, or forgot what hasn't: {}",
        maps.join("; ")
    )
}

/// The verdict on events that match the ground truth but not the snapshot, with their diff.
fn differs_from_snapshot(expected: &str, observed: &str) -> (Verdict, String) {
    let message = "tracer and workload agree with each other, but not with the golden snapshot: if \
                   the new events are right, run the same command with --update-snapshots";
    let verdict = Verdict::because(Outcome::Fail, Reason::EventsDiffer, message);
    (verdict, unified_diff(expected, observed))
}

/// Each cell that wrote a snapshot passed its own. If two such cells saw different events, the last
/// one overwrote the snapshot, and the other must not pass.
pub(super) fn compare_with_new_snapshots(
    cells: &mut [CellReport],
    events: ReadText<'_, CellReport>,
    snapshot: ReadText<'_, str>,
) -> io::Result<()> {
    for cell in cells.iter_mut().filter(|cell| cell.outcome == Outcome::Pass) {
        let Some(name) = &cell.snapshot else { continue };
        let Some(observed) = events(cell)? else { continue };
        let expected = snapshot(name)?.unwrap_or_default();
        if expected != observed {
            let (verdict, diff) = differs_from_snapshot(&expected, &observed);
            cell.set_verdict(verdict);
            cell.diff = Some(diff);
        }
    }
    Ok(())
}

fn judgement(verdict: Verdict) -> Judgement {
    Judgement::of(PolicyOutcome::unchanged(verdict))
}

fn unified_diff(expected: &str, observed: &str) -> String {
    diff::unified(expected, observed, ("expected", "observed"))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;
