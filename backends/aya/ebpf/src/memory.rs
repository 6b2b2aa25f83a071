//! Guarded reads of kernel memory.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use kernlab_abi::ProgramConfig;

/// The kernel's half of the address space.
///
/// Aya's loader replaces the split helpers with `bpf_probe_read` and `bpf_probe_read_str` on
/// kernels that lack them (before 5.5).
#[derive(Clone, Copy)]
pub struct KernelMemory {
    lowest: u64,
}

impl KernelMemory {
    /// The range that the plan found.
    #[inline(always)]
    pub fn new(config: &ProgramConfig) -> Self {
        KernelMemory { lowest: config.kernel_address_min }
    }

    #[inline(always)]
    fn contains(self, address: u64) -> bool {
        address >= self.lowest
    }

    /// The u64 at `address`; 0 if it can't be read.
    #[inline(always)]
    pub fn read_u64(self, address: u64) -> u64 {
        if !self.contains(address) {
            return 0;
        }
        let mut value = MaybeUninit::<u64>::uninit();
        // SAFETY: the helper writes the eight bytes of `value` or fails, whatever the address.
        let status =
            unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), 8, address as *const _) };
        // SAFETY: the helper succeeded, so it wrote the value.
        if status == 0 { unsafe { value.assume_init() } } else { 0 }
    }

    /// Copies the string at `address` to `to`, cut to `LEN` bytes, terminator included; the empty
    /// string if it can't be read. What follows the terminator is undefined.
    ///
    /// # Safety
    ///
    /// `to` is valid for writes.
    #[inline(always)]
    pub unsafe fn read_string<const LEN: usize>(self, address: u64, to: *mut [u8; LEN]) {
        let status = if self.contains(address) {
            // SAFETY: the helper writes no more than the `LEN` bytes that `to` has, whatever the
            // address.
            unsafe { bpf_probe_read_kernel_str(to.cast(), LEN as u32, address as *const _) }
        } else {
            -1
        };
        if status < 0 {
            // SAFETY: `to` is valid for writes by this function's contract, and not empty.
            unsafe { to.cast::<u8>().write(0) };
        }
    }
}
