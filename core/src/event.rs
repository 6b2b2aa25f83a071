//! What tracers report, in the terms of the traced program.

mod filelife;
mod filetop;
mod guarded_read;
mod inotify;
mod many_args;
mod sock_alloc;
mod socket_write;
mod syncsnoop;
mod sys_write;
mod user_args;

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use kernlab_abi::{
    CallEvent, EventHeader, FileLifeEvent, FileTotals, InotifyEvent, ReadEvent, SockAllocEvent,
    SocketWriteEvent, SyncEvent, SysWriteEvent, UserCallEvent,
};
use serde::{Deserialize, Serialize};

use crate::{
    scenario::{Scenario, Tracer},
    socket::{Family, Protocol, SocketType},
};

pub use filetop::FileKind;
pub use syncsnoop::SyncCall;

/// One observation of a tracer, or one claim of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// What the thread did.
    pub action: Action,
}

/// What a thread did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A write(2) that did not fail.
    Write {
        /// Where to.
        fd: i32,
        /// Bytes asked for.
        count: u64,
        /// Bytes written.
        ret: i64,
    },
    /// A socket got its file.
    SocketAllocated {
        /// Of this family.
        family: Family,
        /// Of this type.
        socket_type: SocketType,
    },
    /// A write to a socket that did not fail.
    SocketWrite {
        /// Where to.
        fd: i32,
        /// Bytes written.
        bytes: i64,
        /// The socket's family.
        family: Family,
        /// The socket's protocol.
        protocol: Protocol,
        /// The socket's own address: what getsockname(2) says in the families of the internet.
        local: Option<SocketAddr>,
        /// The address of its peer, if it is connected to one: what getpeername(2) says. Where a
        /// socket that isn't connected sends to is not a property of the socket.
        remote: Option<SocketAddr>,
    },
    /// Writes of a thread to one place that did not fail, each longer than the one before: how
    /// bursts are told.
    Writes {
        /// Where to.
        fd: i32,
        /// How many.
        calls: u64,
        /// Bytes of the first.
        shortest: u64,
        /// Bytes of the last.
        longest: u64,
    },
    /// Half of a rename, as an inotify descriptor will tell it.
    Rename {
        /// Which half.
        half: RenameHalf,
        /// Is the entry a directory?
        directory: bool,
        /// Ties the halves together.
        cookie: u32,
        /// The entry's name, bytes outside of printable ASCII escaped.
        name: String,
    },
    /// A call of a kernel function.
    Call {
        /// Its symbol.
        function: String,
        /// Every argument with its parameter's name, in order.
        arguments: Vec<(String, Value)>,
    },
    /// All that the thread has read from and written to a file.
    Transferred {
        /// What kind of file.
        kind: FileKind,
        /// The name that it was opened by, bytes outside of printable ASCII escaped.
        name: String,
        /// Calls that read.
        reads: u64,
        /// Bytes that they returned.
        bytes_read: u64,
        /// Calls that wrote.
        writes: u64,
        /// Bytes that they took.
        bytes_written: u64,
    },
    /// The end of a file whose creation was seen.
    Unlinked {
        /// The name at the end, bytes outside of printable ASCII escaped.
        name: String,
        /// Nanoseconds since the creation.
        lifetime: u64,
    },
    /// A call that asks for data to be written back, whatever came of it.
    Sync {
        /// Which one.
        call: SyncCall,
    },
    /// A call of a function in user space, with its result.
    UserCall {
        /// Its symbol.
        function: String,
        /// Every argument, in order.
        arguments: Vec<i32>,
        /// What it returned.
        ret: i32,
    },
    /// An attempt to read kernel memory.
    Read {
        /// Where.
        address: u64,
        /// What came of it.
        outcome: ReadOutcome,
    },
}

/// What came of an attempt to read kernel memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadOutcome {
    /// These bytes were there, those outside of printable ASCII escaped.
    Read(String),
    /// The program refused the address.
    RefusedByGuard,
    /// The kernel refused the address.
    RefusedByKernel,
}

/// The side of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenameHalf {
    /// `IN_MOVED_FROM`.
    MovedFrom,
    /// `IN_MOVED_TO`.
    MovedTo,
}

/// An argument, as far as it can be known from outside the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A number.
    Number(i128),
    /// The null pointer.
    Null,
    /// An address in user space.
    User(u64),
    /// The address of this symbol.
    Symbol(String),
    /// Some other kernel address.
    Kernel,
    /// A string, bytes outside of printable ASCII escaped.
    Text(String),
}

/// Why bytes from a buffer are not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A record has another size than the event's structure.
    #[error("an event of {tracer} has {expected} bytes, got {got}")]
    Size {
        /// Whose event.
        tracer: Tracer,
        /// The size of the structure.
        expected: usize,
        /// The size of the record.
        got: usize,
    },
    /// A rename that is neither half, or both.
    #[error("mask {0:#x} is not one half of a rename")]
    Mask(u32),
    /// A sync call that no program reports.
    #[error("{0} is not the number of a sync call")]
    SyncCall(u32),
    /// A read with an outcome that there isn't.
    #[error("{0} is not the outcome of a read")]
    ReadOutcome(u32),
}

/// The bytes of one event of `tracer`.
pub fn record_size(tracer: Tracer) -> usize {
    match tracer {
        Tracer::SysWrite => size_of::<SysWriteEvent>(),
        Tracer::SockAlloc => size_of::<SockAllocEvent>(),
        Tracer::SocketWrite => size_of::<SocketWriteEvent>(),
        Tracer::Inotify => size_of::<InotifyEvent>(),
        Tracer::ManyArgs => size_of::<CallEvent>(),
        Tracer::Filetop => size_of::<FileTotals>(),
        Tracer::Filelife => size_of::<FileLifeEvent>(),
        Tracer::Syncsnoop => size_of::<SyncEvent>(),
        Tracer::UserArgs => size_of::<UserCallEvent>(),
        Tracer::GuardedRead => size_of::<ReadEvent>(),
    }
}

/// Turns the bytes of a session into events.
#[derive(Debug)]
pub struct Decoder<'a> {
    scenario: &'a Scenario,
    symbols: BTreeMap<u64, &'a str>,
    kernel_address_min: u64,
}

impl<'a> Decoder<'a> {
    /// A decoder for the events of one scenario on one kernel. `symbols` are names with addresses.
    pub fn new(
        scenario: &'a Scenario,
        symbols: &'a BTreeMap<String, u64>,
        kernel_address_min: u64,
    ) -> Self {
        let symbols = symbols.iter().map(|(name, &address)| (address, name.as_str())).collect();
        Decoder { scenario, symbols, kernel_address_min }
    }

    /// The event in `record`, with the time that orders it.
    pub fn decode(&self, record: &[u8]) -> Result<(u64, Event), DecodeError> {
        match self.scenario.tracer {
            Tracer::SysWrite => sys_write::decode(record),
            Tracer::SockAlloc => sock_alloc::decode(record),
            Tracer::SocketWrite => socket_write::decode(record),
            Tracer::Inotify => inotify::decode(record),
            Tracer::ManyArgs => many_args::decode(self, record),
            Tracer::Filetop => filetop::decode(record),
            Tracer::Filelife => filelife::decode(record),
            Tracer::Syncsnoop => syncsnoop::decode(record),
            Tracer::UserArgs => user_args::decode(record),
            Tracer::GuardedRead => guarded_read::decode(record),
        }
    }
}

fn with_header(header: &EventHeader, action: Action) -> (u64, Event) {
    let event = Event { pid: header.tgid, tid: header.tid, comm: escape(&header.comm), action };
    (header.time, event)
}

/// # Safety
///
/// Every bit pattern of `T`'s size must be a valid `T`.
unsafe fn read<T: Copy>(tracer: Tracer, record: &[u8]) -> Result<T, DecodeError> {
    let expected = size_of::<T>();
    if record.len() != expected {
        return Err(DecodeError::Size { tracer, expected, got: record.len() });
    }
    // SAFETY: the record has T's size, and the caller promises that its bytes are a valid T.
    Ok(unsafe { record.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes up to the first zero, with everything but printable ASCII escaped.
pub fn escape(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes[..end].escape_ascii().to_string()
}

impl fmt::Display for RenameHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RenameHalf::MovedFrom => "moved_from",
            RenameHalf::MovedTo => "moved_to",
        })
    }
}

impl fmt::Display for ReadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadOutcome::Read(bytes) => write!(f, "\"{bytes}\""),
            ReadOutcome::RefusedByGuard => f.write_str("refused by the guard"),
            ReadOutcome::RefusedByKernel => f.write_str("refused by the kernel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use kernlab_abi::COMM_LEN;

    use super::*;

    pub(super) fn bytes_of<T: Copy>(value: &T) -> &[u8] {
        // SAFETY: the ABI's structures have no padding, so all their bytes are initialised.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
    }

    pub(super) fn header() -> EventHeader {
        let mut comm = [0xff; COMM_LEN];
        comm[..4].copy_from_slice(b"a\tb\0");
        EventHeader { time: 7, tgid: 1, tid: 2, comm }
    }

    #[test]
    fn a_record_of_another_size_is_refused() {
        let decoder = Decoder::new(&Scenario::ALL[0], &BTreeMap::new(), 0).decode(&[0; 5]);
        let expected = size_of::<SysWriteEvent>();
        assert_eq!(decoder, Err(DecodeError::Size { tracer: Tracer::SysWrite, expected, got: 5 }));
    }
}
