//! Machine code and devices of arm64.

/// The devices of the console and of the protocol's port.
pub(crate) const CONSOLE: &str = "/dev/ttyAMA0";
pub(crate) const PORT: &str = "ttyS0";

/// Physical addresses of devices, hw/arm/virt.c in QEMU's sources: the interrupt controller and the clock.
pub(crate) const DEVICES: [u64; 2] = [0x0800_0000, 0x0901_0000];

/// The system call that is overwritten. The agent has already made it, and nothing else does.
pub(crate) const VICTIM: &str = "__arm64_sys_sethostname";

/// `bti c` marks a target of indirect jumps, for processors that check them.
pub(crate) const TARGET: [u8; 4] = 0xd503_245f_u32.to_le_bytes();

/// `__warn(file, line, caller, taint, regs, args)` of kernel/panic.c, which implements `WARN_ON()`.
pub(crate) fn warn(function: u64) -> Vec<u8> {
    // movz and movk x9: the function, from its lowest sixteen bits on.
    let part = |number: u32| (function >> (16 * number)) as u32 & 0xffff;
    let load = |number: u32, instruction: u32| instruction | number << 21 | part(number) << 5 | 9;
    bytes(&[
        0xa9bf_7bfd, // stp x29, x30, [sp, #-16]!
        0x9100_03fd, // mov x29, sp
        0xd280_0000, // mov x0, #0: no file
        0xd280_0001, // mov x1, #0: no line
        0x1000_0002, // adr x2, .: the caller
        0xd280_0123, // mov x3, #9: TAINT_WARN
        0xd280_0004, // mov x4, #0: no registers
        0xd280_0005, // mov x5, #0: no message
        load(0, 0xd280_0000),
        load(1, 0xf280_0000),
        load(2, 0xf280_0000),
        load(3, 0xf280_0000),
        0xd63f_0120, // blr x9
        0xa8c1_7bfd, // ldp x29, x30, [sp], #16
        0xd280_0000, // mov x0, #0
        0xd65f_03c0, // ret
    ])
}

pub(crate) fn oops() -> Vec<u8> {
    bytes(&[
        0xd280_0000, // mov x0, #0
        0xf940_0000, // ldr x0, [x0]
        0xd65f_03c0, // ret
    ])
}

pub(crate) fn hang() -> Vec<u8> {
    bytes(&[
        0xd503_4fdf, // msr daifset, #15
        0x1400_0000, // b to itself
    ])
}

fn bytes(instructions: &[u32]) -> Vec<u8> {
    instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect()
}
