//! How events come back from programs.

use serde::{Deserialize, Serialize};

use crate::{
    facts::{KernelFacts, ProbeResult},
    outcome::Reason,
    scenario::Scenario,
    unsupported::Unsupported,
};

/// How events reach user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BufferKind {
    /// One ring shared by all CPUs: `BPF_MAP_TYPE_RINGBUF`.
    Ring,
    /// A buffer per CPU: `BPF_MAP_TYPE_PERF_EVENT_ARRAY`.
    Perf,
}

impl BufferKind {
    /// What a scenario uses on a kernel: the ring buffer where there is one, unless the scenario is about one
    /// of the two.
    pub(crate) fn of(scenario: &Scenario, facts: &KernelFacts) -> Result<Self, Unsupported> {
        match (scenario.buffer(), facts.ring_buffer) {
            (None | Some(BufferKind::Ring), ProbeResult::Yes) => Ok(BufferKind::Ring),
            (None | Some(BufferKind::Perf), _) => Ok(BufferKind::Perf),
            (Some(BufferKind::Ring), ProbeResult::No) => Err(Unsupported::new(
                Reason::HelperUnavailable,
                "the kernel has no ring buffer (BPF_MAP_TYPE_RINGBUF)",
            )),
            (Some(BufferKind::Ring), ProbeResult::CouldNotTell(errno)) => Err(Unsupported::new(
                Reason::TrialInconclusive,
                format!("creating a ring buffer failed with errno {errno}: there may be none"),
            )),
        }
    }

    /// `ring` or `perf`: part of the name of a compiled object.
    pub fn name(self) -> &'static str {
        match self {
            BufferKind::Ring => "ring",
            BufferKind::Perf => "perf",
        }
    }
}
