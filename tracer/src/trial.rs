//! Tries what the kernel's BPF can do.

use std::os::fd::AsFd as _;

use kernlab_core::{btf::Btf, facts::ProbeResult};
use nix::{
    errno::Errno,
    unistd::{SysconfVar, sysconf},
};

use crate::bpf::{
    Assembler, FUNC_PROBE_READ_KERNEL, MapKind, ProgramKind, Register, attach_by_type, create,
    create_of_type, load, load_for_entry, load_of_type,
};

fn answer<T>(result: Result<T, Errno>) -> ProbeResult {
    match result {
        Ok(_) => ProbeResult::Yes,
        // An unknown map type, or an unknown helper.
        Err(Errno::EINVAL) => ProbeResult::No,
        Err(errno) => ProbeResult::CouldNotTell(errno as i32),
    }
}

/// The size of the kernel's pages, in bytes: on arm64 they may be larger than elsewhere.
pub(crate) fn page_size() -> u32 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u32::try_from(size).ok()).unwrap_or(4096)
}

/// Creates a ring buffer.
pub(crate) fn ring_buffer() -> ProbeResult {
    answer(create(MapKind::RingBuffer, 0, 0, page_size()))
}

/// Loads a kprobe program that calls the helper.
pub(crate) fn probe_read_kernel() -> ProbeResult {
    let mut program = Assembler::default();
    program
        .copy(Register::R1, Register::Frame)
        .add(Register::R1, -8)
        .set(Register::R2, 8)
        .set(Register::R3, 0)
        .call(FUNC_PROBE_READ_KERNEL)
        .set(Register::R0, 0)
        .exit();
    answer(load(ProgramKind::Kprobe, &program.finish()))
}

/// Creates the smallest map of a type.
pub(crate) fn map_type(number: u32) -> ProbeResult {
    match smallest_map(number) {
        Some((key_size, value_size, max_entries)) => {
            answer(create_of_type(number, key_size, value_size, max_entries))
        }
        None => ProbeResult::CouldNotTell(Errno::EOPNOTSUPP as i32),
    }
}

/// Can a map of this type be created that has sizes alone?
pub(crate) fn has_simple_map(number: u32) -> bool {
    smallest_map(number).is_some()
}

/// The sizes of keys and values and the number of entries of the smallest map of a type; none if such
/// maps also need flags, another map or type information.
fn smallest_map(number: u32) -> Option<(u32, u32, u32)> {
    Some(match number {
        // What they hold is a descriptor.
        3 | 4 | 8 | 14..=18 | 20 | 25 => (4, 4, 1),
        // Neither keys nor look-ups.
        22 | 23 => (0, 4, 1),
        // Only whole pages, and nothing to look up.
        27 | 31 => (0, 0, page_size()),
        // A bloom filter has no keys.
        30 => (0, 8, 1),
        1 | 2 | 5..=7 | 9 | 10 => (4, 8, 1),
        _ => return None,
    })
}

/// Whether a program of this type can be loaded that says nothing but its type. Those of others name a
/// function of the kernel, or to what they will be attached.
pub(crate) fn has_free_type(number: u32) -> bool {
    matches!(number, 1..=17 | 19..=24)
}

/// Loads a kprobe program that calls a helper with whatever is in the registers. The verifier refuses
/// an unknown helper before it looks at those, and with another error.
pub(crate) fn helper(number: u32) -> ProbeResult {
    helper_of(ProgramKind::Kprobe as u32, number)
}

/// Attaches a program to the entry of a function that the kernel has for this, and never calls by itself.
/// It came with such programs.
pub(crate) fn fentry(btf: &Btf) -> ProbeResult {
    let Some(function) = btf.function_id("bpf_fentry_test1") else { return ProbeResult::No };
    let mut program = Assembler::default();
    program.set(Register::R0, 0).exit();
    let loaded = match load_for_entry(function, &program.finish()) {
        Ok(loaded) => loaded,
        refused => return answer(refused),
    };
    match attach_by_type(loaded.as_fd()) {
        // ENOTSUPP, 524, which is no error of user space: the architecture has no trampolines, or its
        // ftrace can't call them.
        Err(Errno::UnknownErrno | Errno::EOPNOTSUPP) => ProbeResult::No,
        other => answer(other),
    }
}

/// Loads the shortest program of a type.
pub(crate) fn program_type(number: u32) -> ProbeResult {
    let mut program = Assembler::default();
    program.set(Register::R0, 0).exit();
    answer(load_of_type(number, &program.finish()))
}

/// The same as [`helper`], with a program of another type.
pub(crate) fn helper_of(program_type: u32, number: u32) -> ProbeResult {
    let mut program = Assembler::default();
    program.call(number).set(Register::R0, 0).exit();
    match load_of_type(program_type, &program.finish()) {
        Err(Errno::EACCES) => ProbeResult::Yes,
        other => answer(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_does_not_know_is_missing() {
        assert_eq!(answer(Ok(())), ProbeResult::Yes);
        assert_eq!(answer::<()>(Err(Errno::EINVAL)), ProbeResult::No);
        for errno in [Errno::EPERM, Errno::ENOMEM, Errno::EACCES] {
            let told = ProbeResult::CouldNotTell(errno as i32);
            assert_eq!(answer::<()>(Err(errno)), told);
        }
    }
}
