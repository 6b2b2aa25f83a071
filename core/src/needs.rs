//! What a compiled BPF object needs of a kernel: helpers, map types, fields.

use std::collections::{BTreeMap, BTreeSet};

use object::{
    Architecture, Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind,
    read::elf::ElfFile64,
};
use serde::{Deserialize, Serialize};

use crate::{
    bpf::{helper_name, map_type_name},
    btf::{Btf, BtfError},
    cell::BackendKind,
    tracer::Tracer,
};

/// What an object needs, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Helpers that its programs call, without `bpf_`.
    pub helpers: BTreeSet<String>,
    /// The types of its maps.
    pub maps: BTreeSet<String>,
    /// Fields that CO-RE relocations look for, by structure.
    pub fields: BTreeMap<String, BTreeSet<String>>,
    /// Those of them whose existence the object asks for, by structure: it can do without.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub optional_fields: BTreeMap<String, BTreeSet<String>>,
    /// Its programs, in the order of the symbol table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ProgramNeeds>,
}

/// What one program of an object needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramNeeds {
    /// Its function's name.
    pub name: String,
    /// Its section, which may tell where it belongs: [`Section::of`](crate::section::Section::of).
    pub section: String,
    /// Helpers that it calls, itself or through functions that programs share.
    pub helpers: BTreeSet<String>,
}

/// An object of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectNeeds {
    /// Whose: `libbpf` or `aya`.
    pub backend: BackendKind,
    /// For which tracer.
    pub tracer: Tracer,
    /// Which variant: `ring.core`, say.
    pub variant: String,
    /// What it needs.
    pub needs: Needs,
}

/// An object that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum NeedsError {
    /// It is not ELF.
    #[error("not a BPF object: {0}")]
    Elf(#[from] object::Error),
    /// Its type information can't be understood.
    #[error("its BTF can't be understood")]
    Btf(#[from] BtfError),
    /// It is a program or library of another machine.
    #[error("code for a processor, not for BPF")]
    OtherMachine,
    /// A map or a relocation is not described as it should be.
    #[error("{0} can't be understood")]
    Malformed(&'static str),
}

/// `BPF_JMP | BPF_CALL`, Documentation/bpf/standardization/instruction-set.rst.
const CALL: u8 = 0x85;

/// Whether these bytes are an object of BPF programs, so that a loader may be asked to open it.
pub fn check(bytes: &[u8]) -> Result<(), NeedsError> {
    parse(bytes).map(drop)
}

/// The objects of BPF programs that a file has inside of it, by where they begin: the file itself, if it
/// is one, or those that a program embeds.
pub fn embedded_objects(file: &[u8]) -> Vec<(usize, Vec<u8>)> {
    /// Of 64 bits and little-endian: `e_ident`.
    const MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";
    let mut objects = Vec::new();
    let mut at = 0;
    while let Some(found) = file.get(at..).and_then(|rest| position(rest, MAGIC)) {
        let start = at + found;
        at = start + MAGIC.len();
        if let Some(end) = length(&file[start..]).and_then(|length| start.checked_add(length))
            && let Some(object) = file.get(start..end)
            && check(object).is_ok()
        {
            objects.push((start, object.to_vec()));
            at = end;
        }
    }
    objects
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == wanted[0])?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
}

/// The length of an object file for BPF, whose section headers are its end or before it.
fn length(bytes: &[u8]) -> Option<usize> {
    /// Where `struct elf64_hdr` has its machine, and that of BPF: include/uapi/linux/elf.h.
    const MACHINE: usize = 18;
    const BPF: [u8; 2] = 247_u16.to_le_bytes();
    const HEADERS: usize = 40;
    const HEADER: usize = 64;
    if bytes.get(MACHINE..MACHINE + 2)? != BPF {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let double = |at: usize| {
        let number = u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?);
        usize::try_from(number).ok()
    };
    let (headers, count) = (double(HEADERS)?, usize::from(half(60)?));
    let mut end = headers.checked_add(count.checked_mul(HEADER)?)?;
    for index in 0..count {
        /// `SHT_NOBITS`: nothing in the file.
        const NOTHING: u32 = 8;
        let header = headers.checked_add(index * HEADER)?;
        if word(bytes, header.checked_add(4)?)? != NOTHING {
            end = end.max(double(header.checked_add(24)?)?.checked_add(double(header + 32)?)?);
        }
    }
    Some(end)
}

fn parse(bytes: &[u8]) -> Result<ElfFile64<'_>, NeedsError> {
    let elf = ElfFile64::parse(bytes)?;
    match elf.architecture() {
        Architecture::Bpf => Ok(elf),
        _ => Err(NeedsError::OtherMachine),
    }
}

/// Reads what an object needs.
pub fn of_object(bytes: &[u8]) -> Result<Needs, NeedsError> {
    let elf = parse(bytes)?;
    let mut needs = Needs::default();
    for section in elf.sections().filter(|section| section.kind() == SectionKind::Text) {
        needs.helpers.extend(helpers(section.data()?));
    }
    needs.programs = programs(&elf)?;
    let section = |name: &str| elf.section_by_name(name);
    if let Some(maps) = section("maps") {
        // `struct bpf_map_def` begins with the type: tools/lib/bpf of 4.18.
        let data = maps.data()?;
        for symbol in elf.symbols().filter(|s| s.section_index() == Some(maps.index())) {
            // The section's own symbol has no name.
            if symbol.name().is_ok_and(str::is_empty) {
                continue;
            }
            let at = usize::try_from(symbol.address()).unwrap_or(usize::MAX);
            let number = word(data, at).ok_or(NeedsError::Malformed("a map"))?;
            needs.maps.insert(map_type_name(number));
        }
    }
    let Some(btf) = section(".BTF") else { return Ok(needs) };
    let btf = Btf::parse(btf.data()?.to_vec())?;
    needs.maps.extend(btf.map_types().into_iter().map(map_type_name));
    if let Some(extension) = section(".BTF.ext") {
        for Relocated { structure, field, asks_existence } in
            relocated_fields(&btf, extension.data()?)?
        {
            if asks_existence {
                let optional = needs.optional_fields.entry(structure.clone()).or_default();
                optional.insert(field.clone());
            }
            needs.fields.entry(structure).or_default().insert(field);
        }
    }
    Ok(needs)
}

/// The helpers that code calls.
fn helpers(code: &[u8]) -> impl Iterator<Item = String> {
    let calls = calls(code).filter(|&(source, _)| source == 0);
    calls.map(|(_, number)| helper_name(number))
}

/// Calls by source register, which tells of what kind they are, and number.
fn calls(code: &[u8]) -> impl Iterator<Item = (u8, u32)> {
    let calls = code.chunks_exact(8).filter(|code| code[0] == CALL);
    calls.map(|code| (code[1] >> 4, word(code, 4).unwrap_or(0)))
}

/// `BPF_PSEUDO_CALL`: a call of another function of the object.
const OWN_FUNCTION: u8 = 1;

/// Where functions are that programs share: libbpf's name for it.
const SHARED: &str = ".text";

fn programs(elf: &ElfFile64<'_>) -> Result<Vec<ProgramNeeds>, NeedsError> {
    let shared = match elf.section_by_name(SHARED) {
        Some(shared) => helpers(shared.data()?).collect(),
        None => BTreeSet::new(),
    };
    let mut programs = Vec::new();
    let functions = |symbol: &object::read::elf::ElfSymbol64<'_, '_>| {
        symbol.is_definition() && symbol.is_global() && symbol.kind() == SymbolKind::Text
    };
    for symbol in elf.symbols().filter(functions) {
        let Some(index) = symbol.section_index() else { continue };
        let section = elf.section_by_index(index)?;
        // What is not executable is no program, whatever a symbol says.
        if section.kind() != SectionKind::Text || section.name()? == SHARED {
            continue;
        }
        let data = section.data()?;
        let start = usize::try_from(symbol.address()).unwrap_or(usize::MAX);
        let length = usize::try_from(symbol.size()).unwrap_or(usize::MAX);
        let code = start.checked_add(length).and_then(|end| data.get(start..end));
        let code = code.ok_or(NeedsError::Malformed("a program"))?;
        let mut needed: BTreeSet<String> = helpers(code).collect();
        if calls(code).any(|(source, _)| source == OWN_FUNCTION) {
            needed.extend(shared.iter().cloned());
        }
        let (name, section) = (symbol.name()?.to_owned(), section.name()?.to_owned());
        programs.push(ProgramNeeds { name, section, helpers: needed });
    }
    Ok(programs)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}

/// A field that a CO-RE relocation names.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Relocated {
    structure: String,
    field: String,
    /// It is about whether there is such a field.
    asks_existence: bool,
}

/// The fields that CO-RE relocations name: Documentation/bpf/llvm_reloc.rst, and `struct
/// btf_ext_header` of tools/lib/bpf/libbpf_internal.h.
fn relocated_fields(btf: &Btf, bytes: &[u8]) -> Result<BTreeSet<Relocated>, NeedsError> {
    const RELOCATION: usize = 16;
    /// `BPF_CORE_FIELD_*`: those that are about types or enumerations have higher numbers.
    const LAST_FIELD_KIND: usize = 5;
    const FIELD_EXISTS: usize = 2;
    let malformed = || NeedsError::Malformed(".BTF.ext");
    let at = |offset: usize| word(bytes, offset).map(|word| word as usize).ok_or_else(malformed);
    let header = at(4)?;
    let mut fields = BTreeSet::new();
    // Objects without CO-RE relocations have a shorter header.
    if header < 32 {
        return Ok(fields);
    }
    let start = header.checked_add(at(24)?).ok_or_else(malformed)?;
    let end = start.checked_add(at(28)?).ok_or_else(malformed)?;
    if start == end {
        return Ok(fields);
    }
    if at(start)? != RELOCATION {
        return Err(malformed());
    }
    let mut offset = start + 4;
    while offset < end {
        let count = at(offset + 4)?;
        offset += 8;
        for _ in 0..count {
            let (type_id, access, kind) = (at(offset + 4)?, at(offset + 8)?, at(offset + 12)?);
            offset += RELOCATION;
            if kind <= LAST_FIELD_KIND {
                let found = btf.accessed_field(type_id as u32, access as u32);
                let (structure, field) = found.ok_or_else(malformed)?;
                let asks_existence = kind == FIELD_EXISTS;
                fields.insert(Relocated { structure, field, asks_existence });
            }
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(of_object(b"#!/bin/sh"), Err(NeedsError::Elf(_))));
        assert!(matches!(check(b""), Err(NeedsError::Elf(_))));
        let this_test = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(check(&this_test), Err(NeedsError::OtherMachine)));
    }

    #[test]
    fn what_is_not_executable_is_no_program() {
        const FLAGS: usize = 8;
        const EXECUTABLE: u8 = 4;
        let mut object = include_bytes!("../../fuzz/seeds/object/ring.bpf.o").to_vec();
        assert_eq!(of_object(&object).unwrap().programs.len(), 1);
        let headers = word(&object, 40).unwrap() as usize;
        for header in (headers..object.len()).step_by(64) {
            object[header + FLAGS] &= !EXECUTABLE;
        }
        let needs = of_object(&object).unwrap();
        assert_eq!((needs.programs, needs.helpers), (Vec::new(), BTreeSet::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_relocations_make_it_panic(bytes in proptest::collection::vec(0_u8..40, 0..200)) {
            let mut builder = crate::btf::sample::Builder::new();
            builder.structure("file", &[("f_op", 40)]);
            let btf = Btf::parse(builder.build()).unwrap();
            let _ = relocated_fields(&btf, &bytes);
        }
    }
}
