//! What a report says of a user's tracer.

use std::collections::BTreeSet;

use kernlab_core::{
    bpf::{map_type_name, program_type_name},
    object_record::ObjectRecord,
};
use kernlab_proto::suite::End;
use serde::{Deserialize, Serialize};

use crate::suite::{manifest::ObjectSubject, observed::Observed};

/// A tracer as a guest saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracerReport {
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// How long it ran, in milliseconds of the guest's clock.
    pub duration_ms: Option<u64>,
    /// When it was ready, in milliseconds from its start.
    pub ready_ms: Option<u64>,
    /// The BPF programs that it had loaded at the end of the workload.
    pub programs: Vec<LoadedObject>,
    /// The BPF maps that it had created.
    pub maps: Vec<LoadedObject>,
    /// The functions and tracepoints that its files and its command line name as places to attach to, if
    /// the cell does not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Whether it is a BPF object alone, whose programs were loaded one by one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_object: bool,
    /// What the kernel lacks of what a BPF object needs, by the kernel's dossier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predicted_missing: Vec<String>,
    /// By how much the number of instructions that the verifier processes for a program may grow from
    /// one run to another, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_growth_percent: Option<u32>,
}

/// A BPF program or map, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LoadedObject {
    /// The first 15 bytes of its name.
    pub name: String,
    /// Its type, as bpftool(8) names it.
    pub kind: String,
    /// How many instructions the verifier processed, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_instructions: Option<u64>,
    /// How many runs of a program the kernel skipped, where it tells and there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_runs: Option<u64>,
    /// How long the kernel took to load a program of an object, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_us: Option<u64>,
}

impl TracerReport {
    /// What a guest reported.
    pub fn of(observed: &Observed) -> Self {
        let end = observed.tracer.map(|tracer| tracer.end);
        let programs = observed.programs.iter().map(|program| LoadedObject {
            name: program.name.clone(),
            kind: program_type_name(program.kind),
            verified_instructions: program
                .verified_instructions
                .filter(|count| *count > 0)
                .map(u64::from),
            missed_runs: program.missed_runs.filter(|count| *count > 0),
            load_us: None,
        });
        let maps = observed.maps.iter().map(|map| LoadedObject {
            name: map.name.clone(),
            kind: map_type_name(map.kind),
            verified_instructions: None,
            missed_runs: None,
            load_us: None,
        });
        TracerReport {
            exit_code: end.and_then(|end| match end {
                End::Code(code) => Some(code),
                End::Signal(_) => None,
            }),
            signal: end.and_then(|end| match end {
                End::Code(_) => None,
                End::Signal(signal) => Some(signal),
            }),
            duration_ms: observed.tracer.map(|tracer| tracer.duration_ms),
            ready_ms: observed.ready_after_ms,
            programs: programs.collect(),
            maps: maps.collect(),
            targets: Vec::new(),
            is_object: false,
            predicted_missing: Vec::new(),
            max_growth_percent: None,
        }
    }

    /// How it ended.
    pub fn end(&self) -> Option<End> {
        self.exit_code.map(End::Code).or(self.signal.map(End::Signal))
    }

    /// The outcome of a BPF object.
    pub(crate) fn of_object(
        observed: &Observed,
        object: &ObjectSubject,
        record: &ObjectRecord,
    ) -> Self {
        let programs = record.programs.iter().map(|program| LoadedObject {
            name: program.name.clone(),
            kind: program.program_type.clone(),
            verified_instructions: program.verified_instructions,
            missed_runs: None,
            load_us: program.load_us,
        });
        let maps = record.maps.iter().map(|map| LoadedObject {
            name: map.name.clone(),
            kind: map.map_type.clone(),
            verified_instructions: None,
            missed_runs: None,
            load_us: None,
        });
        TracerReport {
            programs: programs.collect(),
            maps: maps.collect(),
            is_object: true,
            max_growth_percent: object.max_growth_percent,
            ..TracerReport::of(observed)
        }
    }

    /// `program opens (kprobe)`, `map events (ringbuf)`: its programs and maps, each kind and name once. Those
    /// without a name were loaded to find out what the kernel can do, as libbpf does.
    pub(crate) fn object_names(&self) -> BTreeSet<String> {
        let programs = self.programs.iter().map(|program| ("program", program));
        let maps = self.maps.iter().map(|map| ("map", map));
        let named = programs.chain(maps).filter(|(_, object)| !object.name.is_empty());
        named
            .map(|(what, LoadedObject { name, kind, .. })| {
                format!("{what} {} ({kind})", without_address(name))
            })
            .collect()
    }
}

/// The name of a map, such as `tool.data` for the data of an object called `tool`. libbpf names an object that
/// it reads from memory after its address, which differs from process to process: of `aaaab4e8.data` only
/// `.data` is left.
fn without_address(name: &str) -> &str {
    match name.find('.') {
        Some(8) if name.bytes().take(8).all(|byte| byte.is_ascii_hexdigit()) => &name[8..],
        _ => name,
    }
}
