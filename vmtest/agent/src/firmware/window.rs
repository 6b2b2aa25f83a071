//! Memory that the device writes to: pages with known physical addresses.

use std::io;

use super::{Copy, Handed, ports::Ports};
use crate::pinned::{PAGE, Pinned};

/// Pages of data; one more holds the requests.
const PAGES: usize = 64;

/// Bits of a request's control word, docs/specs/fw_cfg.rst.
const FAILED: u32 = 1 << 0;
const READ: u32 = 1 << 1;

/// A request as the device reads it: big-endian.
#[repr(C)]
struct Request {
    control: u32,
    length: u32,
    address: u64,
}

/// Memory for the device.
pub(super) struct Window(Pinned<{ PAGES + 1 }>);

impl Window {
    /// Allocates the pages. Fails on kernels that hide physical addresses.
    pub(super) fn open() -> io::Result<Self> {
        Pinned::new().map(Window)
    }

    /// Copies a file out of the device.
    pub(super) fn copy(&mut self, ports: &Ports, file: &Handed, copy: Copy<'_>) -> io::Result<()> {
        ports.select(file.selector);
        let mut left = file.size;
        while left > 0 {
            let length = left.min(PAGES * PAGE);
            let frames = self.0.frames()?;
            let used = &frames[..length.div_ceil(PAGE)];
            let mut missing = length;
            // Pages that were allocated together are mostly contiguous.
            for run in used.chunk_by(|frame, next| frame + PAGE as u64 == *next) {
                let length = missing.min(run.len() * PAGE);
                self.fill(ports, frames[PAGES], run[0], length)?;
                missing -= length;
            }
            if self.0.frames()? != frames {
                return Err(io::Error::other("the kernel moved a page during the copy"));
            }
            copy(&self.0.bytes()[..length])?;
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
            let place = self.0.as_ptr().add(PAGES * PAGE).cast::<Request>();
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
