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
pub(crate) struct EventBuffer {
    reader: Reader,
    /// Bytes of the tracer's event.
    event_size: usize,
    received: u64,
}

enum Reader {
    Ring(RingBuf<MapData>),
    /// A buffer for each CPU.
    Perf(Vec<PerfEventArrayBuffer<MapData>>),
}

impl EventBuffer {
    /// `event_size` is the size of the tracer's event in bytes.
    pub(crate) fn open(
        events: Map,
        kind: BufferKind,
        event_size: usize,
    ) -> Result<Self, BackendError> {
        let reader = match kind {
            BufferKind::Ring => RingBuf::try_from(events)
                .map(Reader::Ring)
                .map_err(|error| failed("mapping the ring buffer", Reason::LoadFailed, error))?,
            BufferKind::Perf => open_perf_buffers(events).map(Reader::Perf)?,
        };
        Ok(EventBuffer { reader, event_size, received: 0 })
    }

    /// Descriptors that become readable when events wait.
    pub(crate) fn wait_on(&self) -> Vec<BorrowedFd<'_>> {
        match &self.reader {
            Reader::Ring(ring) => vec![ring.as_fd()],
            Reader::Perf(buffers) => buffers.iter().map(|buffer| buffer.as_fd()).collect(),
        }
    }

    /// Hands every waiting event to `sink`.
    pub(crate) fn consume(&mut self, sink: &mut dyn FnMut(&[u8])) {
        let mut receive = |event: &[u8]| {
            self.received += 1;
            sink(event);
        };
        match &mut self.reader {
            Reader::Ring(ring) => {
                while let Some(event) = ring.next() {
                    receive(&event);
                }
            }
            Reader::Perf(buffers) => {
                for buffer in buffers {
                    buffer.for_each(|event| match event {
                        PerfEvent::Sample { head, tail: [] } => receive(cut(head, self.event_size)),
                        // The record crosses the end of the buffer.
                        PerfEvent::Sample { head, tail } => {
                            receive(cut(&[head, tail].concat(), self.event_size));
                        }
                        // Found by counting: these records come late or never.
                        PerfEvent::Lost { .. } => {}
                    });
                }
            }
        }
    }

    /// Events handed over so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}

fn open_perf_buffers(events: Map) -> Result<Vec<PerfEventArrayBuffer<MapData>>, BackendError> {
    let mut array = PerfEventArray::try_from(events)
        .map_err(|error| failed("opening the perf buffer", Reason::LoadFailed, error))?;
    let cpus = online_cpus().map_err(|(path, error)| {
        failed(format!("reading the online CPUs from {path}"), Reason::LoadFailed, error)
    })?;
    cpus.into_iter()
        .map(|cpu| {
            array.open(cpu, Some(PERF_PAGES as usize)).map_err(|error| {
                let stage = format!("opening the perf buffer of CPU {cpu}");
                failed(stage, Reason::LoadFailed, error)
            })
        })
        .collect()
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
