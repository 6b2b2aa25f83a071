//! Reads from a program's context.

/// The u64 at `OFFSET` of a context.
///
/// The verifier wants the offset of a context access to be a constant. Ordinary loads in different
/// branches may be merged by LLVM into one load at an offset that depends on the branch; assembly
/// isn't.
///
/// # Safety
///
/// `context` is what the kernel passed to the program, and has eight bytes at `OFFSET`.
#[inline(always)]
pub unsafe fn read_context<const OFFSET: usize>(context: *const core::ffi::c_void) -> u64 {
    let value: u64;
    // SAFETY: one load, from memory that is valid by this function's contract.
    unsafe {
        core::arch::asm!(
            "{value} = *(u64 *)({context} + {offset})",
            value = lateout(reg) value,
            context = in(reg) context,
            offset = const OFFSET,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    value
}
