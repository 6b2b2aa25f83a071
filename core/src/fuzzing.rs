//! What must hold for all bytes that a kernel, a guest or a file of somebody's says.
//!
//! These functions are compiled for tests and for fuzzing only; `fuzz/` has a target for each. They
//! return whether the bytes were understood, so that tests can tell a seed that no longer is one.

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    arch::Arch,
    btf::{Btf, Types},
    config, dossier,
    dossier::{Dossier, Examination, GivenTypes, diff::Difference},
    elf, needs, normalise, object_record,
    record::{Observation, Record},
    scenario::Scenario,
    section::Section,
    tracepoint, tracer,
};

/// How many bytes of text may be made of each byte that was read.
const TEXT_PER_BYTE: usize = 256;

/// Type information: of a kernel, or of an object.
pub fn btf(bytes: &[u8]) -> bool {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else { return false };
    let listing = btf.listing();
    let functions = listing.functions.values().flatten().map(String::len);
    let structures = listing.structures.values().flatten().flatten().map(String::len);
    let text: usize = functions.chain(structures).sum();
    assert!(text <= (1 << 20) + bytes.len() * TEXT_PER_BYTE, "{text} bytes of {}", bytes.len());
    assert!(btf.newest_kind() <= 19);
    assert!(btf.describes_functions() || listing.functions.is_empty());

    let mut wanted = tracer::wanted_types(Arch::X86_64);
    wanted.functions.extend(listing.functions.keys().take(4).cloned());
    for structure in listing.structures.keys().take(4) {
        wanted.structures.entry(structure.clone()).or_default().push("name".to_owned());
    }
    let extract = btf.extract(&wanted);
    assert_eq!(again(&extract).as_ref(), Some(&extract));
    assert!(btf.map_types().len() <= bytes.len());
    let (whole, extract) = (Types::Whole(btf), Types::Extract(extract));
    assert_eq!(whole.are_minimal(), extract.are_minimal());
    for function in &wanted.functions {
        assert_eq!(whole.prototype(function), extract.prototype(function), "{function}");
    }
    for (structure, field) in wanted
        .structures
        .iter()
        .flat_map(|(structure, fields)| fields.iter().map(move |f| (structure, f)))
    {
        let offset = |types: &Types| types.member_offset(structure, field);
        // An extract has no field whose type can't be written.
        if let Some(found) = offset(&extract) {
            assert_eq!(offset(&whole), Some(found), "{structure}.{field}");
        }
    }
    true
}

/// An object of BPF programs, or a file that has some inside of it.
pub fn object(bytes: &[u8]) -> bool {
    let mut end = 0;
    for (start, object) in needs::embedded_objects(bytes) {
        assert!(start >= end, "objects overlap");
        assert!(bytes[start..].starts_with(&object));
        assert!(needs::check(&object).is_ok());
        end = start + object.len();
    }
    let symbol = elf::file_offset(bytes, "probe");
    let Ok(needs) = needs::of_object(bytes) else { return symbol.is_ok() };
    assert_eq!(again(&needs).as_ref(), Some(&needs));
    assert!(needs.programs.len() <= bytes.len());
    for program in &needs.programs {
        assert!(program.helpers.is_subset(&needs.helpers), "{program:?} of {needs:?}");
        if let Some(place) = Section::of(&program.section).and_then(|section| section.place) {
            assert!(place.to_string().len() <= 2 * program.section.len() + 64);
        }
    }
    dossier::missing::needed(&needs).into_keys().for_each(|need| drop(need.to_string()));
    true
}

/// A dossier, as a guest reports it and as it is kept.
pub fn dossier(json: &[u8]) -> bool {
    if let Ok(examination) = serde_json::from_slice::<Examination>(json) {
        assert_eq!(again(&examination).as_ref(), Some(&examination));
    }
    let Ok(dossier) = Dossier::from_json(json) else { return false };
    assert_eq!(again(&dossier).as_ref(), Some(&dossier));
    let trimmed = dossier.clone().trimmed();
    assert_eq!(trimmed.clone().trimmed(), trimmed);
    let difference = Difference::between(&dossier, &dossier);
    assert!(difference.tracers.is_empty() && difference.general.is_empty(), "{difference}");
    let types = [GivenTypes::Own, GivenTypes::None];
    for scenario in Scenario::ALL {
        for types in types {
            let decision = dossier.predict(scenario, types);
            assert!(decision.agrees_with(&decision));
            drop(decision.to_string());
        }
    }
    true
}

/// Texts of the kernel: its symbols, a tracepoint's format, its configuration, the verifier's log; and the
/// names of an object's sections.
pub fn kernel_text(text: &[u8]) -> bool {
    let names = dossier::function_names(text);
    assert!(names.iter().map(|name| name.len()).sum::<usize>() <= text.len());
    let first: BTreeSet<&str> = names.iter().take(8).copied().collect();
    let wanted: BTreeSet<&str> =
        tracer::wanted_symbols(Arch::X86_64).map(|name| -> &str { name }).chain(first).collect();
    let picked = dossier::pick_symbols(text, &wanted);
    for (name, letters) in &picked {
        assert!(wanted.contains(name.split('.').next().unwrap_or_default()));
        assert!(!letters.is_empty());
    }
    let Ok(text) = str::from_utf8(text) else { return !names.is_empty() };
    let fields = tracepoint::parse_format(text);
    assert_eq!(again(&fields).as_ref(), Some(&fields));
    assert_eq!(config::options(text).len(), config::OPTIONS.len());
    let processed = object_record::processed_instructions(text);
    for name in text.lines().take(64) {
        if let Some(place) = Section::of(name).and_then(|section| section.place) {
            assert!(place.to_string().len() <= 2 * name.len() + 64);
        }
    }
    !names.is_empty() || !fields.is_empty() || processed.is_some()
}

/// What comes out of a guest: records of BPF programs, and what the tracer program hands to the host.
pub fn record(bytes: &[u8]) -> bool {
    events(bytes) | document(bytes)
}

/// The record of a cell, or of somebody's object.
fn document(json: &[u8]) -> bool {
    if let Ok(record) = serde_json::from_slice::<object_record::ObjectRecord>(json) {
        assert_eq!(again(&record).as_ref(), Some(&record));
        assert!(record.error.is_none() || record.reason().is_some());
        return true;
    }
    let Ok(record) = serde_json::from_slice::<Record>(json) else { return false };
    assert_eq!(again(&record).as_ref(), Some(&record));
    drop(record.decision.to_string());
    if let Some(Observation::Traced { events, ground_truth, .. }) = &record.observation {
        let known = ground_truth.names.check().is_ok();
        let text = normalise::normalise(events, &ground_truth.names);
        assert!(text.ends_with('\n') && (!known || text.lines().count() >= events.len().min(1)));
    }
    true
}

/// What BPF programs write into their buffer: the records of every tracer.
fn events(bytes: &[u8]) -> bool {
    let symbols = [("vfs_read".to_owned(), 0x1000)].into();
    let mut understood = false;
    for scenario in Scenario::ALL {
        let decoder = crate::decoder::Decoder::new(scenario, &symbols, 1 << 47);
        let size = scenario.tracer.event_size();
        assert!(decoder.decode(&bytes[..bytes.len().min(size - 1)]).is_err());
        for record in bytes.chunks_exact(size).take(4) {
            let Ok((_, event)) = decoder.decode(record) else { continue };
            understood = true;
            assert_eq!(again(&event).as_ref(), Some(&event), "{scenario}");
            let text = normalise::normalise(std::slice::from_ref(&event), &Default::default());
            assert_eq!(text.lines().count(), 1, "{text:?}");
        }
    }
    understood
}

/// What is read of what is written.
fn again<T: Serialize + DeserializeOwned>(value: &T) -> Option<T> {
    let text = serde_json::to_vec(value).expect("it is plain data");
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn seeds_of_btf(
        #[files("../fuzz/seeds/btf/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(btf(seed));
    }

    #[rstest]
    fn seeds_of_object(
        #[files("../fuzz/seeds/object/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(object(seed));
    }

    #[rstest]
    fn seeds_of_dossier(
        #[files("tests/dossiers/*.json")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(dossier(seed));
    }

    #[rstest]
    fn seeds_of_kernel_text(
        #[files("../fuzz/seeds/kernel_text/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(kernel_text(seed));
    }

    #[rstest]
    fn seeds_of_record(
        #[files("../fuzz/seeds/record/*")]
        #[mode = bytes]
        seed: &[u8],
    ) {
        assert!(record(seed));
    }
}
