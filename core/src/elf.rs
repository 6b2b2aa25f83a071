//! Offsets of functions and addresses in ELF files.

use std::ops::Range;

use object::{
    Endianness, Object as _, ObjectSegment as _, ObjectSymbol as _,
    read::elf::{ElfFile64, Note, ProgramHeader as _},
};

/// A function that can't be found in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It is no ELF file, or a damaged one.
    #[error("it is not an executable file: {0}")]
    NotAnExecutable(String),
    /// The symbol table doesn't list it.
    #[error("no symbol {0} in it")]
    NoSymbol(String),
    /// Its address is in no segment that is loaded from the file.
    #[error("{0} is at an address that is not loaded from it")]
    NotLoaded(String),
}

/// Where in the file `executable` the function `symbol` begins, in bytes: a uprobe is attached to
/// a file and an offset in it, wherever the file is loaded (Documentation/trace/uprobetracer.rst).
pub fn file_offset(executable: &[u8], symbol: &str) -> Result<u64, ElfError> {
    let file = object::File::parse(executable)
        .map_err(|error| ElfError::NotAnExecutable(error.to_string()))?;
    let address = file
        .symbols()
        .chain(file.dynamic_symbols())
        .find(|known| known.is_definition() && known.name() == Ok(symbol))
        .ok_or_else(|| ElfError::NoSymbol(symbol.to_owned()))?
        .address();
    let range = in_segment(&file, address).ok_or_else(|| ElfError::NotLoaded(symbol.to_owned()))?;
    Ok(range.start)
}

/// Where in a file, of which at least the headers are given, is what is at this address, in bytes: from
/// there to the end of its segment. None if it is in no segment.
pub fn file_range(headers: &[u8], address: u64) -> Result<Option<Range<u64>>, ElfError> {
    let file = object::File::parse(headers)
        .map_err(|error| ElfError::NotAnExecutable(error.to_string()))?;
    Ok(in_segment(&file, address))
}

/// `LINUX_VERSION_CODE` of a kernel, as its vDSO has it in a note: arch/x86/entry/vdso/vdso-note.S,
/// arch/arm64/kernel/vdso/note.S. `uname -r` may lack the last number (`4.19.0-27-amd64` is 4.19.316), and
/// kernels write 255 for it where the header has no room for more.
pub fn linux_version_code(vdso: &[u8]) -> Option<u32> {
    let file = ElfFile64::<Endianness>::parse(vdso).ok()?;
    let endian = file.endian();
    let mut notes = file.elf_program_headers().iter().filter_map(|header| {
        let mut notes = header.notes(endian, vdso).ok()??;
        let is_version = |note: &Note<'_, _>| note.name() == b"Linux" && note.n_type(endian) == 0;
        std::iter::from_fn(|| notes.next().ok()?).find(is_version)
    });
    let code = notes.next()?.desc().first_chunk().copied()?;
    Some(match endian {
        Endianness::Little => u32::from_le_bytes(code),
        Endianness::Big => u32::from_be_bytes(code),
    })
}

fn in_segment(file: &object::File<'_>, address: u64) -> Option<Range<u64>> {
    file.segments().find_map(|segment| {
        let (offset, length) = segment.file_range();
        let within = address.checked_sub(segment.address())?;
        (within < length).then_some(offset + within..offset + length)
    })
}

#[cfg(test)]
mod tests {
    use std::{env, fs, slice};

    use super::*;

    #[unsafe(no_mangle)]
    extern "C" fn kernlab_probed_in_a_test(number: u64) -> u64 {
        std::hint::black_box(number).wrapping_mul(0x0123_4567_89ab_cdef)
    }

    #[test]
    fn the_offset_of_a_function_is_that_of_its_code() {
        const LENGTH: usize = 16;
        assert_eq!(kernlab_probed_in_a_test(0), 0);
        let executable = fs::read(env::current_exe().unwrap()).unwrap();
        let offset = file_offset(&executable, "kernlab_probed_in_a_test").unwrap() as usize;
        let start = kernlab_probed_in_a_test as *const u8;
        // SAFETY: code is readable, and more of it follows this function.
        let loaded = unsafe { slice::from_raw_parts(start, LENGTH) };
        assert_eq!(&executable[offset..offset + LENGTH], loaded);
        // The address that the file gives the function, whatever it was loaded to.
        let file = object::File::parse(&*executable).unwrap();
        let address = file.symbol_by_name("kernlab_probed_in_a_test").unwrap().address();
        let range = file_range(&executable, address).unwrap().unwrap();
        assert_eq!(range.start, offset as u64);
        let ends = file.segments().map(|segment| segment.file_range());
        assert!(ends.map(|(start, length)| start + length).any(|end| end == range.end));
        assert_eq!(file_range(&executable, u64::MAX), Ok(None));
        let missing = file_offset(&executable, "kernlab_nothing");
        assert_eq!(missing, Err(ElfError::NoSymbol("kernlab_nothing".to_owned())));
    }

    /// A shared object with one segment, of notes: each a name, a type, and four bytes.
    fn with_notes(notes: &[(&[u8; 8], u32, u32)]) -> Vec<u8> {
        let mut text: Vec<u8> = Vec::new();
        for (name, kind, value) in notes {
            let length = name.iter().position(|&byte| byte == 0).unwrap() as u32 + 1;
            text.extend([length, 4, *kind].map(u32::to_le_bytes).concat());
            text.extend(&name[..length.next_multiple_of(4) as usize]);
            text.extend(value.to_le_bytes());
        }
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let (mut put, length) = (
            |offset: usize, bytes: &[u8]| file[offset..offset + bytes.len()].copy_from_slice(bytes),
            (text.len() as u64).to_le_bytes(),
        );
        // e_phoff, e_phentsize, e_phnum; p_type, p_offset, p_filesz, p_align.
        put(32, &64_u64.to_le_bytes());
        put(54, &[56_u16, 1].map(u16::to_le_bytes).concat());
        put(64, &4_u32.to_le_bytes());
        put(64 + 8, &(64 + 56_u64).to_le_bytes());
        put(64 + 32, &length);
        put(64 + 48, &4_u64.to_le_bytes());
        file.extend(text);
        file
    }

    #[test]
    fn a_version_is_the_one_in_the_note_of_the_kernel() {
        const LINUX: &[u8; 8] = b"Linux\0\0\0";
        let notes = [(LINUX, 7, 1), (b"GNU\0\0\0\0\0", 0, 2), (LINUX, 0, 0x0004_13f9)];
        assert_eq!(linux_version_code(&with_notes(&notes)), Some(0x0004_13f9));
        assert_eq!(linux_version_code(&with_notes(&notes[..2])), None);
        assert_eq!(linux_version_code(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        assert!(matches!(file_offset(b"#!/bin/sh\n", "main"), Err(ElfError::NotAnExecutable(_))));
    }
}
