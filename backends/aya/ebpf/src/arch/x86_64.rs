//! The System V calling convention. Offsets are those of `struct pt_regs`,
//! arch/x86/include/asm/ptrace.h: the same from 4.18 to 7.3.

/// The registers of arguments, in their order: `di`, `si`, `dx`, `cx`, `r8`, `r9`.
pub(super) const REGISTERS: [usize; 6] = [112, 104, 96, 88, 72, 64];

/// `ax`.
pub(super) const RESULT: usize = 80;

/// `sp`.
pub(super) const STACK_POINTER: usize = 152;

/// In bytes from the stack pointer, where the return address is.
pub(super) const FIRST_STACK_ARGUMENT: u64 = 8;
