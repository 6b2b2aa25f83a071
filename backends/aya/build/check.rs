//! Does a compiled object have a chance with the verifier of 4.18?
//!
//! Shared by the build script, which refuses objects that don't, and by the crate's tests.

use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind, SymbolKind,
    read::elf::ElfFile64,
};

#[path = "program.rs"]
mod program;

use program::{Instruction, MAX_INSTRUCTIONS, Program};

/// A program that passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckedProgram {
    /// Its symbol.
    pub(crate) name: String,
    /// Slots of eight bytes.
    pub(crate) instructions: usize,
}

/// Why the verifier of 4.18 would refuse an object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("it is no ELF object: {0}")]
    NotAnObject(String),
    #[error("it has no program")]
    NoProgram,
    #[error(
        "it has global data in {section}, which 4.18 doesn't know: keep constants out of memory, \
         and state in maps"
    )]
    GlobalData { section: String },
    #[error(
        "{program} calls {callee}, and functions beside programs are not allowed: inline it; if \
         the compiler made the call to fill or copy memory, write the event field by field"
    )]
    FunctionCall { program: String, callee: String },
    #[error(
        "{program} has a loop, from instruction {from} back to {to}, which 4.18 refuses: unroll it"
    )]
    Loop { program: String, from: usize, to: usize },
    #[error("{program} jumps out of itself at instruction {at}")]
    WildJump { program: String, at: usize },
    #[error("{program} has {instructions} instructions, and 4.18 allows {MAX_INSTRUCTIONS}")]
    TooLong { program: String, instructions: usize },
    #[error("{program} uses {what} at instruction {at}: compile for -C target-cpu=v2")]
    NewInstruction { program: String, what: &'static str, at: usize },
}

/// Checks all programs of an object.
pub(crate) fn check(object: &[u8]) -> Result<Vec<CheckedProgram>, Violation> {
    let not_an_object = |error: object::Error| Violation::NotAnObject(error.to_string());
    let file = ElfFile64::<object::Endianness>::parse(object).map_err(not_an_object)?;
    let mut programs = Vec::new();
    for section in file.sections() {
        let name = section.name().map_err(not_an_object)?;
        if [".rodata", ".data", ".bss"].iter().any(|data| name.starts_with(data))
            && section.size() > 0
        {
            return Err(Violation::GlobalData { section: name.to_owned() });
        }
        // What isn't a program is in .text. Nothing there is loaded unless a program calls it.
        if section.kind() != SectionKind::Text || name == ".text" {
            continue;
        }
        let code = section.data().map_err(not_an_object)?;
        for symbol in file.symbols().filter(|symbol| {
            symbol.kind() == SymbolKind::Text && symbol.section_index() == Some(section.index())
        }) {
            let start = symbol.address() as usize;
            let end = start + symbol.size() as usize;
            let program = Program {
                name: symbol.name().map_err(not_an_object)?,
                instructions: code
                    .get(start..end)
                    .unwrap_or_default()
                    .as_chunks()
                    .0
                    .iter()
                    .map(Instruction::new)
                    .collect(),
            };
            let callee_at = |at: usize| {
                let offset = (start + 8 * at) as u64;
                let (_, relocation) = section.relocations().find(|(place, _)| *place == offset)?;
                let RelocationTarget::Symbol(callee) = relocation.target() else { return None };
                Some(file.symbol_by_index(callee).ok()?.name().ok()?.to_owned())
            };
            program.check(callee_at)?;
            programs.push(CheckedProgram {
                name: program.name.to_owned(),
                instructions: program.instructions.len(),
            });
        }
    }
    if programs.is_empty() { Err(Violation::NoProgram) } else { Ok(programs) }
}

#[cfg(test)]
mod tests {
    use object::{
        Architecture, BinaryFormat, Endianness::Little, RelocationFlags, SymbolFlags, SymbolScope,
        elf::R_BPF_64_32, write,
    };
    use rstest::rstest;

    use super::*;

    const R0_IS_0: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];
    const CALL_FUNCTION: [u8; 8] = [0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff];
    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(check(b"\x7fELF"), Err(Violation::NotAnObject(_))));
    }

    /// An object with one program, `probe`, and what `add` adds.
    fn object_with(
        code: &[[u8; 8]],
        add: impl FnOnce(&mut write::Object<'_>, write::SectionId),
    ) -> Vec<u8> {
        let mut object = write::Object::new(BinaryFormat::Elf, Architecture::Bpf, Little);
        let section = object.add_section(Vec::new(), b"kprobe".to_vec(), SectionKind::Text);
        let symbol = object.add_symbol(symbol(b"probe"));
        object.add_symbol_data(symbol, section, code.as_flattened(), 8);
        add(&mut object, section);
        object.write().unwrap()
    }

    fn symbol(name: &[u8]) -> write::Symbol {
        write::Symbol {
            name: name.to_vec(),
            value: 0,
            size: 0,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: write::SymbolSection::Undefined,
            flags: SymbolFlags::None,
        }
    }

    #[test]
    fn every_program_of_an_object_is_measured() {
        let object = object_with(&[R0_IS_0, EXIT], |_, _| {});
        let program = CheckedProgram { name: "probe".to_owned(), instructions: 2 };
        assert_eq!(check(&object), Ok(vec![program]));
    }

    #[test]
    fn a_callee_is_named() {
        let object = object_with(&[R0_IS_0, CALL_FUNCTION, EXIT], |object, section| {
            let symbol = object.add_symbol(symbol(b"memcpy"));
            let flags = RelocationFlags::Elf { r_type: R_BPF_64_32 };
            let relocation = write::Relocation { offset: 8, symbol, addend: 0, flags };
            object.add_relocation(section, relocation).unwrap();
        });
        let violation = check(&object).unwrap_err().to_string();
        assert!(violation.starts_with("probe calls memcpy, "), "{violation}");
    }

    #[rstest]
    fn global_data_is_refused(#[values(".rodata", ".rodata.cst16", ".data", ".bss")] name: &str) {
        let object = object_with(&[R0_IS_0, EXIT], |object, _| {
            let section = object.add_section(Vec::new(), name.into(), SectionKind::Data);
            object.append_section_data(section, &[1], 1);
        });
        assert_eq!(check(&object), Err(Violation::GlobalData { section: name.to_owned() }));
    }

    #[test]
    fn an_object_without_programs_is_refused() {
        let object = write::Object::new(BinaryFormat::Elf, Architecture::Bpf, Little);
        assert_eq!(check(&object.write().unwrap()), Err(Violation::NoProgram));
    }
}
