//! What can be run: a tracer with one of the workloads that prove it. The table of all is in `tracer`.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use serde::{Serialize, Serializer};

use crate::{buffer::BufferKind, burst::Burst};

/// A tracer and the workload that it watches. Written as `tracer/name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The tracer that watches.
    pub tracer: Tracer,
    /// What happens: also the name of the workload.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// How its events come back, and how they are judged.
    pub kind: Kind,
}

/// How the events of a scenario come back from the programs, and how they are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By the ring buffer, where the kernel has one; each is listed in the golden snapshot.
    Listed,
    /// By this kind of buffer, which the scenario is about.
    Through(BufferKind),
    /// By this kind of buffer, and each must wake its reader while the workload runs: [`crate::live`].
    Live(BufferKind),
    /// They are too many to be listed, or some are lost on purpose: they are counted.
    Burst(Burst),
}

impl Scenario {
    /// The burst, if it is one.
    pub fn burst(&self) -> Option<&Burst> {
        match &self.kind {
            Kind::Burst(burst) => Some(burst),
            Kind::Listed | Kind::Through(_) | Kind::Live(_) => None,
        }
    }

    /// Must each event wake its reader?
    pub fn is_live(&self) -> bool {
        matches!(self.kind, Kind::Live(_))
    }

    /// The kind of buffer that it is about, if it is about one.
    pub(crate) fn buffer(&self) -> Option<BufferKind> {
        match self.kind {
            Kind::Listed => None,
            Kind::Through(buffer) | Kind::Live(buffer) => Some(buffer),
            Kind::Burst(burst) => burst.buffer,
        }
    }
}

/// By tracer and name, which are unique together.
impl Ord for Scenario {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.tracer, self.name).cmp(&(other.tracer, other.name))
    }
}

impl PartialOrd for Scenario {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Scenario {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.tracer, self.name).hash(state);
    }
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
