//! The parts of the guest's machine that depend on the architecture.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::arguments::{Accelerator, Verbosity};

/// The name of QEMU's executable.
pub(super) const QEMU: &str = "qemu-system-x86_64";

/// The kernel's parameters on every machine.
pub(super) const KERNEL_WORDS: [&str; 11] = [
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
pub(super) fn board(processors: u32, has_disk: bool) -> &'static str {
    match processors {
        0..=1 if !has_disk => {
            "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=off,auto-kernel-cmdline=off"
        }
        _ => "q35,usb=off,sata=off,smbus=off,vmport=off",
    }
}

/// The physical addresses of a machine's memory: what devices leave below 4 GiB, and the rest above.
/// hw/i386/microvm.c and hw/i386/pc_q35.c in QEMU's sources.
pub(super) fn memory_ranges(memory: u64, processors: u32, has_disk: bool) -> [Range<u64>; 2] {
    const GIB: u64 = 1 << 30;
    let low = match processors {
        0..=1 if !has_disk => 3 * GIB,
        _ if memory >= 0xb000_0000 => 2 * GIB,
        _ => 0xb000_0000,
    };
    [0..memory.min(low), 4 * GIB..4 * GIB + memory.saturating_sub(low)]
}

/// The simplest model is the fastest under TCG: with more features the kernel does more.
pub(super) fn cpu_model(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "qemu64,+rdrand",
    }
}

/// The disk of the drive with this id.
pub(super) fn disk(drive: &str) -> String {
    format!("virtio-blk-pci,drive={drive}")
}

/// Tells the agent that the first disk has the root file system of programs.
pub(super) const ROOT_WORD: &str = "kernlab.root=vda";

pub(super) fn serial_port(chardev: &str, index: usize) -> String {
    format!("isa-serial,chardev={chardev},index={index}")
}

/// Console levels: 5 prints warnings and worse, 8 prints everything.
pub(super) fn console_words(verbosity: Verbosity) -> &'static [&'static str] {
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
pub(super) fn clock_words(accelerator: Accelerator, processors: u32) -> Vec<String> {
    if accelerator == Accelerator::Kvm {
        return Vec::new();
    }
    let mut words = vec!["tsc=reliable".to_owned()];
    words.extend(host_counter_khz().map(|khz| format!("{COUNTER_RATE}{khz}")));
    words.extend((processors <= 1).then(|| "nolapic_timer".to_owned()));
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

/// The file can't be booted by QEMU.
#[derive(Debug, thiserror::Error)]
pub enum KernelImageError {
    /// The file can't be read.
    #[error("could not read the kernel image {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is no kernel image.
    #[error(
        "{path} is not an x86-64 kernel image: expected a bzImage (as in /boot/vmlinuz-*) \
         or an uncompressed ELF vmlinux"
    )]
    NotAKernel {
        /// The file.
        path: PathBuf,
    },
}

/// How QEMU starts a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelImage {
    /// By the setup code at the beginning of a bzImage.
    BzImage,
    /// By the PVH entry point of an ELF image.
    Elf,
}

/// Detects the kind of image from its header.
pub fn check_kernel_image(path: &Path) -> Result<KernelImage, KernelImageError> {
    let mut header = [0; 0x206];
    File::open(path)
        .and_then(|file| match file.read_exact_at(&mut header, 0) {
            // The file is too short; the header stays zero and is no kernel's.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        })
        .map_err(|source| KernelImageError::Read { path: path.to_owned(), source })?;
    // Documentation/arch/x86/boot.rst: boot_flag and header.
    let is_bzimage = header[0x1fe..0x200] == [0x55, 0xaa] && header[0x202..0x206] == *b"HdrS";
    // ELF, 64 bits, little endian, for EM_X86_64.
    let is_elf = header.starts_with(b"\x7fELF\x02\x01") && header[18..20] == [62, 0];
    match (is_bzimage, is_elf) {
        (true, _) => Ok(KernelImage::BzImage),
        (_, true) => Ok(KernelImage::Elf),
        _ => Err(KernelImageError::NotAKernel { path: path.to_owned() }),
    }
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
        assert_eq!(memory_ranges(memory, processors, false), expected);
    }

    #[test]
    fn images_are_told_by_their_headers() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let mut bzimage = vec![0; 0x1000];
        bzimage[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bzimage[0x202..0x206].copy_from_slice(b"HdrS");
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(0x1000, 0);
        elf[18] = 62;
        let mut arm = elf.clone();
        arm[18] = 183;
        let kind = |name, content| check_kernel_image(&file(name, content)).unwrap();
        assert_eq!(kind("bzImage", &bzimage[..]), KernelImage::BzImage);
        assert_eq!(kind("vmlinux", &elf), KernelImage::Elf);
        assert_eq!(kind("placeholder", &kernlab_kernels::placeholder_kernel()), KernelImage::Elf);
        for (name, content) in [("arm", &arm[..]), ("text", b"hello"), ("empty", b"")] {
            let error = check_kernel_image(&file(name, content)).unwrap_err().to_string();
            assert!(error.contains("is not an x86-64 kernel image: expected a bzImage"), "{error}");
        }
        let missing = check_kernel_image(&dir.path().join("missing"));
        assert!(matches!(missing, Err(KernelImageError::Read { .. })));
    }
}
