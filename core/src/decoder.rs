//! From the bytes of a buffer to events.

use std::collections::BTreeMap;

use kernlab_abi::{ADDRESS_WORDS, READ_LEN};

use crate::scenario::{Scenario, Tracer};

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
    /// A member that programs leave zero has a value.
    #[error("an event's reserved bytes are {0:#x}")]
    Reserved(u32),
    /// IPv4, but with more than 32 bits of address.
    #[error("the words {0:x?} are no IPv4 address")]
    Address([u32; ADDRESS_WORDS]),
    /// A rename that is neither half, or both.
    #[error("mask {0:#x} is not one half of a rename")]
    Mask(u32),
    /// A sync call that no program reports.
    #[error("{0} is not the number of a sync call")]
    SyncCall(u32),
    /// A read with an outcome that there isn't.
    #[error("{0} is not the outcome of a read")]
    ReadOutcome(u32),
    /// Bytes of an address that was refused.
    #[error("{} was read where nothing could be read", .0.escape_ascii())]
    RefusedRead([u8; READ_LEN]),
}

/// Turns the bytes of a session into events.
#[derive(Debug)]
pub struct Decoder<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) symbols: BTreeMap<u64, &'a str>,
    pub(crate) kernel_address_min: u64,
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
}
