//! Records for tests of verdicts.

use std::collections::BTreeMap;

use kernlab_core::{
    cell::BackendKind,
    event::{Action, Event},
    facts::{LayoutSource, ProbeResult},
    ground_truth::{GroundTruth, NameClass},
    losses::Losses,
    plan::{BufferKind, ReadHelper, TypeSource},
    record::{Decision, Observation, Record},
};

/// The scenario of all records here.
pub(super) const SCENARIO: &str = "sys_write/threads";

/// A plan that works.
pub(super) fn plan() -> Decision {
    Decision::Plan {
        attach: vec![],
        buffer: BufferKind::Ring,
        read: ReadHelper::Split,
        types: TypeSource::Core,
        layout: LayoutSource::Btf,
        ring_buffer: ProbeResult::Yes,
    }
}

/// A write(2) of the workload.
pub(super) fn write(fd: i32) -> Event {
    let action = Action::Write { fd, count: 5, ret: 5 };
    Event { pid: 7, tid: 7, comm: "workload".to_owned(), action }
}

/// What a tracer observed while the workload did `expected`, and nothing was lost or left behind.
pub(super) fn traced(events: Vec<Event>, expected: Vec<Event>) -> Observation {
    let mut ground_truth = GroundTruth { events: expected, ..GroundTruth::default() };
    ground_truth.names.add(NameClass::Task, 7, "workload").unwrap();
    traced_beside(events, ground_truth)
}

/// The same, beside this ground truth.
pub(super) fn traced_beside(events: Vec<Event>, ground_truth: GroundTruth) -> Observation {
    Observation::Traced {
        events,
        lost: 0,
        losses: Losses::default(),
        skipped: 0,
        left_behind: BTreeMap::new(),
        still_loaded: 0,
        ground_truth,
    }
}

/// The record of a tracer that decided and observed this.
pub(super) fn record(decision: Decision, observation: Option<Observation>) -> Record {
    Record {
        backend: BackendKind::Aya,
        scenario: SCENARIO.to_owned(),
        release: "6.1.0".to_owned(),
        discovered: None,
        decision,
        observation,
        stages_us: BTreeMap::new(),
    }
}
