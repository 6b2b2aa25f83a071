//! x86-64.

use super::{Facts, SystemCall};

/// A page below the end of the user's half, so that no read of less than a page that begins in user
/// space reaches addresses that aren't canonical.
const PAGE: u64 = 4096;

pub(super) const FACTS: Facts = Facts {
    // Documentation/arch/x86/x86_64/mm.rst. With four-level page tables what lies between the user's half
    // and this isn't canonical.
    kernel_address_min: [0xffff_8000_0000_0000, 0xff00_0000_0000_0000],
    // `TASK_SIZE_MAX`, arch/x86/include/asm/page_64_types.h.
    user_address_end: [(1 << 47) - PAGE, (1 << 56) - PAGE],
    // Pointers with tags of linear address masking (6.4, newer processors, arch_prctl(2)) are not read.
    user_address_tag: 0,
    // di, si, dx, cx, r8, r9: System V Application Binary Interface, AMD64 Architecture Processor
    // Supplement, 3.2.3.
    argument_registers: 6,
    open_flags: &[],
    functions,
};

/// arch/x86/include/asm/syscall_wrapper.h.
fn functions(call: SystemCall) -> &'static str {
    match call {
        SystemCall::Openat => "__x64_sys_openat",
        SystemCall::Write => "__x64_sys_write",
        SystemCall::Writev => "__x64_sys_writev",
        SystemCall::Sendto => "__x64_sys_sendto",
        SystemCall::Sendmsg => "__x64_sys_sendmsg",
    }
}
