//! What the BPF programs of all tracers share.
//!
//! The programs in `src/bin` mirror the C programs of the libbpf backend: they have the
//! same names, are configured the same way and write the same events. They have to pass the
//! verifier of 4.18, so there are no loops, no calls from one BPF function to another and no global
//! data; `backends/aya/build` checks the compiled objects for that.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod arch;
mod context;
mod file;
mod memory;
mod output;
pub mod syscall;
mod thread;

pub use context::read_context;
pub use file::FileReader;
pub use memory::{KernelMemory, KernelValue, StackMemory, UserMemory};
pub use output::{count_emitted, count_in, count_lost, emit};
pub use thread::TracedThread;

/// Only programs with one of the strings in `license_is_gpl_compatible` (include/linux/license.h)
/// may call the helpers that read kernel memory and write events.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The build refuses objects with loops, so one that could panic is found.
    loop {}
}
