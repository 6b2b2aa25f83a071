//! What programs keep of what is under way: their hash maps.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use kernlab_core::backend::RESULTS;
use nix::{errno::Errno, libc};

/// Maps of state by their names. Entries are counted, never read, so that their sizes need not be known at
/// compile time, as they must be for Aya's typed maps.
pub(crate) struct State(BTreeMap<String, StateMap>);

struct StateMap {
    map: MapData,
    key_size: usize,
}

/// `BPF_MAP_GET_NEXT_KEY`, include/uapi/linux/bpf.h.
const NEXT_KEY: libc::c_long = 4;

/// The part of `union bpf_attr` for access to elements, as far as `BPF_MAP_GET_NEXT_KEY` has it.
#[repr(C)]
struct KeyAttributes {
    map: u32,
    reserved: u32,
    key: *const u8,
    next_key: *mut u8,
}

impl State {
    /// Takes every hash map of an object but the one with results.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, aya::maps::MapError> {
        let is_state = |(name, map): (&str, &Map)| {
            (matches!(map, Map::HashMap(_)) && name != RESULTS).then(|| name.to_owned())
        };
        let names: Vec<_> = ebpf.maps().filter_map(is_state).collect();
        let mut state = BTreeMap::new();
        for name in names {
            if let Some(Map::HashMap(map)) = ebpf.take_map(&name) {
                let key_size = map.info()?.key_size() as usize;
                state.insert(name, StateMap { map, key_size });
            }
        }
        Ok(State(state))
    }

    /// How many entries each map has. Only exact while no program runs.
    pub(crate) fn count(&self) -> Result<BTreeMap<String, u64>, Errno> {
        self.0.iter().map(|(name, map)| Ok((name.clone(), map.count()?))).collect()
    }
}

impl StateMap {
    fn count(&self) -> Result<u64, Errno> {
        let mut key: Option<Vec<u8>> = None;
        let mut count = 0;
        loop {
            match self.key_after(key.as_deref()) {
                Ok(next) => key = Some(next),
                Err(Errno::ENOENT) => return Ok(count),
                Err(errno) => return Err(errno),
            }
            count += 1;
        }
    }

    /// The first key, or the one after `key`.
    fn key_after(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let mut next = vec![0; self.key_size];
        let attributes = KeyAttributes {
            map: self.map.fd().as_fd().as_raw_fd().cast_unsigned(),
            reserved: 0,
            key: key.map_or(ptr::null(), <[u8]>::as_ptr),
            next_key: next.as_mut_ptr(),
        };
        // SAFETY: the kernel reads one key and writes the other. Both have the size of this map's keys,
        // and outlive the call.
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
