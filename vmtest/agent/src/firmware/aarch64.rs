//! The device's registers on QEMU's machine `virt`: memory that the kernel has no driver for.

use std::{
    fs::File,
    io,
    num::NonZeroUsize,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    ptr::{NonNull, write_volatile},
    sync::atomic::{Ordering, fence},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Completes "could not".
pub(super) const OPENED_BY: &str = "map the device's registers";
/// The kernel's options that this needs.
pub(super) const NEEDED: &str = "CONFIG_DEVMEM";

/// The physical address of the registers: hw/arm/virt.c in QEMU's sources. The kernel has a node for it in
/// its device tree.
const ADDRESS: libc::off_t = 0x0902_0000;
const NODE: &str = "/sys/firmware/devicetree/base/fw-cfg@9020000";
/// At least a page, whatever its size.
const LENGTH: NonZeroUsize = NonZeroUsize::new(64 << 10).unwrap();

/// Where the selected item's bytes are read from, eight at most at once: docs/specs/fw_cfg.rst.
const DATA: usize = 0;
/// Where a selector of 16 bits is written to, big-endian.
const SELECTOR: usize = 8;
/// Where the physical address of a request is written to, big-endian.
const DMA: usize = 16;

/// The mapped registers.
pub(super) struct Ports(NonNull<u8>);

impl Ports {
    pub(super) fn open() -> io::Result<Self> {
        // An access to an address without a device would kill this process.
        if !Path::new(NODE).exists() {
            return Err(io::Error::other("the device tree has no fw_cfg device"));
        }
        let memory =
            File::options().read(true).write(true).custom_flags(libc::O_SYNC).open("/dev/mem")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: this is a new mapping, to which no other pointer exists.
        let mapped = unsafe { mmap(None, LENGTH, access, MapFlags::MAP_SHARED, &memory, ADDRESS) }?;
        Ok(Ports(mapped.cast()))
    }

    /// Selects an item: the next read returns its first bytes.
    pub(super) fn select(&self, item: u16) {
        // SAFETY: the register is mapped, aligned, and only stores the number.
        unsafe { write_volatile(self.0.as_ptr().add(SELECTOR).cast(), item.to_be()) };
    }

    /// The next bytes of the selected item; zeros after its end.
    pub(super) fn take<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            // SAFETY: the register is mapped and aligned. It has the bytes in the order of memory.
            *word =
                unsafe { self.0.as_ptr().add(DATA).cast::<u64>().read_volatile() }.to_ne_bytes();
        }
        for byte in rest {
            // SAFETY: the register is mapped, and may be read byte by byte.
            *byte = unsafe { self.0.as_ptr().add(DATA).read_volatile() };
        }
        bytes
    }

    /// Makes the device execute the request at this physical address. It is done on return.
    ///
    /// # Safety
    ///
    /// There must be a request, and the memory that it names must not be in use elsewhere.
    pub(super) unsafe fn request(&self, address: u64) {
        // The request is written before its address is.
        fence(Ordering::SeqCst);
        // SAFETY: the register is mapped and aligned; the caller is responsible for the memory.
        unsafe { write_volatile(self.0.as_ptr().add(DMA).cast(), address.to_be()) };
        fence(Ordering::SeqCst);
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        // SAFETY: `open` made the mapping with this length, and no other pointer to it exists. An error
        // would mean that the mapping is already gone.
        let _ = unsafe { munmap(self.0.cast(), LENGTH.get()) };
    }
}
