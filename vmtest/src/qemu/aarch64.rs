//! The parts of the guest's machine that depend on the architecture: arm64.

use std::ops::Range;

use super::{
    arguments::{Accelerator, Port, Verbosity},
    hardware::{Hardware, KernelImage, Size},
};

pub(super) const HARDWARE: Hardware = Hardware {
    qemu: "qemu-system-aarch64",
    kernel_words: &KERNEL_WORDS,
    root_word: "kernlab.root=vda",
    board,
    memory_ranges,
    cpu_model,
    disk,
    serial_port,
    console_words,
    // The architecture's timer has a known frequency.
    clock_words: |_| Vec::new(),
    kernel_image,
    expected_image: "an arm64 kernel image: expected an uncompressed Image",
};

const KERNEL_WORDS: [&str; 9] = [
    "console=ttyAMA0",
    "kernlab.port=ttyS0",
    // One serial port beside the console: the kernel doesn't look for more.
    "8250.nr_uarts=1",
    // A crash ends QEMU (`-no-reboot`) at once.
    "panic=-1",
    "oops=panic",
    // Keeps the addresses in logs the same in every run.
    "nokaslr",
    // Detaching a probe waits for grace periods, several times.
    "rcupdate.rcu_expedited=1",
    // The tests take a quarter of a second under TCG, and no tracer could notice their absence.
    "cryptomgr.notests",
    // The seed in the device tree is the only source of entropy: without it, the first getrandom(2) may
    // block for ever.
    "random.trust_bootloader=on",
];

/// `virt` is the only board that all kernels have the drivers for, whatever the number of processors.
/// Nothing on it needs the interrupts of messages.
fn board(size: Size) -> &'static str {
    match size.accelerator {
        // The interrupt controller is that of the host's processor.
        Accelerator::Kvm => "virt,gic-version=host",
        Accelerator::Tcg => "virt,gic-version=3,its=off",
    }
}

/// The physical addresses of a machine's memory: hw/arm/virt.c in QEMU's sources.
fn memory_ranges(memory: u64, _: Size) -> [Range<u64>; 2] {
    const START: u64 = 1 << 30;
    [START..START + memory, 0..0]
}

/// A simple model is fast under TCG: with more features the kernel does more. It has no pages of 16 KiB.
/// `max` has them, and 52-bit addresses, which hang kernels before 5.12; no distribution ships a kernel so
/// old with such pages. Pointer authentication is off, because TCG would spend most of its time on it.
fn cpu_model(size: Size) -> &'static str {
    match size.accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg if size.has_16k_pages => "max,pauth=off",
        Accelerator::Tcg => "cortex-a57",
    }
}

fn disk(drive: &str) -> String {
    format!("virtio-blk-pci,drive={drive}")
}

/// The board has one serial port of its own.
fn serial_port(port: Port) -> (&'static str, String) {
    match port {
        Port::Console => ("-serial", format!("chardev:{}", port.name())),
        Port::Protocol => ("-device", format!("pci-serial,chardev={}", port.name())),
    }
}

/// Console levels: 5 prints warnings and worse, 8 prints everything.
fn console_words(verbosity: Verbosity) -> &'static [&'static str] {
    match verbosity {
        Verbosity::Warnings => &["loglevel=5"],
        Verbosity::Everything => &["loglevel=8", "earlycon=pl011,0x9000000"],
    }
}

/// Documentation/arch/arm64/booting.rst: `magic`, and the size of pages in bits 1 and 2 of `flags`.
fn kernel_image(header: &[u8]) -> Option<KernelImage> {
    let flags = header.get(0x18)?;
    let has_16k_pages = flags >> 1 & 3 == 2;
    (header.get(0x38..0x3c) == Some(b"ARM\x64")).then_some(KernelImage::Arm64 { has_16k_pages })
}

#[cfg(test)]
mod tests {
    use kernlab_kernels::placeholder_arm64_kernel;

    use super::*;

    #[test]
    fn images_are_told_by_their_headers() {
        let mut image = placeholder_arm64_kernel();
        assert_eq!(kernel_image(&image), Some(KernelImage::Arm64 { has_16k_pages: false }));
        image[0x18] = 0b1100;
        assert_eq!(kernel_image(&image), Some(KernelImage::Arm64 { has_16k_pages: true }));
        assert_eq!(kernel_image(b"\x7fELF"), None);
    }

    #[test]
    fn memory_begins_behind_the_devices() {
        let accelerator = Accelerator::Tcg;
        let size = Size { accelerator, processors: 1, has_disk: false, has_16k_pages: false };
        assert_eq!(memory_ranges(256 << 20, size), [0x4000_0000..0x5000_0000, 0..0]);
    }
}
