//! What a kernel offers to any BPF program, whether or not a tracer of the lab wants it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{bpf, facts::ProbeResult};

/// What a kernel offers to BPF programs: found by trial, but for tracepoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// By the type of the calling program, helpers by name, without `bpf_`.
    pub helpers: BTreeMap<String, BTreeMap<String, ProbeResult>>,
    /// Map types by name.
    pub maps: BTreeMap<String, ProbeResult>,
    /// Program types by name: those that a program can be loaded as that says no more than its type.
    pub program_types: BTreeMap<String, ProbeResult>,
    /// All tracepoints that have a format: `sched:sched_switch`.
    pub tracepoints: BTreeSet<String>,
}

impl Offered {
    /// The names of everything that can be tried. An answer from a time with fewer names is out of date.
    pub fn known() -> String {
        let helpers = (1..bpf::helper_count()).map(bpf::helper_name);
        let maps = (1..bpf::map_type_count()).map(bpf::map_type_name);
        let programs = bpf::PROGRAM_TYPES.iter().map(|(_, name)| (*name).to_owned());
        [programs.collect(), helpers.collect(), maps.collect()]
            .map(|names: Vec<_>| names.join(" "))
            .join("; ")
    }

    /// May a program of this type call this helper? None if that was not tried. Programs that are only
    /// loaded with the place that they belong to may nearly always call what kprobe programs may.
    pub fn helper(&self, program_type: &str, helper: &str) -> Option<ProbeResult> {
        let callers = self.helpers.get(program_type).or_else(|| {
            let is_placed = ["tracing", "lsm", "ext"].contains(&program_type);
            self.helpers.get("kprobe").filter(|_| is_placed)
        });
        callers?.get(helper).copied()
    }
}
