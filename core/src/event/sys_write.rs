//! Events of `sys_write`.

use kernlab_abi::SysWriteEvent;

use super::{Action, DecodeError, Event, read, with_header};
use crate::scenario::Tracer;

pub(super) fn decode(record: &[u8]) -> Result<(u64, Event), DecodeError> {
    // SAFETY: any bytes are a valid SysWriteEvent.
    let event: SysWriteEvent = unsafe { read(Tracer::SysWrite, record)? };
    let action = Action::Write { fd: event.fd, count: event.count, ret: event.ret };
    Ok(with_header(&event.header, action))
}
