//! Programs that are at work.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::maps::{MapData, MapError, PerCpuArray};
use kernlab_abi::EMITTED;
use kernlab_core::{
    backend::{BackendError, Session, Tally},
    losses::{Losses, Slots},
    outcome::Reason,
};

use crate::{attach::Attached, buffer::EventBuffer, error::failed, state::State, totals::Totals};

/// See [`Session`].
pub(crate) struct AyaSession {
    pub(crate) attached: Vec<Attached>,
    pub(crate) programs: Vec<OwnedFd>,
    pub(crate) events: EventBuffer,
    pub(crate) emitted: PerCpuArray<MapData, u64>,
    pub(crate) state: State,
    pub(crate) totals: Option<Totals>,
}

impl AyaSession {
    /// What the programs counted. Only exact when they are detached.
    fn emitted(&self) -> Result<Slots, MapError> {
        let mut slots = Slots::default();
        for (slot, sum) in (0u32..).zip(&mut slots) {
            *sum = self.emitted.get(&slot, 0)?.iter().sum();
        }
        Ok(slots)
    }
}

impl Session for AyaSession {
    fn wait_on(&self) -> Vec<BorrowedFd<'_>> {
        self.events.wait_on()
    }

    fn programs(&self) -> Vec<BorrowedFd<'_>> {
        self.programs.iter().map(|program| program.as_fd()).collect()
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
        let counted = self.totals.as_ref().map_or(Ok(0), |totals| totals.hand_over(sink));
        let received = self.events.received() + counted.map_err(unread)?;
        let state = self.state.count();
        let slots = self.emitted().map_err(unread)?;
        Ok(Tally {
            lost: slots[EMITTED as usize].saturating_sub(received),
            losses: Losses::of(&slots),
            state: state.map_err(|errno| failed("counting entries", Reason::LoadFailed, errno))?,
        })
    }
}
