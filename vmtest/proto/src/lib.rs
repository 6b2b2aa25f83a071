//! Messages between the host and the guest's agent, and the frames that carry them.
//!
//! The protocol is half duplex: the agent sends the first message ([`Hello`]), then the host sends
//! one request at a time and reads until its answer is complete. Large chunks of output are an exception:
//! the host confirms each ([`GuestMessage::Waiting`]). A request is never longer than
//! [`MAX_REQUEST`], so that it fits into the guest's terminal buffers even when the agent is busy:
//! a serial port without flow control drops what doesn't fit.
//!
//! Neither side trusts the other's bytes: sizes are checked before anything is allocated, every
//! payload has a checksum, and invalid input gives an error, never a panic. There is no
//! resynchronisation: an error ends the connection.
//!
//! Bytes arrive as they like, and are messages as soon as they are complete:
//!
//! ```
//! use kernlab_proto::{Decoder, HostMessage, encode};
//!
//! let bytes = encode(&HostMessage::PowerOff)?;
//! let mut decoder = Decoder::<HostMessage>::default();
//! let (first, rest) = bytes.split_at(3);
//! decoder.push(first);
//! assert_eq!(decoder.next_message()?, None);
//! decoder.push(rest);
//! assert_eq!(decoder.next_message()?, Some(HostMessage::PowerOff));
//! # Ok::<(), kernlab_proto::FrameError>(())
//! ```

#![warn(missing_docs)]

mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod message;
mod packed;
pub mod suite;

pub use frame::{Decoder, FrameError, MAX_ANSWER, MAX_REQUEST, VERSION, checksum, encode};
pub use message::{
    Begin, CHUNK, Direction, Exit, GuestMessage, Hello, HostMessage, Input, LOG_GAP, Limits, Piece,
    Proceed, Run, RunReport, Stream, TerminalSize, WAITING, log_mark,
};
