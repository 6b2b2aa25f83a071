//! What depends on the processor architecture that this program is compiled for: one file for each.

use std::{io, num::NonZeroUsize};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
mod this;

pub(crate) use self::this::*;

/// Does the kernel run with the larger of its address spaces: five-level page tables, or 52 bits? It gives a
/// process an address beyond the smaller one only to a request for such: Documentation/arch/arm64/memory.rst,
/// Documentation/arch/x86/x86_64/5level-paging.rst.
pub(crate) fn large_address_space() -> io::Result<bool> {
    const BEYOND: NonZeroUsize = NonZeroUsize::new(1 << 50).unwrap();
    const PAGE: NonZeroUsize = NonZeroUsize::new(64 << 10).unwrap();
    // SAFETY: this is a new mapping, to which no other pointer exists. Without MAP_FIXED, it replaces
    // none.
    let mapped =
        unsafe { mmap_anonymous(Some(BEYOND), PAGE, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) }?;
    // SAFETY: it was made above, and nothing points to it.
    unsafe { munmap(mapped, PAGE.get()) }?;
    Ok(mapped.addr().get() >= 1 << 48)
}
