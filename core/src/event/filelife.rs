//! Events of `filelife`.

use kernlab_abi::FileLifeEvent;

use super::{Action, DecodeError, Event, escape, read, with_header};
use crate::scenario::Tracer;

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid FileLifeEvent.
    let event: FileLifeEvent = unsafe { read(Tracer::Filelife, record)? };
    let action = Action::Unlinked { name: escape(&event.name), lifetime: event.lifetime };
    Ok(with_header(&event.header, action))
}
