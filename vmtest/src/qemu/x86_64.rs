//! The parts of the guest's machine that depend on the architecture: x86-64.

use std::{ops::Range, sync::OnceLock};

use super::{
    arguments::{Accelerator, Port, Verbosity},
    hardware::{Hardware, KernelImage, Size},
};

pub(super) const HARDWARE: Hardware = Hardware {
    qemu: "qemu-system-x86_64",
    kernel_words: &KERNEL_WORDS,
    root_word: "kernlab.root=vda",
    board,
    memory_ranges,
    cpu_model,
    disk,
    serial_port,
    console_words,
    clock_words,
    kernel_image,
    expected_image: "an x86-64 kernel image: expected a bzImage (as in /boot/vmlinuz-*) \
                     or an uncompressed ELF vmlinux",
};

const KERNEL_WORDS: [&str; 11] = [
    "console=ttyS0",
    "kernlab.port=ttyS1",
    // Two serial ports: the kernel doesn't look for more.
    "8250.nr_uarts=2",
    // A crash ends QEMU (`-no-reboot`) at once: by triple fault, which works on every board.
    "panic=-1",
    "oops=panic",
    "reboot=t",
    // Keeps the addresses in logs the same in every run.
    "nokaslr",
    // Detaching a probe waits for grace periods, several times.
    "rcupdate.rcu_expedited=1",
    // The tests take a quarter of a second under TCG, and no tracer could notice their absence.
    "cryptomgr.notests",
    // The processor is the only source of entropy: without it, the first getrandom(2) may block for
    // ever.
    "random.trust_cpu=on",
    // On a busy host the timer's self-test sometimes fails, and the boot with it.
    "no_timer_check",
];

/// `microvm` boots fastest (no PCI, no ACPI tables to interpret), but without ACPI the kernel does
/// not find further processors. With ACPI, kernels before 6.1 find no timer on it. It has no PCI,
/// and its own kind of disk (virtio-mmio) is found by parameters that distributions leave out
/// (`CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES`).
fn board(size: Size) -> &'static str {
    match size.processors {
        0..=1 if !size.has_disk => {
            "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=off,auto-kernel-cmdline=off"
        }
        _ => "q35,usb=off,sata=off,smbus=off,vmport=off",
    }
}

/// The physical addresses of a machine's memory: what devices leave below 4 GiB, and the rest above.
/// hw/i386/microvm.c and hw/i386/pc_q35.c in QEMU's sources.
fn memory_ranges(memory: u64, size: Size) -> [Range<u64>; 2] {
    const GIB: u64 = 1 << 30;
    let low = match size.processors {
        0..=1 if !size.has_disk => 3 * GIB,
        _ if memory >= 0xb000_0000 => 2 * GIB,
        _ => 0xb000_0000,
    };
    [0..memory.min(low), 4 * GIB..4 * GIB + memory.saturating_sub(low)]
}

/// The simplest model is the fastest under TCG: with more features the kernel does more.
fn cpu_model(size: Size) -> &'static str {
    match size.accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "qemu64,+rdrand",
    }
}

fn disk(drive: &str) -> String {
    format!("virtio-blk-pci,drive={drive}")
}

fn serial_port(port: Port) -> (&'static str, String) {
    let index = match port {
        Port::Console => 0,
        Port::Protocol => 1,
    };
    ("-device", format!("isa-serial,chardev={},index={index}", port.name()))
}

/// Console levels: 5 prints warnings and worse, 8 prints everything.
fn console_words(verbosity: Verbosity) -> &'static [&'static str] {
    match verbosity {
        Verbosity::Warnings => &["loglevel=5"],
        Verbosity::Everything => &["loglevel=8", "earlyprintk=serial,ttyS0,115200"],
    }
}

/// KVM gives its guests a clock. Under TCG the kernel calibrates its clocks against a timer that
/// QEMU can't serve in time on a busy host, with results that differ from boot to boot.
///
/// - The time stamp counter is the host's. If it can't be measured, time passes in steps of 4 ms;
///   so a parameter gives its frequency. The parameter was added after 5.4: older kernels measure.
/// - The processor's local timer isn't needed where there is only one: not using it saves a
///   tenth of a second of measuring.
fn clock_words(size: Size) -> Vec<String> {
    if size.accelerator == Accelerator::Kvm {
        return Vec::new();
    }
    let mut words = vec!["tsc=reliable".to_owned()];
    words.extend(host_counter_khz().map(|khz| format!("{COUNTER_RATE}{khz}")));
    words.extend((size.processors <= 1).then(|| "nolapic_timer".to_owned()));
    words
}

const COUNTER_RATE: &str = "tsc_early_khz=";

/// Is this a parameter of the kernel's command line with a measured value, which varies?
pub(crate) fn is_measured(word: &str) -> bool {
    word.starts_with(COUNTER_RATE)
}

/// The frequency of the host's time stamp counter in kHz, if it is constant.
fn host_counter_khz() -> Option<u32> {
    static KHZ: OnceLock<Option<u32>> = OnceLock::new();
    *KHZ.get_or_init(measure_counter)
}

#[cfg(not(target_arch = "x86_64"))]
fn measure_counter() -> Option<u32> {
    None
}

#[cfg(target_arch = "x86_64")]
fn measure_counter() -> Option<u32> {
    use std::time::{Duration, Instant};

    let processors = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let flags = processors.lines().find(|line| line.starts_with("flags"))?;
    if !["constant_tsc", "nonstop_tsc"].iter().all(|flag| flags.contains(flag)) {
        return None;
    }
    let stamp = || {
        // SAFETY: every x86-64 processor has the instruction, and it only reads a counter.
        (Instant::now(), unsafe { std::arch::x86_64::_rdtsc() })
    };
    let (start, first) = stamp();
    // This measures, it does not wait: an error of a microsecond is 0.02 %.
    std::thread::sleep(Duration::from_millis(5));
    let (end, last) = stamp();
    let ticks = u128::from(last.checked_sub(first)?);
    let khz = ticks * 1_000_000 / (end - start).as_nanos();
    u32::try_from(khz).ok().filter(|khz| *khz > 0)
}

fn kernel_image(header: &[u8]) -> Option<KernelImage> {
    let at = |place: usize, text: &[u8]| header.get(place..place + text.len()) == Some(text);
    // Documentation/arch/x86/boot.rst: boot_flag and header.
    if at(0x1fe, &[0x55, 0xaa]) && at(0x202, b"HdrS") {
        return Some(KernelImage::BzImage);
    }
    // ELF, 64 bits, little endian, for EM_X86_64.
    (at(0, b"\x7fELF\x02\x01") && at(18, &[62, 0])).then_some(KernelImage::Elf)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::small(256 << 20, 1, [0..0x1000_0000, 0x1_0000_0000..0x1_0000_0000])]
    #[case::large(4 << 30, 1, [0..0xc000_0000, 0x1_0000_0000..0x1_4000_0000])]
    #[case::small_with_slots(2 << 30, 2, [0..0x8000_0000, 0x1_0000_0000..0x1_0000_0000])]
    #[case::large_with_slots(4 << 30, 2, [0..0x8000_0000, 0x1_0000_0000..0x1_8000_0000])]
    fn memory_leaves_room_for_devices(
        #[case] memory: u64,
        #[case] processors: u32,
        #[case] expected: [Range<u64>; 2],
    ) {
        let accelerator = Accelerator::Tcg;
        let size = Size { accelerator, processors, has_disk: false, has_16k_pages: false };
        assert_eq!(memory_ranges(memory, size), expected);
    }

    #[test]
    fn images_are_told_by_their_headers() {
        let mut bzimage = vec![0; 0x1000];
        bzimage[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bzimage[0x202..0x206].copy_from_slice(b"HdrS");
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(0x1000, 0);
        elf[18] = 62;
        let mut arm = elf.clone();
        arm[18] = 183;
        assert_eq!(kernel_image(&bzimage), Some(KernelImage::BzImage));
        assert_eq!(kernel_image(&elf), Some(KernelImage::Elf));
        let placeholder = kernlab_kernels::placeholder_kernel();
        assert_eq!(kernel_image(&placeholder), Some(KernelImage::Elf));
        for content in [&arm[..], b"hello", b""] {
            assert_eq!(kernel_image(content), None);
        }
    }
}
