//! Events on their way out of the kernel.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::{
    maps::{
        Map, MapData, PerfEventArray, RingBuf,
        perf::{PerfEvent, PerfEventArrayBuffer},
    },
    util::online_cpus,
};
use kernlab_abi::PERF_PAGES;
use kernlab_core::{backend::BackendError, outcome::Reason, plan::BufferKind};

use crate::error::failed;

/// The reading end of the map `events`.
pub(crate) enum EventBuffer {
    Ring(RingBuf<MapData>),
    Perf(PerfBuffers),
}

impl EventBuffer {
    /// `event_size` is the size of the tracer's event in bytes.
    pub(crate) fn open(
        events: Map,
        kind: BufferKind,
        event_size: usize,
    ) -> Result<Self, BackendError> {
        match kind {
            BufferKind::Ring => RingBuf::try_from(events)
                .map(EventBuffer::Ring)
                .map_err(|error| failed("mapping the ring buffer", Reason::LoadFailed, error)),
            BufferKind::Perf => PerfBuffers::open(events, event_size).map(EventBuffer::Perf),
        }
    }

    /// Descriptors that become readable when events wait.
    pub(crate) fn wait_on(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            EventBuffer::Ring(ring) => vec![ring.as_fd()],
            EventBuffer::Perf(perf) => perf.buffers.iter().map(|buffer| buffer.as_fd()).collect(),
        }
    }

    /// Hands every waiting event to `sink`.
    pub(crate) fn consume(&mut self, sink: &mut dyn FnMut(&[u8])) {
        match self {
            EventBuffer::Ring(ring) => {
                while let Some(event) = ring.next() {
                    sink(&event);
                }
            }
            EventBuffer::Perf(perf) => perf.consume(sink),
        }
    }

    /// Events that the kernel said it left out of the buffer. For the ring, the programs count.
    pub(crate) fn reported_lost(&self) -> u64 {
        match self {
            EventBuffer::Ring(_) => 0,
            EventBuffer::Perf(perf) => perf.lost,
        }
    }
}

/// A buffer for each CPU.
pub(crate) struct PerfBuffers {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    event_size: usize,
    lost: u64,
}

impl PerfBuffers {
    fn open(events: Map, event_size: usize) -> Result<Self, BackendError> {
        let mut array = PerfEventArray::try_from(events)
            .map_err(|error| failed("opening the perf buffer", Reason::LoadFailed, error))?;
        let cpus = online_cpus().map_err(|(path, error)| {
            failed(format!("reading the online CPUs from {path}"), Reason::LoadFailed, error)
        })?;
        let buffers = cpus
            .into_iter()
            .map(|cpu| {
                array.open(cpu, Some(PERF_PAGES as usize)).map_err(|error| {
                    let stage = format!("opening the perf buffer of CPU {cpu}");
                    failed(stage, Reason::LoadFailed, error)
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(PerfBuffers { buffers, event_size, lost: 0 })
    }

    fn consume(&mut self, sink: &mut dyn FnMut(&[u8])) {
        let PerfBuffers { buffers, event_size, lost } = self;
        for buffer in buffers {
            buffer.for_each(|event| match event {
                PerfEvent::Sample { head, tail: [] } => sink(cut(head, *event_size)),
                PerfEvent::Sample { head, tail } => {
                    // The record crosses the end of the buffer.
                    sink(cut(&[head, tail].concat(), *event_size));
                }
                PerfEvent::Lost { count } => *lost += count,
            });
        }
    }
}

/// A record without the padding that makes its size in the buffer a multiple of eight. A shorter
/// one stays as it is: it isn't an event, which the reader will notice.
fn cut(record: &[u8], size: usize) -> &[u8] {
    record.get(..size).unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[1, 2, 3, 0, 0], &[1, 2, 3])]
    #[case(&[1, 2, 3], &[1, 2, 3])]
    #[case(&[1, 2], &[1, 2])]
    fn padding_is_cut(#[case] record: &[u8], #[case] event: &[u8]) {
        assert_eq!(cut(record, 3), event);
    }
}
