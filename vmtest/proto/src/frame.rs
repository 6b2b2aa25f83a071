//! Frames: a header of fixed size, then a payload.
//!
//! ```text
//! offset  0  4 bytes  "klab"
//!         4  2 bytes  version, little endian
//!         6  2 bytes  zero
//!         8  4 bytes  length of the payload, little endian
//!        12  4 bytes  CRC-32 (IEEE) of the payload, little endian
//!        16           payload: one message in postcard's encoding
//! ```
//!
//! Postcard rather than JSON: messages contain raw bytes of programs and their output, which JSON
//! would have to escape or inflate, and every byte costs a trap on an emulated serial port.

use std::marker::PhantomData;

use crate::message::Direction;

/// Version of header and messages. Host and agent are built together, so there is only one.
pub const VERSION: u16 = 2;
/// The longest payload of a request, in bytes. A Linux terminal buffers 64 KiB before it drops.
pub const MAX_REQUEST: usize = 32 * 1024;
/// The longest payload of an answer, in bytes.
pub const MAX_ANSWER: usize = 128 * 1024;

const MAGIC: [u8; 4] = *b"klab";
const HEADER: usize = 16;

/// Why bytes are not a message, or a message can't become bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes are not the start of a frame: those up to the first that is wrong.
    #[error("expected the start of a frame, found {0:02x?}")]
    Magic(Vec<u8>),
    /// The peer was built from other sources.
    #[error("the peer speaks version {theirs} of the protocol, expected {VERSION}")]
    Version {
        /// The version in the peer's header.
        theirs: u16,
    },
    /// The reserved part of the header is in use.
    #[error("reserved header field is {0:#x}, expected zero")]
    Reserved(u16),
    /// The payload is longer than this direction allows.
    #[error("payload of {length} bytes, at most {max} are allowed")]
    TooLong {
        /// The length in the header, or of the message.
        length: usize,
        /// The limit of this direction.
        max: usize,
    },
    /// The payload was damaged in transit.
    #[error("checksum of the payload is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// The checksum in the header.
        expected: u32,
        /// The checksum of the payload.
        found: u32,
    },
    /// The payload is intact, but is not a message.
    #[error("malformed message: {0}")]
    Payload(#[source] postcard::Error),
    /// Unexpected bytes follow the message in its frame.
    #[error("{0} bytes follow the message in its frame")]
    Trailing(usize),
}

/// The CRC-32 of bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// One message as a frame.
///
/// Fails if the message is longer than its direction allows.
pub fn encode<M: Direction>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER];
    frame = postcard::to_extend(message, frame).map_err(FrameError::Payload)?;
    let length = frame.len() - HEADER;
    let header_length = u32::try_from(length).ok().filter(|_| length <= M::MAX);
    let Some(header_length) = header_length else {
        return Err(FrameError::TooLong { length, max: M::MAX });
    };
    let checksum = crc32fast::hash(&frame[HEADER..]);
    frame[0..4].copy_from_slice(&MAGIC);
    frame[4..6].copy_from_slice(&VERSION.to_le_bytes());
    frame[8..12].copy_from_slice(&header_length.to_le_bytes());
    frame[12..16].copy_from_slice(&checksum.to_le_bytes());
    Ok(frame)
}

/// Decodes a stream of bytes, split anywhere, into messages.
///
/// Holds at most one frame of the direction's limit, plus the bytes of the last [`Decoder::push`].
#[derive(Debug)]
pub struct Decoder<M> {
    buffer: Vec<u8>,
    direction: PhantomData<fn() -> M>,
}

impl<M> Default for Decoder<M> {
    fn default() -> Self {
        Decoder { buffer: Vec::new(), direction: PhantomData }
    }
}

impl<M: Direction> Decoder<M> {
    /// Adds bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the stream may end here without cutting a frame.
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message, or `None` until more bytes arrive.
    ///
    /// An error is final: the bytes stay in the buffer, and give the same error again.
    pub fn next_message(&mut self) -> Result<Option<M>, FrameError> {
        let Some(header) = Header::parse(&self.buffer, M::MAX)? else { return Ok(None) };
        let Some(payload) = self.buffer[HEADER..].get(..header.length) else { return Ok(None) };
        let found = crc32fast::hash(payload);
        if found != header.checksum {
            return Err(FrameError::Checksum { expected: header.checksum, found });
        }
        let (message, rest) = postcard::take_from_bytes(payload).map_err(FrameError::Payload)?;
        if !rest.is_empty() {
            return Err(FrameError::Trailing(rest.len()));
        }
        self.buffer.drain(..HEADER + header.length);
        Ok(Some(message))
    }
}

struct Header {
    length: usize,
    checksum: u32,
}

impl Header {
    /// Rejects a header as early as its bytes allow, so that garbage never waits for more bytes.
    fn parse(bytes: &[u8], max: usize) -> Result<Option<Header>, FrameError> {
        if let Some(wrong) = MAGIC.iter().zip(bytes).position(|(expected, found)| expected != found)
        {
            return Err(FrameError::Magic(bytes[..=wrong].to_vec()));
        }
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [_, _, _, _, v0, v1, r0, r1, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(FrameError::Version { theirs: version });
        }
        let reserved = u16::from_le_bytes([r0, r1]);
        if reserved != 0 {
            return Err(FrameError::Reserved(reserved));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > max {
            return Err(FrameError::TooLong { length, max });
        }
        Ok(Some(Header { length, checksum: u32::from_le_bytes([c0, c1, c2, c3]) }))
    }
}
