//! x86-64.

use kernlab_core::arch::Arch;

/// The architecture.
pub(crate) const ARCH: Arch = Arch::X86_64;

/// Where `struct pt_regs` has the arguments of a function, in order: di, si, dx, cx, r8, r9;
/// arch/x86/include/asm/ptrace.h. The same on every release.
pub(crate) const ARGUMENT_REGISTERS: [i16; 6] = [112, 104, 96, 88, 72, 64];

/// Where `struct pt_regs` has the stack pointer.
pub(crate) const STACK_POINTER: i16 = 152;

/// Where the argument after the last register is, from the stack pointer at a function's entry: the
/// return address comes first.
pub(crate) const FIRST_STACK_ARGUMENT: i32 = 8;
