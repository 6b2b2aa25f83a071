//! Events of `syncsnoop`.

use std::fmt;

use kernlab_abi::{
    CALL_FDATASYNC, CALL_FSYNC, CALL_MSYNC, CALL_SYNC, CALL_SYNC_FILE_RANGE, CALL_SYNCFS, SyncEvent,
};
use serde::{Deserialize, Serialize};

use super::{Action, DecodeError, Event, read, with_header};
use crate::scenario::Tracer;

/// A system call that asks for data to be written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncCall {
    /// All file systems.
    Sync,
    /// The file system of a descriptor.
    Syncfs,
    /// A file with all of its metadata.
    Fsync,
    /// A file with as much metadata as it takes to read it back.
    Fdatasync,
    /// A range of a mapping.
    Msync,
    /// A range of a file, without metadata.
    SyncFileRange,
}

impl SyncCall {
    /// All calls with their number in an event.
    const ALL: [(u32, SyncCall); 6] = [
        (CALL_SYNC, SyncCall::Sync),
        (CALL_SYNCFS, SyncCall::Syncfs),
        (CALL_FSYNC, SyncCall::Fsync),
        (CALL_FDATASYNC, SyncCall::Fdatasync),
        (CALL_MSYNC, SyncCall::Msync),
        (CALL_SYNC_FILE_RANGE, SyncCall::SyncFileRange),
    ];
}

impl fmt::Display for SyncCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SyncCall::Sync => "sync",
            SyncCall::Syncfs => "syncfs",
            SyncCall::Fsync => "fsync",
            SyncCall::Fdatasync => "fdatasync",
            SyncCall::Msync => "msync",
            SyncCall::SyncFileRange => "sync_file_range",
        })
    }
}

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid SyncEvent.
    let event: SyncEvent = unsafe { read(Tracer::Syncsnoop, record)? };
    let call = SyncCall::ALL
        .into_iter()
        .find_map(|(number, call)| (number == event.call).then_some(call))
        .ok_or(DecodeError::SyncCall(event.call))?;
    Ok(with_header(&event.header, Action::Sync { call }))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{bytes_of, header},
        *,
    };

    fn call(number: u32) -> Result<Action, DecodeError> {
        let event = SyncEvent { header: header(), call: number, reserved: 0 };
        decode(bytes_of(&event)).map(|(_, event)| event.action)
    }

    #[test]
    fn every_number_is_one_call_and_no_other_is_guessed() {
        for (number, expected) in SyncCall::ALL {
            assert_eq!(call(number), Ok(Action::Sync { call: expected }));
        }
        let unknown = SyncCall::ALL.len() as u32;
        assert_eq!(call(unknown), Err(DecodeError::SyncCall(unknown)));
    }
}
