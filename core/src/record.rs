//! What the tracer program hands to the host at the end of a cell, as JSON on its result pipe.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    cell::{BackendKind, Cell},
    discovery::Discovered,
    event::Event,
    facts::{KernelFacts, LayoutSource, ProbeResult},
    ground_truth::GroundTruth,
    losses::Losses,
    outcome::Reason,
    plan::{AttachPoint, BufferKind, ProbePlan, ReadHelper, TypeSource, Unsupported},
};

/// Everything that was seen in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose programs ran.
    pub backend: BackendKind,
    /// Which scenario, `tracer/name`.
    pub scenario: String,
    /// `uname -r`.
    pub release: String,
    /// What a search of the guest's memory found, if the plan needed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovered: Option<Discovered>,
    /// What was decided from the guest's facts.
    pub decision: Decision,
    /// What came of it; none if the plan said that it can't work.
    pub observation: Option<Observation>,
    /// What the stages of the tracer program took, in microseconds.
    #[serde(default)]
    pub stages_us: BTreeMap<String, u64>,
}

/// The plan in the form of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It should work like this.
    Plan {
        /// Programs and places.
        attach: Vec<AttachPoint>,
        /// How events reach user space.
        buffer: BufferKind,
        /// How programs read kernel memory.
        read: ReadHelper,
        /// Where offsets come from.
        types: TypeSource,
        /// Where the plan itself has its offsets and prototypes from.
        layout: LayoutSource,
        /// What the trial of a ring buffer said.
        ring_buffer: ProbeResult,
    },
    /// It can't work.
    Unsupported(Unsupported),
}

impl Record {
    /// Is this the record of `cell`, as far as the guest knows?
    pub fn is_of(&self, cell: &Cell) -> bool {
        self.backend == cell.backend && self.scenario == cell.scenario.to_string()
    }
}

impl Decision {
    /// What was planned from these facts.
    pub fn of(planned: &Result<ProbePlan, Unsupported>, facts: &KernelFacts) -> Self {
        match planned {
            Err(unsupported) => Decision::Unsupported(unsupported.clone()),
            Ok(plan) => Decision::Plan {
                attach: plan.attach.clone(),
                buffer: plan.buffer,
                read: plan.read,
                types: plan.types,
                layout: facts.layout_source(),
                ring_buffer: facts.ring_buffer,
            },
        }
    }

    /// Do both decide the same? A refusal with another message is the same.
    pub fn agrees_with(&self, other: &Decision) -> bool {
        match (self, other) {
            (Decision::Unsupported(ours), Decision::Unsupported(theirs)) => {
                ours.reason == theirs.reason
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Decision {
    /// What a person wants to know first: `supported, at kprobe vfs_read, ...`, or why not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Unsupported(Unsupported { reason, message }) => {
                write!(f, "unsupported ({reason}): {message}")
            }
            Decision::Plan { attach, buffer, read, types, layout, .. } => {
                let mut places: Vec<_> =
                    attach.iter().map(|point| point.target.to_string()).collect();
                places.dedup();
                let (buffer, read) = (buffer.name(), read.name());
                let (types, layout) = (types.name(), layout.name());
                write!(f, "supported, at {}", places.join(", "))?;
                write!(f, " (buffer {buffer}, reads {read}, types {types}, layout {layout})")
            }
        }
    }
}

/// What came of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// Everything was loaded, attached, traced and taken down.
    Traced {
        /// In the order of their time.
        events: Vec<Event>,
        /// Events that found no room in the buffer, and calls whose end went unseen.
        lost: u64,
        /// Why, as far as that happened before the buffer.
        #[serde(default, skip_serializing_if = "Losses::is_none")]
        losses: Losses,
        /// Runs of programs that the kernel left out.
        skipped: u64,
        /// The maps of state that have another number of entries at the end than they should.
        left_behind: BTreeMap<String, Leftover>,
        /// Programs that are still in the kernel after the session.
        still_loaded: u64,
        /// What the workload says.
        #[serde(rename = "account")]
        ground_truth: GroundTruth,
    },
    /// Something failed on the way.
    Failed {
        /// The code.
        reason: Reason,
        /// The chain of errors, outermost first, joined by `: `.
        message: String,
        /// What the verifier said, where it was asked.
        verifier_log: Option<String>,
    },
}

/// What a map of state has at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// How many entries it has.
    pub entries: u64,
    /// How many it should have: usually 0.
    pub expected: u64,
}

impl Leftover {
    /// The maps of `state` that don't have as many entries as what is `under_way`.
    pub fn among(
        state: &BTreeMap<String, u64>,
        under_way: &BTreeMap<String, u64>,
    ) -> BTreeMap<String, Leftover> {
        let number = |entries: &BTreeMap<String, u64>, map| entries.get(map).copied().unwrap_or(0);
        state
            .keys()
            .chain(under_way.keys())
            .map(|map| {
                let (entries, expected) = (number(state, map), number(under_way, map));
                (map.clone(), Leftover { entries, expected })
            })
            .filter(|(_, found)| found.entries != found.expected)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty(&[("pending", 0), ("births", 0)], &[], &[])]
    #[case::left(&[("pending", 2), ("births", 0)], &[], &[("pending", 2, 0)])]
    #[case::under_way(&[("pending", 0), ("births", 1)], &[("births", 1)], &[])]
    #[case::forgotten(&[("births", 0)], &[("births", 1)], &[("births", 0, 1)])]
    #[case::no_such_map(&[], &[("births", 1)], &[("births", 0, 1)])]
    fn a_map_has_as_many_entries_as_is_under_way(
        #[case] state: &[(&str, u64)],
        #[case] under_way: &[(&str, u64)],
        #[case] expected: &[(&str, u64, u64)],
    ) {
        let map = |entries: &[(&str, u64)]| {
            entries.iter().map(|&(map, entries)| (map.to_owned(), entries)).collect()
        };
        let expected = expected
            .iter()
            .map(|&(map, entries, expected)| (map.to_owned(), Leftover { entries, expected }));
        assert_eq!(Leftover::among(&map(state), &map(under_way)), expected.collect());
    }
}
