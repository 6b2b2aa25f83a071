//! Scenarios that are about events arriving while the workload runs: each must wake its reader.

use std::time::Duration;

use crate::{buffer::BufferKind, scenario::Scenario};

/// Calls one at a time, each made while the tracer sleeps until its buffer has an event, and none before the
/// tracer has read the last one's.
#[derive(Debug, PartialEq, Eq)]
pub struct Live {
    /// The scenario's tracer.
    tracer: &'static str,
    /// The scenario's name.
    name: &'static str,
    /// The buffer that it is about.
    pub buffer: BufferKind,
}

/// Events of `sys_write` are small; those of `opensnoop` have room for a file's name.
static LIVE: [Live; 3] = [
    Live { tracer: "sys_write", name: "live_ring", buffer: BufferKind::Ring },
    Live { tracer: "sys_write", name: "live_perf", buffer: BufferKind::Perf },
    Live { tracer: "opensnoop", name: "live_ring", buffer: BufferKind::Ring },
];

impl Live {
    /// How many calls there are: one for each processor of the largest guest.
    pub const CALLS: u64 = 4;

    /// How long an event may take to its reader.
    pub const BOUND: Duration = Duration::from_secs(10);

    /// What a scenario is, if it is about that.
    pub fn of(scenario: &Scenario) -> Option<&'static Live> {
        let named =
            |live: &&Live| (live.tracer, live.name) == (scenario.tracer.name(), scenario.name);
        LIVE.iter().find(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_proven_live_by_a_scenario() {
        let live: Vec<_> = Scenario::ALL.iter().filter_map(Live::of).collect();
        assert_eq!(live, LIVE.iter().collect::<Vec<_>>());
        let buffers: Vec<_> = live.iter().map(|live| live.buffer).collect();
        assert!([BufferKind::Ring, BufferKind::Perf].iter().all(|kind| buffers.contains(kind)));
    }
}
