//! What a workload says that it did: the oracle beside the golden snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Event;
pub use crate::names::{NameClash, NameClass, Names, Range};

/// Printed by a workload, as JSON, after it did its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroundTruth {
    /// Names for everything that differs from run to run.
    pub names: Names,
    /// The events that a tracer must report, those of each thread in order.
    #[serde(rename = "did")]
    pub events: Vec<Event>,
    /// Entries that a tracer's maps of state rightly have at the end, by map: what began and has not
    /// ended. A map that isn't named must be empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub under_way: BTreeMap<String, u64>,
}
