//! Memory that the device writes to: pages with known physical addresses.

use std::{fs::File, io, num::NonZeroUsize, os::unix::fs::FileExt, ptr::NonNull};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{Copy, Handed, ports::Ports};

const PAGE: usize = 4096;
/// Pages of data; one more holds the requests.
const PAGES: usize = 64;

/// Bits of a request's control word, docs/specs/fw_cfg.rst.
const FAILED: u32 = 1 << 0;
const READ: u32 = 1 << 1;

/// `/proc/self/pagemap`: the page is in memory; the page's number.
/// Documentation/admin-guide/mm/pagemap.rst
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// A request as the device reads it: big-endian.
#[repr(C)]
struct Request {
    control: u32,
    length: u32,
    address: u64,
}

/// Locked memory.
pub(super) struct Window {
    memory: NonNull<u8>,
    pagemap: File,
}

impl Window {
    /// Allocates the pages. Fails on kernels that hide physical addresses.
    pub(super) fn open() -> io::Result<Self> {
        const LENGTH: NonZeroUsize = NonZeroUsize::new((PAGES + 1) * PAGE).unwrap();
        let pagemap = File::open("/proc/self/pagemap")?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_LOCKED | MapFlags::MAP_POPULATE;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: this is a new mapping, to which no other pointer exists.
        let memory = unsafe { mmap_anonymous(None, LENGTH, access, flags) }?.cast();
        let window = Window { memory, pagemap };
        window.frames()?;
        Ok(window)
    }

    /// The pages' physical addresses.
    fn frames(&self) -> io::Result<[u64; PAGES + 1]> {
        let mut entries = [0_u8; (PAGES + 1) * 8];
        let first = self.memory.as_ptr().addr() / PAGE;
        self.pagemap.read_exact_at(&mut entries, (first * 8) as u64)?;
        let mut frames = [0; PAGES + 1];
        for (frame, entry) in frames.iter_mut().zip(entries.as_chunks::<8>().0) {
            let entry = u64::from_le_bytes(*entry);
            let number = entry & FRAME;
            // Without the permission to see the numbers, all of them are zero.
            if entry & PRESENT == 0 || number == 0 {
                return Err(io::Error::other("the kernel hides physical addresses"));
            }
            *frame = number * PAGE as u64;
        }
        Ok(frames)
    }

    /// Copies a file out of the device.
    pub(super) fn copy(&mut self, ports: &Ports, file: &Handed, copy: Copy<'_>) -> io::Result<()> {
        ports.select(file.selector);
        let mut left = file.size;
        while left > 0 {
            let length = left.min(PAGES * PAGE);
            let frames = self.frames()?;
            let used = &frames[..length.div_ceil(PAGE)];
            let mut missing = length;
            // Pages that were allocated together are mostly contiguous.
            for run in used.chunk_by(|frame, next| frame + PAGE as u64 == *next) {
                let length = missing.min(run.len() * PAGE);
                self.fill(ports, frames[PAGES], run[0], length)?;
                missing -= length;
            }
            // Locked pages stay in memory, but the kernel may move them to other physical
            // addresses.
            if self.frames()? != frames {
                return Err(io::Error::other("the kernel moved a page during the copy"));
            }
            // SAFETY: the mapping is that long, and the device has finished.
            copy(unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), length) })?;
            left -= length;
        }
        Ok(())
    }

    /// Makes the device write the next bytes to contiguous pages at the physical address `address`.
    /// The request is in the last page, whose physical address is `at`.
    fn fill(&mut self, ports: &Ports, at: u64, address: u64, length: usize) -> io::Result<()> {
        let request = Request {
            control: READ.to_be(),
            length: (length as u32).to_be(),
            address: address.to_be(),
        };
        // SAFETY: the last page is ours, aligned, and large enough. The device writes only to our
        // pages, and its answer to the request's control word.
        let control = unsafe {
            let place = self.memory.as_ptr().add(PAGES * PAGE).cast::<Request>();
            place.write_volatile(request);
            ports.request(at);
            u32::from_be((&raw const (*place).control).read_volatile())
        };
        match control {
            0 => Ok(()),
            code if code & FAILED != 0 => Err(io::Error::other("the device refused a request")),
            code => {
                Err(io::Error::other(format!("the device did not finish a request: {code:#x}")))
            }
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: `open` made the mapping with this length, and no other pointer to it exists. An
        // error would mean that the mapping is already gone.
        let _ = unsafe { munmap(self.memory.cast(), (PAGES + 1) * PAGE) };
    }
}
