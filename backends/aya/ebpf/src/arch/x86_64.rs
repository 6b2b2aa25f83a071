//! Where a function finds its arguments and leaves its result: the System V calling convention, the
//! same in the kernel and in user space.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    programs::{ProbeContext, RetProbeContext},
};

use crate::{KernelMemory, StackMemory, read_context};

/// Offsets in `struct pt_regs`, arch/x86/include/asm/ptrace.h: the same from 4.18 to 7.3.
mod pt_regs {
    pub(super) const R9: usize = 64;
    pub(super) const R8: usize = 72;
    pub(super) const AX: usize = 80;
    pub(super) const CX: usize = 88;
    pub(super) const DX: usize = 96;
    pub(super) const SI: usize = 104;
    pub(super) const DI: usize = 112;
    pub(super) const SP: usize = 152;
}

/// Arguments that are passed in registers.
const IN_REGISTERS: u32 = 6;

/// The arguments of the function at whose entry a kprobe or uprobe fired.
pub struct Arguments<M> {
    registers: *const c_void,
    stack: M,
}

impl<M: StackMemory> Arguments<M> {
    /// The arguments of the function that `context` interrupted, whose stack is in `stack`.
    #[inline(always)]
    pub fn new(context: &ProbeContext, stack: M) -> Self {
        Arguments { registers: context.as_ptr(), stack }
    }

    #[inline(always)]
    fn register<const OFFSET: usize>(&self) -> u64 {
        // SAFETY: the context is a pt_regs, and all offsets are in it.
        unsafe { read_context::<OFFSET>(self.registers) }
    }

    /// Argument `number`, counted from 1, whole: the upper half of a 32-bit argument is undefined.
    /// 0 for an argument on the stack that can't be read.
    #[inline(always)]
    pub fn get(&self, number: u32) -> u64 {
        match number {
            1 => self.register::<{ pt_regs::DI }>(),
            2 => self.register::<{ pt_regs::SI }>(),
            3 => self.register::<{ pt_regs::DX }>(),
            4 => self.register::<{ pt_regs::CX }>(),
            5 => self.register::<{ pt_regs::R8 }>(),
            6 => self.register::<{ pt_regs::R9 }>(),
            // The return address is at the stack pointer, so the first slot is above it.
            _ => {
                let slot = u64::from(number.wrapping_sub(IN_REGISTERS));
                let address = self.register::<{ pt_regs::SP }>().wrapping_add(8 * slot);
                self.stack.slot(address)
            }
        }
    }
}

/// Argument `NUMBER` of a system call, one of the first three, at the entry of what the system call
/// table has for it: a function whose one parameter points to the caller's registers
/// (arch/x86/include/asm/syscall_wrapper.h). None if those can't be read.
#[inline(always)]
pub fn syscall_argument<const NUMBER: u32>(
    context: &ProbeContext,
    memory: KernelMemory,
) -> Option<u64> {
    let offset = const {
        match NUMBER {
            1 => pt_regs::DI,
            2 => pt_regs::SI,
            3 => pt_regs::DX,
            _ => panic!("the others are not in the registers that functions have theirs in"),
        }
    };
    let registers = Arguments::new(context, memory).get(1);
    memory.read_field(registers, offset as u32)
}

/// The result of the function from which `context` returns, whole: the upper half of a 32-bit
/// result is undefined.
#[inline(always)]
pub fn return_value(context: &RetProbeContext) -> u64 {
    // SAFETY: the context is a pt_regs, and the offset is in it.
    unsafe { read_context::<{ pt_regs::AX }>(context.as_ptr()) }
}
