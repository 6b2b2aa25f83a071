//! The device's ports on a PC.

use std::{arch::asm, io};

/// Write a selector of 16 bits.
const SELECTOR: u16 = 0x510;
/// Read the selected item's bytes, one after the other.
const DATA: u16 = 0x511;
/// Write the physical address of a request: the upper half first, both big-endian.
const DMA: u16 = 0x514;

/// The right to use them. Everybody who has it shares the device.
pub(super) struct Ports(());

impl Ports {
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: the call only changes what this thread may do.
        match unsafe { libc::ioperm(SELECTOR.into(), 12, 1) } {
            0 => Ok(Ports(())),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Selects an item: what is read next are its first bytes.
    pub(super) fn select(&self, item: u16) {
        // SAFETY: we have the right to use the port, and the device only notes the number.
        unsafe { asm!("out dx, ax", in("dx") SELECTOR, in("ax") item, options(nomem, nostack)) };
    }

    /// The next bytes of the selected item; zeros after its end.
    pub(super) fn take<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        // SAFETY: we have the right to use the port, and the instruction writes LENGTH bytes from
        // the beginning of the array on.
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

    /// Has the device carry out the request at this physical address. It is done on return.
    ///
    /// # Safety
    ///
    /// There is a request, and nobody else uses the memory that it names.
    pub(super) unsafe fn request(&self, address: u64) {
        let high = ((address >> 32) as u32).to_be();
        let low = (address as u32).to_be();
        // SAFETY: we have the right to use the ports; the caller answers for the memory.
        unsafe {
            asm!("out dx, eax", in("dx") DMA, in("eax") high, options(nostack));
            asm!("out dx, eax", in("dx") DMA + 4, in("eax") low, options(nostack));
        }
    }
}
