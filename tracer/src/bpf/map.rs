//! Maps, and access to the one kind that we use ourselves.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;

use super::{Command, bpf, own};

/// `enum bpf_map_type`, include/uapi/linux/bpf.h.
#[derive(Clone, Copy)]
pub(crate) enum MapKind {
    Array = 2,
    RingBuffer = 27,
}

/// `BPF_MAP_CREATE`'s part of `union bpf_attr`, as far as we use it.
#[repr(C)]
struct CreateAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// The part of `union bpf_attr` for access to elements.
#[repr(C)]
struct ElementAttributes {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Creates a map.
pub(crate) fn create(
    kind: MapKind,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
) -> Result<OwnedFd, Errno> {
    create_of_type(kind as u32, key_size, value_size, max_entries)
}

/// Creates a map of a type that the kernel may not know.
pub(crate) fn create_of_type(
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
) -> Result<OwnedFd, Errno> {
    let mut attributes = CreateAttributes { map_type, key_size, value_size, max_entries };
    // SAFETY: the command follows no pointers, and returns a new descriptor.
    Ok(unsafe { own(bpf(Command::MapCreate, &mut attributes)?) })
}

/// A `BPF_MAP_TYPE_ARRAY`: programs write its values, and user space reads them.
pub(crate) struct Array {
    map: OwnedFd,
    value_size: usize,
}

impl Array {
    /// An array of zeroed values.
    pub(crate) fn create(value_size: usize, max_entries: u32) -> Result<Self, Errno> {
        // Array values are 8-byte aligned, and user space sees the padding: kernel/bpf/arraymap.c.
        let value_size = value_size.next_multiple_of(8);
        let map = create(MapKind::Array, 4, value_size as u32, max_entries)?;
        Ok(Array { map, value_size })
    }

    /// For [`Assembler::set_map`](super::Assembler::set_map).
    pub(crate) fn descriptor(&self) -> i32 {
        self.map.as_raw_fd()
    }

    /// Copies the value at `index` to `value`, which has its size.
    pub(crate) fn read(&self, index: u32, value: &mut [u8]) -> Result<(), Errno> {
        assert_eq!(value.len(), self.value_size, "the kernel writes whole values");
        let value = value.as_mut_ptr() as u64;
        // SAFETY: the key is a u32, the value was just checked to have room for what is written.
        unsafe { self.access(Command::MapLookup, index, value) }
    }

    /// # Safety
    ///
    /// `value` must be valid for what the command does with it.
    unsafe fn access(&self, command: Command, index: u32, value: u64) -> Result<(), Errno> {
        let mut attributes = ElementAttributes {
            map: self.map.as_raw_fd() as u32,
            reserved: 0,
            key: std::ptr::from_ref(&index) as u64,
            value,
            flags: 0,
        };
        // SAFETY: the key outlives the call, and the caller vouches for the value.
        unsafe { bpf(command, &mut attributes) }.map(drop)
    }
}
