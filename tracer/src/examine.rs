//! What a dossier of the running kernel says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Instant,
};

use anyhow::{Context as _, Result};
use kernlab_core::{
    bpf::{HELPERS, MAP_TYPES},
    btf::Btf,
    discovery::QUESTIONS,
    dossier::{BtfIdentity, Dossier, Examination, Features, SCHEMA, function_names, pick_symbols},
    facts::ProbeResult,
    tracepoint::parse_format,
    tracer::{wanted_symbols, wanted_types},
};

use crate::{discovery, facts, symbols, trial};

/// Finds out everything that a plan may depend on.
pub(crate) fn examine() -> Result<Examination> {
    let live = facts::live(None)?;
    let started = Instant::now();
    let discovered = discovery::search(&live, &QUESTIONS.map(|question| question.function));
    let search_ms = started.elapsed().as_millis() as u64;

    let bytes = facts::btf_bytes()?;
    let btf = bytes
        .as_ref()
        .map(|bytes| BtfIdentity { length: bytes.len() as u64, checksum: crc32fast::hash(bytes) });
    let types = bytes.map(Btf::parse).transpose().context("parsing the kernel's BTF")?;
    let kallsyms = symbols::table().context("reading /proc/kallsyms")?;
    let wanted: BTreeSet<&str> = wanted_symbols(live.arch).collect();
    let dossier = Dossier {
        schema: SCHEMA,
        machine: nix::sys::utsname::uname()?.machine().to_string_lossy().into_owned(),
        five_level_paging: live.five_level_paging,
        features: Features {
            ring_buffer: live.ring_buffer,
            probe_read_kernel: live.probe_read_kernel,
            uprobes: live.uprobes,
            fentry: types.as_ref().map(trial::fentry),
            kcore: Some(live.kcore),
            page_size: Some(trial::page_size()),
            helpers: tried(HELPERS, trial::helper),
            maps: tried(MAP_TYPES, trial::map_type),
        },
        symbols: pick_symbols(&kallsyms, &wanted),
        tracepoints: live
            .tracepoints
            .iter()
            .map(|name| {
                let dir = facts::tracepoint(name).context("a tracepoint is gone")?;
                let format = fs::read_to_string(dir.join("format"))
                    .with_context(|| format!("reading the format of {name}"))?;
                Ok((name.clone(), parse_format(&format)))
            })
            .collect::<Result<_>>()?,
        types: types.map(|types| types.extract(&wanted_types(live.arch))),
        discovered,
        config: None,
        release: live.release,
    };
    Ok(Examination { dossier, btf, search_ms })
}

/// The names of all functions, one a line.
pub(crate) fn functions() -> Result<String> {
    let kallsyms = symbols::table().context("reading /proc/kallsyms")?;
    Ok(function_names(&kallsyms).into_iter().flat_map(|name| [name, "\n"]).collect())
}

fn tried(all: &[(u32, &str)], trial: fn(u32) -> ProbeResult) -> BTreeMap<String, ProbeResult> {
    all.iter().map(|&(number, name)| (name.to_owned(), trial(number))).collect()
}
