//! What the tracer program hands to the host at the end of a cell, as JSON on its result pipe.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    account::Account,
    discovery::Discovered,
    event::Event,
    facts::{LayoutSource, Trial},
    outcome::Reason,
    plan::{AttachPoint, BufferKind, ReadHelper, TypeSource, Unsupported},
};

/// Everything that was seen in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
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
        ring_buffer: Trial,
    },
    /// It can't work.
    Unsupported(Unsupported),
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
        /// Runs of programs that the kernel left out.
        skipped: u64,
        /// Entries left in maps that must be empty at the end.
        left_behind: u64,
        /// What the workload says.
        account: Account,
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
