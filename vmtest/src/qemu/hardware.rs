//! The machines of QEMU: what depends on the architecture is in one file for each.

use std::ops::Range;

use kernlab_kernels::Arch;

use super::{
    aarch64,
    arguments::{Accelerator, Port, Verbosity},
    x86_64,
};

/// What a machine's board, and its kernel's command line, depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) accelerator: Accelerator,
    pub(super) processors: u32,
    pub(super) has_disk: bool,
    pub(super) has_16k_pages: bool,
}

/// The machine of an architecture.
pub(super) struct Hardware {
    /// The name of QEMU's executable.
    pub(super) qemu: &'static str,
    /// The kernel's parameters on every machine.
    pub(super) kernel_words: &'static [&'static str],
    /// Tells the agent that the first disk has the root file system of programs.
    pub(super) root_word: &'static str,
    /// The value of `-machine`.
    pub(super) board: fn(Size) -> &'static str,
    /// The physical addresses of this many bytes of memory.
    pub(super) memory_ranges: fn(u64, Size) -> [Range<u64>; 2],
    /// The value of `-cpu`.
    pub(super) cpu_model: fn(Size) -> &'static str,
    /// The device of the drive with this id.
    pub(super) disk: fn(&str) -> String,
    /// The option for a port that is connected to the character device of its name.
    pub(super) serial_port: fn(Port) -> (&'static str, String),
    /// Parameters about the kernel's messages.
    pub(super) console_words: fn(Verbosity) -> &'static [&'static str],
    /// Parameters about the kernel's clocks.
    pub(super) clock_words: fn(Size) -> Vec<String>,
    /// The kernel in a file, told by its header.
    pub(super) kernel_image: fn(&[u8]) -> Option<KernelImage>,
    /// What [`Hardware::kernel_image`] expects: completes "expected".
    pub(super) expected_image: &'static str,
}

impl Hardware {
    pub(super) fn of(arch: Arch) -> &'static Self {
        match arch {
            Arch::X86_64 => &x86_64::HARDWARE,
            Arch::Aarch64 => &aarch64::HARDWARE,
        }
    }
}

/// How QEMU starts a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelImage {
    /// By the setup code at the beginning of a bzImage.
    BzImage,
    /// By the PVH entry point of an ELF image.
    Elf,
    /// At the beginning of an `Image` of arm64.
    Arm64 {
        /// Whether its pages are of 16 KiB.
        has_16k_pages: bool,
    },
}

impl KernelImage {
    /// A kernel to give to QEMU in its place when a machine is restored. A bzImage has none: what QEMU makes
    /// of it depends on its content.
    pub(super) fn placeholder(self) -> Option<Vec<u8>> {
        match self {
            KernelImage::BzImage => None,
            KernelImage::Elf => Some(kernlab_kernels::placeholder_kernel()),
            KernelImage::Arm64 { .. } => Some(kernlab_kernels::placeholder_arm64_kernel()),
        }
    }
}
