//! The way of output to the host: large chunks wait in memory until the host has read them there, and
//! others go through the port.

use kernlab_proto::{CHUNK, GuestMessage, HostMessage, Piece, Stream, WAITING};

use crate::{
    pinned::{PAGE, Pinned},
    port::{Port, PortError},
};

/// From this size on, the host reads a chunk from memory. A round trip takes about as long as it takes
/// to send this much.
const LARGE: usize = 4 * 1024;

/// Sends output.
#[derive(Default)]
pub(crate) struct Outlet {
    /// Whether the host can read memory; none if that was not tried.
    memory: Option<Option<Pinned<{ WAITING / PAGE }>>>,
}

impl Outlet {
    /// Sends a chunk of at most [`WAITING`] bytes.
    pub(crate) fn send(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        port: &mut Port,
    ) -> Result<(), PortError> {
        if bytes.len() >= LARGE && self.taken(stream, bytes, port)? {
            return Ok(());
        }
        bytes.chunks(CHUNK).try_for_each(|bytes| {
            port.send(&GuestMessage::Output { stream, bytes: bytes.to_vec() })
        })
    }

    /// Lets the host read a chunk from memory. `false` if it can't.
    fn taken(&mut self, stream: Stream, bytes: &[u8], port: &mut Port) -> Result<bool, PortError> {
        let memory = self.memory.get_or_insert_with(|| Pinned::new().ok());
        let Some(pinned) = memory else { return Ok(false) };
        pinned.bytes()[..bytes.len()].copy_from_slice(bytes);
        let Ok(frames) = pinned.frames() else { return Ok(false) };
        let used = &frames[..bytes.len().div_ceil(PAGE)];
        let mut left = bytes.len();
        // Pages that were allocated together are mostly contiguous.
        let pieces = used.chunk_by(|frame, next| frame + PAGE as u64 == *next).map(|run| {
            let length = left.min(run.len() * PAGE);
            left -= length;
            Piece { address: run[0], length: length as u32 }
        });
        let (pieces, checksum) = (pieces.collect(), kernlab_proto::checksum(bytes));
        port.send(&GuestMessage::Waiting { stream, pieces, checksum })?;
        let taken = port.receive()? == HostMessage::Taken;
        if !taken {
            *memory = None;
        }
        Ok(taken)
    }
}
