//! Programs that are at work.

use std::os::fd::BorrowedFd;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use kernlab_abi::PendingWrite;
use kernlab_core::{
    backend::{BackendError, Session, Tally},
    outcome::Reason,
};

use crate::{attach::Attached, buffer::EventBuffer, error::failed};

/// The map `pending`: entries are counted, never looked into.
type Pending = HashMap<MapData, u64, [u8; size_of::<PendingWrite>()]>;

/// See [`Session`].
pub(crate) struct AyaSession {
    attached: Vec<Attached>,
    events: EventBuffer,
    emitted: PerCpuArray<MapData, u64>,
    pending: Option<Pending>,
}

impl AyaSession {
    pub(crate) fn new(
        attached: Vec<Attached>,
        events: EventBuffer,
        emitted: Map,
        pending: Option<Map>,
    ) -> Result<Self, BackendError> {
        let wrong = |name| {
            move |error| failed(format!("opening the map {name}"), Reason::LoadFailed, error)
        };
        let emitted = PerCpuArray::try_from(emitted).map_err(wrong("emitted"))?;
        let pending = pending.map(Pending::try_from).transpose().map_err(wrong("pending"))?;
        Ok(AyaSession { attached, events, emitted, pending })
    }

    /// Events that the programs handed over and that did not arrive. Only exact when the programs
    /// are detached and the buffer is empty.
    fn lost(&self) -> Result<u64, MapError> {
        let emitted: u64 = self.emitted.get(&0, 0)?.iter().sum();
        Ok(emitted.saturating_sub(self.events.received()))
    }

    fn left_behind(&self) -> Result<u64, MapError> {
        let Some(pending) = &self.pending else { return Ok(0) };
        pending.keys().try_fold(0, |count, key| key.map(|_| count + 1))
    }
}

impl Session for AyaSession {
    fn wait_on(&self) -> Vec<BorrowedFd<'_>> {
        self.events.wait_on()
    }

    fn consume(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
        self.events.consume(sink);
        Ok(())
    }

    fn finish(mut self: Box<Self>, sink: &mut dyn FnMut(&[u8])) -> Result<Tally, BackendError> {
        // In the plan's order, entry before exit: a call that is under way can still end.
        for program in self.attached.drain(..) {
            program.detach()?;
        }
        self.events.consume(sink);
        let unread = |error| failed("reading the maps", Reason::LoadFailed, error);
        Ok(Tally {
            lost: self.lost().map_err(unread)?,
            left_behind: self.left_behind().map_err(unread)?,
        })
    }
}
