//! What can be run: a tracer with one of the workloads that prove it. The table of all is in `tracer`.

use std::fmt;

use serde::{Serialize, Serializer};

/// A tracer and the workload that it watches. Written as `tracer/name`.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scenario {
    /// The tracer that watches.
    pub tracer: Tracer,
    /// What happens: also the name of the workload.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tracer, self.name)
    }
}

/// A probe set with one event type. In JSON it is its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tracer {
    /// In the table of all tracers, which alone makes them.
    pub(crate) position: usize,
    name: &'static str,
}

impl Tracer {
    pub(crate) const fn new(position: usize, name: &'static str) -> Self {
        Tracer { position, name }
    }

    /// The name in ids, file names and BPF objects: `sys_write`.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl Serialize for Tracer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.name.serialize(serializer)
    }
}

impl fmt::Display for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
