//! Messages between the host and the guest's agent, and the frames that carry them.
//!
//! The conversation is half duplex: the agent speaks first ([`Hello`]), then the host sends one
//! request at a time and reads until its answer is complete. A request is never longer than
//! [`MAX_REQUEST`], so that it fits into the guest's terminal buffers even when the agent is busy:
//! a serial port without flow control drops what doesn't.
//!
//! Neither side trusts the other's bytes: sizes are bounded before anything is allocated, every
//! payload has a checksum, and whatever is wrong is an error, never a panic. There is no
//! resynchronisation: after an error the connection is over.

#![warn(missing_docs)]

mod frame;
mod message;
mod packed;

pub use frame::{Decoder, FrameError, MAX_ANSWER, MAX_REQUEST, VERSION, encode};
pub use message::{
    Begin, CHUNK, Direction, Exit, GuestMessage, Hello, HostMessage, Input, Limits, Proceed, Run,
    RunReport, Stream, TerminalSize, log_mark,
};
