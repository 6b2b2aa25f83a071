//! Where a function finds its arguments and leaves its result: the same in the kernel and in user space,
//! for arguments of at most eight bytes.
//!
//! What differs between architectures is in a file for each: offsets of registers in the context, and where
//! the first argument on the stack is.

#[cfg_attr(bpf_target_arch = "aarch64", path = "arch/aarch64.rs")]
#[cfg_attr(bpf_target_arch = "x86_64", path = "arch/x86_64.rs")]
mod convention;

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    programs::{ProbeContext, RetProbeContext},
};

use self::convention::{FIRST_STACK_ARGUMENT, REGISTERS, RESULT, STACK_POINTER};
use crate::{KernelMemory, StackMemory, read_context};

#[cfg(not(any(bpf_target_arch = "aarch64", bpf_target_arch = "x86_64")))]
compile_error!("no calling convention for this architecture: write a sibling of arch/x86_64.rs");

/// Arguments that are passed in registers.
const IN_REGISTERS: u32 = REGISTERS.len() as u32;

/// The offset of the register with argument `number`; that of the last register for those that are on the
/// stack.
const fn register(number: usize) -> usize {
    if number <= REGISTERS.len() { REGISTERS[number - 1] } else { REGISTERS[REGISTERS.len() - 1] }
}

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
        // SAFETY: the context has the registers, and all offsets are theirs.
        unsafe { read_context::<OFFSET>(self.registers) }
    }

    /// What the stack pointer will be when the function has returned: where its arguments begin.
    #[inline(always)]
    pub fn stack_of_caller(&self) -> u64 {
        self.register::<STACK_POINTER>().wrapping_add(FIRST_STACK_ARGUMENT)
    }

    /// Argument `number`, counted from 1, whole: the upper bits of a narrower argument are undefined.
    /// 0 for an argument on the stack that can't be read.
    #[inline(always)]
    pub fn get(&self, number: u32) -> u64 {
        match number {
            // Each has eight bytes there.
            _ if number > IN_REGISTERS => {
                let slot = u64::from(number.wrapping_sub(IN_REGISTERS + 1));
                self.stack.slot(self.stack_of_caller().wrapping_add(8 * slot))
            }
            1 => self.register::<{ register(1) }>(),
            2 => self.register::<{ register(2) }>(),
            3 => self.register::<{ register(3) }>(),
            4 => self.register::<{ register(4) }>(),
            5 => self.register::<{ register(5) }>(),
            6 => self.register::<{ register(6) }>(),
            7 => self.register::<{ register(7) }>(),
            _ => self.register::<{ register(8) }>(),
        }
    }
}

/// Argument `NUMBER` of a system call, one of the first three, at the entry of what the system call
/// table has for it: a function whose one parameter points to the caller's registers
/// (arch/{x86,arm64}/include/asm/syscall_wrapper.h). There, they are in the same registers as a function's.
/// None if those can't be read.
#[inline(always)]
pub fn syscall_argument<const NUMBER: usize>(
    context: &ProbeContext,
    memory: KernelMemory,
) -> Option<u64> {
    const { assert!(NUMBER >= 1 && NUMBER <= 3, "x86-64 has the fourth in another register") };
    let registers = Arguments::new(context, memory).get(1);
    memory.read_field(registers, const { register(NUMBER) as u32 })
}

/// The stack pointer of the caller to which `context` returns.
#[inline(always)]
pub fn stack_on_return(context: &RetProbeContext) -> u64 {
    // SAFETY: the context has the registers, and the offset is one of them.
    unsafe { read_context::<STACK_POINTER>(context.as_ptr()) }
}

/// The result of the function from which `context` returns, whole: the upper bits of a narrower
/// result are undefined.
#[inline(always)]
pub fn return_value(context: &RetProbeContext) -> u64 {
    // SAFETY: the context has the registers, and the offset is one of them.
    unsafe { read_context::<RESULT>(context.as_ptr()) }
}
