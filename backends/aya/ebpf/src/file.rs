//! Files and their names.

use kernlab_abi::{Layout, NAME_LEN, ProgramConfig};

use crate::KernelMemory;

/// Reads what belongs to files, by the plan's layout. All addresses may be anything: what can't be
/// read is 0, and the name of a dentry that can't be read is empty.
#[derive(Clone, Copy)]
pub struct FileReader {
    /// Guarded reads.
    pub memory: KernelMemory,
    /// Where the fields are.
    pub layout: &'static Layout,
}

impl FileReader {
    /// A reader with the plan's layout.
    #[inline(always)]
    pub fn new(config: &'static ProgramConfig) -> Self {
        FileReader { memory: KernelMemory::new(config), layout: &config.layout }
    }

    /// The pointer that is `offset` bytes behind `base`.
    #[inline(always)]
    pub fn pointer(self, base: u64, offset: u32) -> u64 {
        self.memory.read_u64(base.wrapping_add(offset.into()))
    }

    /// Writes a dentry's name: that of the file in its directory.
    ///
    /// # Safety
    ///
    /// `to` is valid for writes.
    #[inline(always)]
    pub unsafe fn write_name(self, dentry: u64, to: *mut [u8; NAME_LEN]) {
        let name = dentry.wrapping_add(self.layout.dentry_d_name.into());
        let name = self.pointer(name, self.layout.qstr_name);
        // SAFETY: valid by this function's contract.
        unsafe { self.memory.read_string(name, to) };
    }
}
