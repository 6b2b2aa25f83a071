//! Chunks of bytes that are compressed for the transfer.
//!
//! A serial port costs a trap for each byte. The output of programs is mostly text, which LZ4
//! shrinks to a fifth at almost no cost. In a message, a chunk is its length and an LZ4 block.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use crate::message::CHUNK;

#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    length: u32,
    block: Cow<'a, [u8]>,
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if bytes.len() > CHUNK {
        return Err(S::Error::custom("a chunk is too long"));
    }
    let length = u32::try_from(bytes.len()).map_err(S::Error::custom)?;
    Packed { length, block: lz4_flex::block::compress(bytes).into() }.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let Packed { length, block } = Packed::deserialize(deserializer)?;
    let length = length as usize;
    // This is checked before anything of that length is allocated.
    if length > CHUNK {
        return Err(D::Error::custom("a chunk is too long"));
    }
    let bytes = lz4_flex::block::decompress(&block, length).map_err(D::Error::custom)?;
    if bytes.len() == length { Ok(bytes) } else { Err(D::Error::custom("a chunk is too short")) }
}
