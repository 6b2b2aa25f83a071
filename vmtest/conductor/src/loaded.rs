//! The BPF programs and maps in the kernel, asked through bpf(2).

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use kernlab_proto::suite::{LoadedMap, LoadedProgram};

/// `enum bpf_cmd` of include/uapi/linux/bpf.h.
const PROG_GET_NEXT_ID: i32 = 11;
const MAP_GET_NEXT_ID: i32 = 12;
const PROG_GET_FD_BY_ID: i32 = 13;
const MAP_GET_FD_BY_ID: i32 = 14;
const OBJ_GET_INFO_BY_FD: i32 = 15;

/// The part of `union bpf_attr` that these commands read and write: three words, or a descriptor,
/// a length and an address.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    first: u32,
    second: u32,
    address: u64,
}

fn bpf(command: i32, attributes: &mut Attributes) -> io::Result<i64> {
    let size = size_of::<Attributes>();
    // SAFETY: the kernel reads and writes at most `size` bytes of the attributes, and the buffer
    // that `information` names.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The kernel's numbers for all programs; an error if it does not tell.
pub(crate) fn program_ids() -> io::Result<Vec<u32>> {
    ids(PROG_GET_NEXT_ID)
}

/// The kernel's numbers for all maps; an error if it does not tell.
pub(crate) fn map_ids() -> io::Result<Vec<u32>> {
    ids(MAP_GET_NEXT_ID)
}

fn ids(command: i32) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut attributes = Attributes::default();
    loop {
        match bpf(command, &mut attributes) {
            Ok(_) => ids.push(attributes.second),
            // The last one has no next.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(ids),
            Err(error) => return Err(error),
        }
        attributes = Attributes { first: attributes.second, ..Attributes::default() };
    }
}

// Where members of `struct bpf_prog_info` are: name, recursion_misses, verified_insns.
const PROGRAM_NAME: usize = 64;
const MISSED: usize = 208;
const VERIFIED: usize = 216;
// Where members of `struct bpf_map_info` are: max_entries, name.
const MAX_ENTRIES: usize = 16;
const MAP_NAME: usize = 24;
/// The length of a name, with its terminator.
const NAME: usize = 16;

/// A program by its number; none if it is gone.
pub(crate) fn program(id: u32) -> Option<LoadedProgram> {
    // `struct bpf_prog_info`: include/uapi/linux/bpf.h. Older kernels fill in less of it.
    let (info, known) = information(PROG_GET_FD_BY_ID, id)?;
    Some(LoadedProgram {
        id,
        kind: word(&info, 0),
        name: name(&info[PROGRAM_NAME..][..NAME]),
        verified_instructions: (known as usize >= VERIFIED + 4).then(|| word(&info, VERIFIED)),
        missed_runs: (known as usize >= MISSED + 8)
            .then(|| u64::from(word(&info, MISSED)) | u64::from(word(&info, MISSED + 4)) << 32),
    })
}

/// A map by its number; none if it is gone.
pub(crate) fn map(id: u32) -> Option<LoadedMap> {
    // `struct bpf_map_info`: include/uapi/linux/bpf.h.
    let (info, _) = information(MAP_GET_FD_BY_ID, id)?;
    Some(LoadedMap {
        kind: word(&info, 0),
        name: name(&info[MAP_NAME..][..NAME]),
        max_entries: word(&info, MAX_ENTRIES),
    })
}

/// What the kernel says of an object, and how many bytes it filled in.
fn information(command: i32, id: u32) -> Option<([u8; 256], u32)> {
    let fd = bpf(command, &mut Attributes { first: id, ..Attributes::default() }).ok()?;
    // SAFETY: the kernel has just opened the descriptor for this call.
    let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).ok()?) };
    let mut info = [0_u8; 256];
    let mut attributes = Attributes {
        first: fd.as_raw_fd().cast_unsigned(),
        second: info.len() as u32,
        address: (&raw mut info).expose_provenance() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes).ok()?;
    Some((info, attributes.second))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// As the kernel's headers have them.
    #[test]
    fn numbers_are_where_the_kernel_writes_them() {
        let theirs = [
            offset_of!(libbpf_sys::bpf_prog_info, recursion_misses),
            offset_of!(libbpf_sys::bpf_prog_info, verified_insns),
            offset_of!(libbpf_sys::bpf_prog_info, name),
            offset_of!(libbpf_sys::bpf_map_info, name),
            offset_of!(libbpf_sys::bpf_map_info, max_entries),
        ];
        assert_eq!([MISSED, VERIFIED, PROGRAM_NAME, MAP_NAME, MAX_ENTRIES], theirs);
    }
}
