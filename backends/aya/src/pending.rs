//! Calls that have begun and not ended: the map `pending`.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
};

use aya::maps::{Map, MapData};
use nix::{errno::Errno, libc};

/// Entries by thread. They are counted, never read, so that their size need not be known at compile time,
/// as it must be for Aya's typed maps.
pub(crate) struct Pending(MapData);

/// `BPF_MAP_GET_NEXT_KEY`, include/uapi/linux/bpf.h.
const NEXT_KEY: libc::c_long = 4;

/// The part of `union bpf_attr` for access to elements, as far as `BPF_MAP_GET_NEXT_KEY` has it.
#[repr(C)]
struct KeyAttributes {
    map: u32,
    reserved: u32,
    key: *const u64,
    next_key: *mut u64,
}

impl Pending {
    /// None if the map is not a hash map with keys of eight bytes.
    pub(crate) fn open(map: Map) -> Option<Self> {
        let Map::HashMap(map) = map else { return None };
        let key_size = map.info().ok()?.key_size() as usize;
        (key_size == size_of::<u64>()).then_some(Pending(map))
    }

    /// How many there are. Only exact while no program runs.
    pub(crate) fn count(&self) -> Result<u64, Errno> {
        let mut key: Option<u64> = None;
        let mut count = 0;
        loop {
            match self.key_after(key.as_ref()) {
                Ok(next) => key = Some(next),
                Err(Errno::ENOENT) => return Ok(count),
                Err(errno) => return Err(errno),
            }
            count += 1;
        }
    }

    /// The first key, or the one after `key`.
    fn key_after(&self, key: Option<&u64>) -> Result<u64, Errno> {
        let mut next = 0;
        let attributes = KeyAttributes {
            map: self.0.fd().as_fd().as_raw_fd().cast_unsigned(),
            reserved: 0,
            key: key.map_or(ptr::null(), ptr::from_ref),
            next_key: &raw mut next,
        };
        // SAFETY: the keys of this map have eight bytes (`open` checks that); the kernel reads one key and
        // writes the other, and both outlive the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                NEXT_KEY,
                &raw const attributes,
                size_of::<KeyAttributes>(),
            )
        };
        Errno::result(done).map(|_| next)
    }
}
