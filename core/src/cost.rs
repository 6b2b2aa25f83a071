//! What tracing costs the traced.

use serde::{Deserialize, Serialize};

/// What a program that only writes took, with a tracer or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Calls of write(2).
    pub calls: u64,
    /// All of them, in nanoseconds by the guest's monotonic clock. There is one processor, so what
    /// the tracer's user space needs meanwhile is a part of it.
    pub elapsed_ns: u64,
    /// Events that arrived; the program's own report of its time is one more write.
    pub captured: u64,
    /// Events that the tracer reported as lost.
    pub lost: u64,
}
