//! The device's ports on a PC.

use std::{arch::asm, io};

/// Completes "could not".
pub(super) const OPENED_BY: &str = "use I/O ports";
/// The kernel's options that this needs.
pub(super) const NEEDED: &str = "CONFIG_X86_IOPL_IOPERM";

/// The port to write a selector of 16 bits to.
const SELECTOR: u16 = 0x510;
/// The port to read the selected item's bytes from, one after the other.
const DATA: u16 = 0x511;
/// The port to write the physical address of a request to: the upper half first, both big-endian.
const DMA: u16 = 0x514;

/// The permission to use the ports. All owners share the device.
pub(super) struct Ports(());

impl Ports {
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: the call only changes this thread's permissions.
        match unsafe { libc::ioperm(SELECTOR.into(), 12, 1) } {
            0 => Ok(Ports(())),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Selects an item: the next read returns its first bytes.
    pub(super) fn select(&self, item: u16) {
        // SAFETY: this thread may use the port, and the device only stores the number.
        unsafe { asm!("out dx, ax", in("dx") SELECTOR, in("ax") item, options(nomem, nostack)) };
    }

    /// The next bytes of the selected item; zeros after its end.
    pub(super) fn take<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        // SAFETY: this thread may use the port, and the instruction writes LENGTH bytes from the
        // beginning of the array on.
        unsafe {
            asm!(
                "rep insb",
                in("dx") DATA,
                inout("rdi") bytes.as_mut_ptr() => _,
                inout("rcx") LENGTH => _,
                options(nostack),
            );
        }
        bytes
    }

    /// Makes the device execute the request at this physical address. It is done on return.
    ///
    /// # Safety
    ///
    /// There must be a request, and the memory that it names must not be in use elsewhere.
    pub(super) unsafe fn request(&self, address: u64) {
        let high = ((address >> 32) as u32).to_be();
        let low = (address as u32).to_be();
        // SAFETY: this thread may use the ports; the caller is responsible for the memory.
        unsafe {
            asm!("out dx, eax", in("dx") DMA, in("eax") high, options(nostack));
            asm!("out dx, eax", in("dx") DMA + 4, in("eax") low, options(nostack));
        }
    }
}
