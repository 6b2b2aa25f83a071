//! arm64.

use super::{Facts, SystemCall};

/// The largest page: a read of less than one that begins in user space ends there.
const PAGE: u64 = 64 << 10;

pub(super) const FACTS: Facts = Facts {
    // Documentation/arch/arm64/memory.rst: `PAGE_OFFSET` of 48 and of 52 bits. Kernels with fewer bits
    // (39 on phones) have theirs above.
    kernel_address_min: [0xffff_0000_0000_0000, 0xfff0_0000_0000_0000],
    // `TASK_SIZE_64`, arch/arm64/include/asm/processor.h.
    user_address_end: [(1 << 48) - PAGE, (1 << 52) - PAGE],
    // Documentation/arch/arm64/tagged-pointers.rst: Top Byte Ignore is on for all processes. Whether a
    // system call takes a tagged pointer is up to prctl(2) with PR_SET_TAGGED_ADDR_CTRL.
    user_address_tag: 0xff << 56,
    // x0 to x7: Procedure Call Standard for the Arm 64-bit Architecture, 6.8.2.
    argument_registers: 8,
    // arch/arm64/include/uapi/asm/fcntl.h: O_DIRECTORY, O_NOFOLLOW, O_DIRECT, O_LARGEFILE.
    open_flags: &[
        (0o40000, 0o200000),
        (0o100000, 0o400000),
        (0o200000, 0o40000),
        (0o400000, 0o100000),
    ],
    functions,
};

/// arch/arm64/include/asm/syscall_wrapper.h.
fn functions(call: SystemCall) -> &'static str {
    match call {
        SystemCall::Openat => "__arm64_sys_openat",
        SystemCall::Write => "__arm64_sys_write",
        SystemCall::Writev => "__arm64_sys_writev",
        SystemCall::Sendto => "__arm64_sys_sendto",
        SystemCall::Sendmsg => "__arm64_sys_sendmsg",
    }
}
