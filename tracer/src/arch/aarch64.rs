//! arm64.

use std::{io, num::NonZeroUsize};

use kernlab_core::arch::Arch;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The architecture.
pub(crate) const ARCH: Arch = Arch::Aarch64;

/// Where `struct user_pt_regs` has the arguments of a function, in order: x0 to x7;
/// arch/arm64/include/uapi/asm/ptrace.h. The same on every release.
pub(crate) const ARGUMENT_REGISTERS: [i16; 8] = [0, 8, 16, 24, 32, 40, 48, 56];

/// Where `struct user_pt_regs` has the stack pointer.
pub(crate) const STACK_POINTER: i16 = 248;

/// Where the argument after the last register is, from the stack pointer at a function's entry: the
/// return address is in a register.
pub(crate) const FIRST_STACK_ARGUMENT: i32 = 0;

/// Does the kernel run with addresses of 52 bits? It gives a process one above 48 bits only to a request
/// for such an address: Documentation/arch/arm64/memory.rst.
pub(crate) fn large_address_space() -> io::Result<bool> {
    const BEYOND: NonZeroUsize = NonZeroUsize::new(1 << 50).unwrap();
    const PAGE: NonZeroUsize = NonZeroUsize::new(64 << 10).unwrap();
    // SAFETY: this is a new mapping, to which no other pointer exists. Without MAP_FIXED, it replaces
    // none.
    let mapped =
        unsafe { mmap_anonymous(Some(BEYOND), PAGE, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) }?;
    // SAFETY: it was made above, and nothing points to it.
    unsafe { munmap(mapped, PAGE.get()) }?;
    Ok(mapped.addr().get() >= 1 << 48)
}
