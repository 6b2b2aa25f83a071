//! Where a function finds its arguments and leaves its result: the calling convention of arm64
//! (AAPCS64), the same in the kernel and in user space for arguments of eight bytes.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    programs::{ProbeContext, RetProbeContext},
};

use crate::{KernelMemory, StackMemory, read_context};

/// Offsets in `struct user_pt_regs`, arch/arm64/include/uapi/asm/ptrace.h: the same on all releases.
mod pt_regs {
    pub(super) const X0: usize = 0;
    pub(super) const X1: usize = 8;
    pub(super) const X2: usize = 16;
    pub(super) const X3: usize = 24;
    pub(super) const X4: usize = 32;
    pub(super) const X5: usize = 40;
    pub(super) const X6: usize = 48;
    pub(super) const X7: usize = 56;
    pub(super) const SP: usize = 248;
}

/// Arguments that are passed in registers.
const IN_REGISTERS: u32 = 8;

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
        // SAFETY: the context is a user_pt_regs, and all offsets are in it.
        unsafe { read_context::<OFFSET>(self.registers) }
    }

    /// Argument `number`, counted from 1, whole: the upper half of a 32-bit argument is undefined.
    /// 0 for an argument on the stack that can't be read.
    #[inline(always)]
    pub fn get(&self, number: u32) -> u64 {
        match number {
            1 => self.register::<{ pt_regs::X0 }>(),
            2 => self.register::<{ pt_regs::X1 }>(),
            3 => self.register::<{ pt_regs::X2 }>(),
            4 => self.register::<{ pt_regs::X3 }>(),
            5 => self.register::<{ pt_regs::X4 }>(),
            6 => self.register::<{ pt_regs::X5 }>(),
            7 => self.register::<{ pt_regs::X6 }>(),
            8 => self.register::<{ pt_regs::X7 }>(),
            // The first slot is at the stack pointer: the return address is in a register.
            _ => {
                let slot = u64::from(number.wrapping_sub(IN_REGISTERS + 1));
                let address = self.register::<{ pt_regs::SP }>().wrapping_add(8 * slot);
                self.stack.slot(address)
            }
        }
    }
}

/// Argument `NUMBER` of a system call, one of the first three, at the entry of what the system call
/// table has for it: a function whose one parameter points to the caller's registers
/// (arch/arm64/include/asm/syscall_wrapper.h). None if those can't be read.
#[inline(always)]
pub fn syscall_argument<const NUMBER: u32>(
    context: &ProbeContext,
    memory: KernelMemory,
) -> Option<u64> {
    let offset = const {
        match NUMBER {
            1 => pt_regs::X0,
            2 => pt_regs::X1,
            3 => pt_regs::X2,
            _ => panic!("no program asks for others"),
        }
    };
    let registers = Arguments::new(context, memory).get(1);
    memory.read_field(registers, offset as u32)
}

/// The result of the function from which `context` returns, whole: the upper half of a 32-bit
/// result is undefined.
#[inline(always)]
pub fn return_value(context: &RetProbeContext) -> u64 {
    // SAFETY: the context is a user_pt_regs, and the offset is in it.
    unsafe { read_context::<{ pt_regs::X0 }>(context.as_ptr()) }
}
