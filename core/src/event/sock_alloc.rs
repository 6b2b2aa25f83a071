//! Events of `sock_alloc`.

use kernlab_abi::SockAllocEvent;

use super::{Action, DecodeError, Event, read, with_header};
use crate::{
    scenario::Tracer,
    socket::{Family, SocketType},
};

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid SockAllocEvent.
    let event: SockAllocEvent = unsafe { read(Tracer::SockAlloc, record)? };
    let action = Action::SocketAllocated {
        family: Family(event.family),
        socket_type: SocketType(event.socket_type),
    };
    Ok(with_header(&event.header, action))
}
