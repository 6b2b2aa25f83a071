//! The calling convention of arm64, AAPCS64. Offsets are those of `struct user_pt_regs`,
//! arch/arm64/include/uapi/asm/ptrace.h: the same on all releases.

/// The registers of arguments, in their order: `x0` to `x7`.
pub(super) const REGISTERS: [usize; 8] = [0, 8, 16, 24, 32, 40, 48, 56];

/// `x0`.
pub(super) const RESULT: usize = 0;

/// `sp`.
pub(super) const STACK_POINTER: usize = 248;

/// In bytes from the stack pointer: the return address is in a register.
pub(super) const FIRST_STACK_ARGUMENT: u64 = 0;
