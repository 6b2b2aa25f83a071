//! Memory with known physical addresses.

use std::{fs::File, io, num::NonZeroUsize, os::unix::fs::FileExt, ptr::NonNull};

use nix::{
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap},
    unistd::{SysconfVar, sysconf},
};

/// The unit of sizes and addresses here. The kernel's pages are as large, or larger: those that are in one
/// of the kernel's follow each other in memory.
pub(crate) const PAGE: usize = 4096;

/// `/proc/self/pagemap`: the page is in memory; the page's number.
/// Documentation/admin-guide/mm/pagemap.rst
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// Locked pages. They stay in memory, but the kernel may move them to other physical addresses.
pub(crate) struct Pinned<const PAGES: usize> {
    memory: NonNull<u8>,
    pagemap: File,
    /// The size of the kernel's pages.
    kernel_page: usize,
}

impl<const PAGES: usize> Pinned<PAGES> {
    const LENGTH: NonZeroUsize = NonZeroUsize::new(PAGES * PAGE).unwrap();

    /// Allocates the pages. Fails on kernels that hide physical addresses.
    pub(crate) fn new() -> io::Result<Self> {
        let pagemap = File::open("/proc/self/pagemap")?;
        let kernel_page = sysconf(SysconfVar::PAGE_SIZE)?;
        let kernel_page = kernel_page.and_then(|size| usize::try_from(size).ok()).unwrap_or(PAGE);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_LOCKED | MapFlags::MAP_POPULATE;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: this is a new mapping, to which no other pointer exists.
        let memory = unsafe { mmap_anonymous(None, Self::LENGTH, access, flags) }?.cast();
        let pinned = Pinned { memory, pagemap, kernel_page };
        pinned.frames()?;
        Ok(pinned)
    }

    /// The pages' physical addresses.
    pub(crate) fn frames(&self) -> io::Result<[u64; PAGES]> {
        let of_one = self.kernel_page / PAGE;
        let mut entries = vec![0; PAGES.div_ceil(of_one) * 8];
        let first = self.memory.as_ptr().addr() / self.kernel_page;
        self.pagemap.read_exact_at(&mut entries, (first * 8) as u64)?;
        let mut frames = [0; PAGES];
        for (frames, entry) in frames.chunks_mut(of_one).zip(entries.as_chunks::<8>().0) {
            let entry = u64::from_le_bytes(*entry);
            let number = entry & FRAME;
            // Without the permission to see the numbers, all of them are zero.
            if entry & PRESENT == 0 || number == 0 {
                return Err(io::Error::other("the kernel hides physical addresses"));
            }
            for (index, frame) in frames.iter_mut().enumerate() {
                *frame = number * self.kernel_page as u64 + (index * PAGE) as u64;
            }
        }
        Ok(frames)
    }

    /// The first byte.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.memory.as_ptr()
    }

    /// The content, which no device may write to at the same time.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is that long, and is ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), PAGES * PAGE) }
    }
}

impl<const PAGES: usize> Drop for Pinned<PAGES> {
    fn drop(&mut self) {
        // SAFETY: `new` made the mapping with this length, and no other pointer to it exists. An
        // error would mean that the mapping is already gone.
        let _ = unsafe { munmap(self.memory.cast(), PAGES * PAGE) };
    }
}
