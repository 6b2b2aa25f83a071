//! Where a function finds its arguments: the System V calling convention, as the kernel uses it.

use core::ffi::c_void;

use aya_ebpf::{EbpfContext, programs::ProbeContext};

use crate::{KernelMemory, read_context};

/// Offsets in `struct pt_regs`, arch/x86/include/asm/ptrace.h: the same from 4.18 to 7.3.
mod pt_regs {
    pub(super) const R9: usize = 64;
    pub(super) const R8: usize = 72;
    pub(super) const CX: usize = 88;
    pub(super) const DX: usize = 96;
    pub(super) const SI: usize = 104;
    pub(super) const DI: usize = 112;
    pub(super) const SP: usize = 152;
}

/// Arguments that are passed in registers.
const IN_REGISTERS: u32 = 6;

/// The arguments of the function at whose entry a kprobe fired.
pub struct Arguments {
    registers: *const c_void,
    memory: KernelMemory,
}

impl Arguments {
    /// The arguments of the function that `context` interrupted.
    #[inline(always)]
    pub fn new(context: &ProbeContext, memory: KernelMemory) -> Self {
        Arguments { registers: context.as_ptr(), memory }
    }

    #[inline(always)]
    fn register<const OFFSET: usize>(&self) -> u64 {
        // SAFETY: a kprobe's context is a pt_regs, and all offsets are in it.
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
                self.memory.read_u64(address)
            }
        }
    }
}
