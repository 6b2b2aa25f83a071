//! Makes a kernel misbehave for real: overwrites an unused system call with machine code and calls
//! it. The messages come from the kernel's own detectors.
//!
//! QEMU's `fw_cfg` device writes to any physical address, and `nokaslr` on the command line keeps
//! the kernel's text where it was linked. So this works under every kernel, whatever its modules
//! and options.

use std::{fs, io};

#[expect(dead_code, reason = "only the agent reads what is in the pages")]
#[path = "../../pinned.rs"]
mod pinned;
#[cfg_attr(target_arch = "x86_64", path = "../../firmware/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "../../firmware/aarch64.rs")]
mod ports;

use pinned::Pinned;
use ports::Ports;

use crate::arch;

/// What a kernel can be made to do.
pub(crate) enum Fault {
    /// Warn, and go on.
    Warn,
    /// Read a null pointer in a system call.
    Oops,
    /// Never continue, with interrupts disabled.
    Hang,
}

/// Triggers the fault. Returns if the kernel continues.
pub(crate) fn inject(fault: &Fault) -> io::Result<()> {
    let symbols = symbols()?;
    let code = match fault {
        Fault::Warn => arch::warn(address(&symbols, "__warn")?),
        Fault::Oops => arch::oops(),
        Fault::Hang => arch::hang(),
    };
    overwrite(&symbols, &code)?;
    call();
    Ok(())
}

pub(crate) fn symbols() -> io::Result<String> {
    fs::read_to_string("/proc/kallsyms")
}

/// Makes the system call do this.
pub(crate) fn overwrite(symbols: &str, code: &[u8]) -> io::Result<()> {
    // Kernels begin at a multiple of this, in both kinds of memory. What is called the beginning of their
    // code is a bit behind that.
    let begin = |code: u64| code & !((2 << 20) - 1);
    let victim = address(symbols, arch::VICTIM)?;
    let physical = victim - begin(address(symbols, "_stext")?) + begin(physical_text()?);
    Device::open()?.write(physical, &[&arch::TARGET, code].concat())
}

/// Makes the system call.
pub(crate) fn call() {
    // The result is whatever the new code left in a register.
    let _ = nix::unistd::sethostname("overwritten");
}

/// The address of a symbol in `/proc/kallsyms`, with one `address type name` per line.
pub(crate) fn address(symbols: &str, name: &str) -> io::Result<u64> {
    let found = symbols.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?;
        (words.nth(1)? == name).then(|| u64::from_str_radix(address, 16).ok())?
    });
    found.ok_or_else(|| io::Error::other(format!("this kernel has no {name}")))
}

/// The physical address of the kernel's text: `/proc/iomem` has ` 01000000-01c031e0 : Kernel code`.
fn physical_text() -> io::Result<u64> {
    let ranges = fs::read_to_string("/proc/iomem")?;
    let found = ranges.lines().find_map(|line| {
        let start = line.strip_suffix(" : Kernel code")?.trim_start().split('-').next()?;
        u64::from_str_radix(start, 16).ok()
    });
    found.ok_or_else(|| io::Error::other("/proc/iomem does not show where the kernel is"))
}

/// A request to the device, big-endian: docs/specs/fw_cfg.rst in QEMU's sources.
#[repr(C)]
struct Request {
    control: u32,
    length: u32,
    address: u64,
}

/// Bits of a request's control word; the upper half has the item to select.
const READ: u32 = 1 << 1;
const SKIP: u32 = 1 << 2;
const SELECT: u32 = 1 << 3;
/// The item that lists the others: their number, then entries of 64 bytes.
const DIR: u16 = 0x19;

/// The device, and an item with every byte value: this program.
struct Device {
    ports: Ports,
    item: u16,
    content: Vec<u8>,
    request: Pinned<1>,
}

impl Device {
    fn open() -> io::Result<Self> {
        let ports = Ports::open().map_err(|error| {
            let (how, needed) = (ports::OPENED_BY, ports::NEEDED);
            io::Error::other(format!("could not {how}: {error} (the kernel needs {needed})"))
        })?;
        let program = std::env::current_exe()?;
        let name = format!("opt/kernlab{}\0", program.display());
        ports.select(DIR);
        let count = u32::from_be_bytes(ports.take());
        let item = (0..count).map(|_| ports.take::<64>()).find_map(|entry| {
            let (head, rest) = entry.split_first_chunk::<8>()?;
            let item = u16::from_be_bytes([head[4], head[5]]);
            rest.starts_with(name.as_bytes()).then_some(item)
        });
        let item =
            item.ok_or_else(|| io::Error::other("this program is not among QEMU's fw_cfg files"))?;
        Ok(Device { ports, item, content: fs::read(program)?, request: Pinned::new()? })
    }

    /// Writes to any physical memory.
    fn write(&mut self, address: u64, bytes: &[u8]) -> io::Result<()> {
        for (&byte, address) in bytes.iter().zip(address..) {
            let place = self.content.iter().position(|&other| other == byte);
            let place = place.ok_or_else(|| io::Error::other("this program lacks a byte"))?;
            let select = u32::from(self.item) << 16 | SELECT;
            self.order(select | SKIP, place as u32, 0)?;
            self.order(READ, 1, address)?;
        }
        Ok(())
    }

    fn order(&mut self, control: u32, length: u32, address: u64) -> io::Result<()> {
        let request =
            Request { control: control.to_be(), length: length.to_be(), address: address.to_be() };
        let [place] = self.request.frames()?;
        // SAFETY: the page is ours, and large enough. The device writes to the kernel's memory, on
        // purpose: to the text of a function that is not being executed.
        let left = unsafe {
            let to = self.request.as_ptr().cast::<Request>();
            to.write_volatile(request);
            self.ports.request(place);
            (&raw const (*to).control).read_volatile()
        };
        match left {
            0 => Ok(()),
            _ => Err(io::Error::other("the device did not execute the request")),
        }
    }
}
