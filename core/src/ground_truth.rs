//! What a workload says that it did: the oracle beside the golden snapshot.

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
}
