//! What depends on the processor architecture: x86-64.

/// The lowest address that can belong to the kernel: Documentation/arch/x86/x86_64/mm.rst.
///
/// With four-level page tables what lies between the user's half and this isn't canonical.
pub fn kernel_address_min(five_level_paging: bool) -> u64 {
    if five_level_paging { 0xff00_0000_0000_0000 } else { 0xffff_8000_0000_0000 }
}

/// The first address that can't belong to a process: `TASK_SIZE_MAX`,
/// arch/x86/include/asm/page_64_types.h.
///
/// A page below the end of the user's half, so that no read of less than a page that begins in
/// user space reaches addresses that aren't canonical.
pub fn user_address_end(five_level_paging: bool) -> u64 {
    const PAGE: u64 = 4096;
    let half = if five_level_paging { 1 << 56 } else { 1 << 47 };
    half - PAGE
}

/// What the system call table has for the calls that write to a descriptor. Each function has one
/// parameter, which points to the caller's registers: arch/x86/include/asm/syscall_wrapper.h.
pub const WRITING_CALLS: [&str; 4] =
    ["__x64_sys_write", "__x64_sys_writev", "__x64_sys_sendto", "__x64_sys_sendmsg"];

/// What the system call table has for openat(2): a function like those of [`WRITING_CALLS`].
pub const OPENAT: &str = "__x64_sys_openat";
