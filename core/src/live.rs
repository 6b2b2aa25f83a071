//! Scenarios that are about events arriving while the workload runs ([`Kind::Live`]). Calls are made one at a
//! time, each while the tracer sleeps until its buffer has an event, and none before the tracer has read the last
//! one's.
//!
//! [`Kind::Live`]: crate::scenario::Kind::Live

use std::time::Duration;

/// How many calls there are: one for each processor of the largest guest.
pub const CALLS: u64 = 4;

/// How long an event may take to its reader.
pub const BOUND: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use crate::{
        buffer::BufferKind,
        scenario::{Kind, Scenario},
    };

    #[test]
    fn every_buffer_is_proven_live_by_a_scenario() {
        for buffer in [BufferKind::Ring, BufferKind::Perf] {
            let is_proof = |scenario: &Scenario| scenario.kind == Kind::Live(buffer);
            assert!(Scenario::ALL.iter().any(is_proof), "{buffer:?}");
        }
    }
}
