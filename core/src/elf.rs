//! Offsets of functions and addresses in ELF files.

use std::ops::Range;

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

/// A function that can't be found in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It is no ELF file, or a damaged one.
    #[error("it is no executable file: {0}")]
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

    #[test]
    fn what_is_no_executable_is_refused() {
        assert!(matches!(file_offset(b"#!/bin/sh\n", "main"), Err(ElfError::NotAnExecutable(_))));
    }
}
