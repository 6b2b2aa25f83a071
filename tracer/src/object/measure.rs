//! How much work a program is for the verifier: loads it once more, with a log that counts.

use std::{
    ffi::CStr,
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd},
    sync::OnceLock,
};

use kernlab_core::object_record::processed_instructions;
use nix::errno::Errno;

use crate::bpf::{self, Sizes};

/// What was measured of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) verified_instructions: Option<u64>,
    pub(super) xlated_bytes: Option<u32>,
    pub(super) jited_bytes: Option<u32>,
    /// The end of the verifier's log, of a program that was refused.
    pub(super) log: Option<String>,
}

/// A copy of the attributes of a call: `union bpf_attr`, include/uapi/linux/bpf.h.
#[repr(align(8))]
pub(super) struct Attributes {
    bytes: [u8; Attributes::ROOM],
    size: usize,
}

impl Attributes {
    /// They have 152 bytes in 6.18.
    const ROOM: usize = 512;

    const LOG_LEVEL: usize = 24;
    const LOG_SIZE: usize = 28;
    const LOG: usize = 32;
    const MAP_NAME: usize = 28;
    const PROGRAM_NAME: usize = 48;

    /// # Safety
    ///
    /// There must be `size` bytes at `start`.
    pub(super) unsafe fn copy(start: *const u8, size: usize) -> Self {
        let size = size.min(Self::ROOM);
        let mut bytes = [0; Self::ROOM];
        // SAFETY: the caller's promise, and there is room.
        unsafe { std::ptr::copy_nonoverlapping(start, bytes.as_mut_ptr(), size) };
        Attributes { bytes, size }
    }

    /// The type of a program or a map.
    pub(super) fn kind(&self) -> u32 {
        self.word(0)
    }

    pub(super) fn map_name(&self) -> String {
        self.name(Self::MAP_NAME)
    }

    pub(super) fn program_name(&self) -> String {
        self.name(Self::PROGRAM_NAME)
    }

    /// Whether the loader asks for the verifier's log.
    pub(super) fn asks_for_log(&self) -> bool {
        self.word(Self::LOG_LEVEL) != 0
    }

    /// # Safety
    ///
    /// What the attributes point to must be there.
    unsafe fn load(&self) -> Result<OwnedFd, Errno> {
        const PROG_LOAD: libc::c_long = 5;
        // SAFETY: the caller's promise.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, self.bytes.as_ptr(), self.size) };
        // SAFETY: a descriptor that is new.
        Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    fn with_log(&self, level: u32, log: &mut [u8]) -> Attributes {
        let mut copy = Attributes { bytes: self.bytes, size: self.size };
        copy.put(Self::LOG_LEVEL, &level.to_ne_bytes());
        copy.put(Self::LOG_SIZE, &(log.len() as u32).to_ne_bytes());
        copy.put(Self::LOG, &(log.as_mut_ptr() as u64).to_ne_bytes());
        copy
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn word(&self, at: usize) -> u32 {
        self.bytes[at..at + 4].try_into().map_or(0, u32::from_ne_bytes)
    }

    fn name(&self, at: usize) -> String {
        let name = CStr::from_bytes_until_nul(&self.bytes[at..at + 16]);
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// As much of a log as is kept.
const KEPT: usize = 64 << 10;

fn end_of(log: &[u8]) -> Option<String> {
    let start = log.len().saturating_sub(KEPT);
    (!log.is_empty()).then(|| String::from_utf8_lossy(&log[start..]).into_owned())
}

/// Measures a program that was just loaded, or refused.
///
/// # Safety
///
/// What the attributes point to must be there.
pub(super) unsafe fn measure(attributes: &Attributes, result: Result<i32, i32>) -> Measured {
    let sizes = match result {
        // SAFETY: the loader has just got the descriptor, and keeps it.
        Ok(fd) => bpf::sizes(unsafe { BorrowedFd::borrow_raw(fd) }).unwrap_or_default(),
        Err(_) => Sizes::default(),
    };
    let log = |level| {
        let mut log = vec![0; LONGEST];
        // SAFETY: the caller's promise, and the log outlives the call.
        let _program = unsafe { attributes.with_log(level, &mut log).load() };
        let length = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
        end_of(&log[..length])
    };
    let mut measured = Measured {
        verified_instructions: Some(sizes.verified_instructions.into()).filter(|&count| count > 0),
        xlated_bytes: Some(sizes.xlated_bytes).filter(|&bytes| bytes > 0),
        jited_bytes: Some(sizes.jited_bytes).filter(|&bytes| bytes > 0),
        log: None,
    };
    if measured.verified_instructions.is_some() {
        return measured;
    }
    let count = |log: &String| processed_instructions(log).filter(|&count| count > 0);
    let short = counts_alone().then(|| log(STATISTICS)).flatten();
    measured.verified_instructions = short.as_ref().and_then(count);
    if result.is_err() || !counts_alone() {
        let fits = measured.verified_instructions.is_none_or(|count| count <= MOST_LISTED);
        let long = fits.then(|| log(INSTRUCTIONS)).flatten();
        let counted = measured.verified_instructions;
        measured.verified_instructions = counted.or_else(|| long.as_ref().and_then(count));
        measured.log = long.or(short).filter(|_| result.is_err());
    }
    measured
}

/// A log that lists more instructions would not fit into the longest, and take long to write.
const MOST_LISTED: u64 = 100_000;

/// The longest log that every kernel takes: `UINT_MAX >> 8`, kernel/bpf/verifier.c.
const LONGEST: usize = 0xff_ffff;

/// `BPF_LOG_LEVEL1`, include/linux/bpf_verifier.h.
const INSTRUCTIONS: u32 = 1;

/// `BPF_LOG_STATS`.
const STATISTICS: u32 = 4;

/// Whether a log can have statistics and no instructions: from 5.2 on. Before, every level but zero lists
/// all instructions.
pub(super) fn counts_alone() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mut log = vec![0; KEPT];
        let loaded = bpf::load_with_log(STATISTICS, &mut log);
        let length = log.iter().position(|&byte| byte == 0).unwrap_or(0);
        let log = String::from_utf8_lossy(&log[..length]);
        loaded.is_ok() && processed_instructions(&log).is_some() && !log.contains("exit")
    })
}
