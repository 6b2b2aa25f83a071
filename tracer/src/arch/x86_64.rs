//! x86-64.

use std::{
    arch::x86_64::{__cpuid, __cpuid_count},
    fs, io,
};

use kernlab_core::arch::Arch;

/// The architecture.
pub(crate) const ARCH: Arch = Arch::X86_64;

/// Where `struct pt_regs` has the arguments of a function, in order: di, si, dx, cx, r8, r9;
/// arch/x86/include/asm/ptrace.h. The same on every release.
pub(crate) const ARGUMENT_REGISTERS: [i16; 6] = [112, 104, 96, 88, 72, 64];

/// Where `struct pt_regs` has the stack pointer.
pub(crate) const STACK_POINTER: i16 = 152;

/// Where the argument after the last register is, from the stack pointer at a function's entry: the
/// return address comes first.
pub(crate) const FIRST_STACK_ARGUMENT: i32 = 8;

/// Does the kernel run with five-level page tables? It says so in `/proc/cpuinfo`, which takes a while
/// to print; a processor that can't is asked sooner.
pub(crate) fn large_address_space() -> io::Result<bool> {
    // Intel SDM volume 2, CPUID: leaf 7 has la57 in bit 16 of ECX.
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).ecx & 1 << 16 == 0 {
        return Ok(false);
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    Ok(flags.is_some_and(|flags| flags.split_ascii_whitespace().any(|flag| flag == "la57")))
}
