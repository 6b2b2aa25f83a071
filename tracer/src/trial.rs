//! Tries what the kernel's BPF can do.

use kernlab_core::facts::Trial;
use nix::errno::Errno;

use crate::bpf::{Assembler, FUNC_PROBE_READ_KERNEL, MapKind, ProgramKind, Register, create, load};

fn answer<T>(result: Result<T, Errno>) -> Trial {
    match result {
        Ok(_) => Trial::Yes,
        // An unknown map type, or an unknown helper.
        Err(Errno::EINVAL) => Trial::No,
        Err(errno) => Trial::CouldNotTell(errno as i32),
    }
}

/// Creates a ring buffer.
pub(crate) fn ring_buffer() -> Trial {
    answer(create(MapKind::RingBuffer, 0, 0, 4096))
}

/// Loads a kprobe program that calls the helper.
pub(crate) fn probe_read_kernel() -> Trial {
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
