//! What the running kernel offers to any BPF program.

use std::collections::BTreeMap;

use anyhow::Result;
use kernlab_core::{
    bpf::{PROGRAM_TYPES, helper_count, helper_name, map_type_count, map_type_name},
    dossier::Offered,
    facts::ProbeResult,
};

use crate::{facts, trial};

/// Tries every helper with every type of program, and reads which tracepoints there are.
pub(crate) fn offers() -> Result<Offered> {
    let tried = PROGRAM_TYPES.iter().filter(|&&(number, _)| trial::has_free_type(number));
    let program_types: BTreeMap<String, ProbeResult> = tried
        .clone()
        .map(|&(number, name)| (name.to_owned(), trial::program_type(number)))
        .collect();
    let there = tried.filter(|&&(_, name)| program_types[name] == ProbeResult::Yes);
    let helpers = there.map(|&(number, name)| {
        let answers = (1..helper_count())
            .map(|helper| (helper_name(helper), trial::helper_of(number, helper)));
        (name.to_owned(), answers.collect())
    });
    let maps = (1..map_type_count()).filter(|&number| trial::has_simple_map(number));
    let maps = maps.map(|number| (map_type_name(number), trial::map_type(number)));
    Ok(Offered {
        helpers: helpers.collect(),
        maps: maps.collect(),
        tracepoints: facts::all_tracepoints()?,
        program_types,
    })
}
