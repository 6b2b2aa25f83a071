//! arm64.

use kernlab_core::arch::Arch;

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
