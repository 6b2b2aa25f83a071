//! Guarded reads of memory.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
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

    /// Any address at all: only for the program that shows what the guard is for.
    #[inline(always)]
    pub fn unguarded() -> Self {
        KernelMemory { lowest: 0 }
    }

    /// Is `address` one that may be read?
    #[inline(always)]
    pub fn contains(self, address: u64) -> bool {
        address >= self.lowest
    }

    /// The value at `address`, unless it can't be read.
    #[inline(always)]
    pub fn read<T: KernelValue>(self, address: u64) -> Option<T> {
        if !self.contains(address) {
            return None;
        }
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes the bytes of `value` or fails, whatever the address.
        let status = unsafe {
            bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as _)
        };
        // SAFETY: the helper succeeded, so it wrote the value, and any bytes are one.
        (status == 0).then(|| unsafe { value.assume_init() })
    }

    /// The value of the field at `offset` of the structure at `address`, unless it can't be read.
    #[inline(always)]
    pub fn read_field<T: KernelValue>(self, address: u64, offset: u32) -> Option<T> {
        self.read(address.wrapping_add(offset.into()))
    }

    /// The u64 at `address`; 0 if it can't be read.
    #[inline(always)]
    pub fn read_u64(self, address: u64) -> u64 {
        self.read(address).unwrap_or(0)
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

/// What can be read from kernel memory.
///
/// # Safety
///
/// Any bytes are a valid value.
pub unsafe trait KernelValue: Copy {}

// SAFETY: integers.
unsafe impl KernelValue for u16 {}
// SAFETY: integers.
unsafe impl KernelValue for u32 {}
// SAFETY: integers.
unsafe impl KernelValue for u64 {}
// SAFETY: an array of what any bytes are a valid value of.
unsafe impl<T: KernelValue, const LEN: usize> KernelValue for [T; LEN] {}

/// The traced process's half of the address space. Here as well, Aya's loader replaces the split
/// helper where the kernel lacks it.
#[derive(Clone, Copy)]
pub struct UserMemory {
    end: u64,
    tag: u64,
}

impl UserMemory {
    /// The range that the plan found.
    #[inline(always)]
    pub fn new(config: &ProgramConfig) -> Self {
        UserMemory { end: config.user_address_end, tag: config.user_address_tag }
    }

    /// Whether an address can belong to the process. Its tag is for the helper to judge.
    #[inline(always)]
    fn contains(self, address: u64) -> bool {
        address & !self.tag < self.end
    }

    /// As [`KernelMemory::read_string`].
    ///
    /// # Safety
    ///
    /// `to` is valid for writes.
    #[inline(always)]
    pub unsafe fn read_string<const LEN: usize>(self, address: u64, to: *mut [u8; LEN]) {
        let status = if self.contains(address) {
            // SAFETY: the helper writes no more than the `LEN` bytes that `to` has, whatever the
            // address.
            unsafe { bpf_probe_read_user_str(to.cast(), LEN as u32, address as *const _) }
        } else {
            -1
        };
        if status < 0 {
            // SAFETY: `to` is valid for writes by this function's contract, and not empty.
            unsafe { to.cast::<u8>().write(0) };
        }
    }
}

/// Where the stack of a probed function is.
pub trait StackMemory: Copy {
    /// The u64 at `address`; 0 if it can't be read.
    fn slot(self, address: u64) -> u64;
}

impl StackMemory for KernelMemory {
    #[inline(always)]
    fn slot(self, address: u64) -> u64 {
        self.read_u64(address)
    }
}

impl StackMemory for UserMemory {
    #[inline(always)]
    fn slot(self, address: u64) -> u64 {
        if !self.contains(address) {
            return 0;
        }
        let mut value = MaybeUninit::<u64>::uninit();
        // SAFETY: the helper writes the eight bytes of `value` or fails, whatever the address.
        let status =
            unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), 8, address as *const _) };
        // SAFETY: the helper succeeded, so it wrote the value.
        if status == 0 { unsafe { value.assume_init() } } else { 0 }
    }
}
