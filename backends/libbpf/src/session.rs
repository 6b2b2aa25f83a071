//! Attached programs and the buffer that their events leave by.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    ptr,
    rc::Rc,
};

use kernlab_abi::{EMITTED, PERF_PAGES};
use kernlab_core::{
    backend::{BackendError, RESULTS, Session, Tally},
    losses::{Losses, Slots},
    outcome::Reason,
    plan::{BufferKind, ProbePlan},
};
use libbpf_rs::{
    Link, Map, MapCore as _, MapFlags, MapType, Object, PerfBuffer, PerfBufferBuilder, RingBuffer,
    RingBufferBuilder,
};

use crate::{log::failure, object};

/// What the buffer's callbacks have collected.
#[derive(Default)]
struct Received {
    records: Vec<Vec<u8>>,
    /// All records there ever were.
    count: u64,
}

enum Buffer {
    Ring(RingBuffer<'static>),
    Perf(PerfBuffer<'static>),
}

pub(crate) struct LibbpfSession {
    // Dropped in this order: no program writes to a buffer that is gone.
    links: Vec<Link>,
    buffer: Buffer,
    received: Rc<RefCell<Received>>,
    object: Object,
}

impl LibbpfSession {
    pub(crate) fn new(object: Object, plan: &ProbePlan) -> Result<Self, BackendError> {
        let received = Rc::new(RefCell::new(Received::default()));
        let events = object::map(&object, "events")?;
        let sink = Rc::clone(&received);
        let push = move |record: &[u8]| {
            let mut received = sink.borrow_mut();
            received.records.push(record.to_vec());
            received.count += 1;
        };
        let failed =
            |source| failure("opening the event buffer".to_owned(), Reason::LoadFailed, source);
        let buffer = match plan.buffer {
            BufferKind::Ring => {
                let mut builder = RingBufferBuilder::new();
                builder
                    .add(&events, move |record| {
                        push(record);
                        0
                    })
                    .map_err(failed)?;
                Buffer::Ring(builder.build().map_err(failed)?)
            }
            BufferKind::Perf => {
                // The kernel pads records to a multiple of 8 bytes, their own length field included:
                // perf_event_output, kernel/events/core.c.
                let size = plan.tracer.event_size();
                let buffer = PerfBufferBuilder::new(&events)
                    .pages(PERF_PAGES as usize)
                    .sample_cb(move |_cpu, record: &[u8]| push(&record[..size.min(record.len())]))
                    // Losses are counted by the programs.
                    .lost_cb(|_cpu, _count| ())
                    .build()
                    .map_err(failed)?;
                Buffer::Perf(buffer)
            }
        };
        Ok(LibbpfSession { links: Vec::new(), buffer, received, object })
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    pub(crate) fn attached(mut self, links: Vec<Link>) -> Self {
        self.links = links;
        self
    }

    /// What the programs counted, over all CPUs.
    fn emitted(&self) -> Result<Slots, BackendError> {
        let emitted = object::map(&self.object, "emitted")?;
        let mut slots = Slots::default();
        for (slot, sum) in (0u32..).zip(&mut slots) {
            let per_cpu =
                emitted.lookup_percpu(&slot.to_ne_bytes(), MapFlags::ANY).map_err(|error| {
                    failure("counting events".to_owned(), Reason::LoadFailed, error)
                })?;
            *sum = per_cpu
                .into_iter()
                .flatten()
                .filter_map(|value| Some(u64::from_ne_bytes(value.try_into().ok()?)))
                .sum();
        }
        Ok(slots)
    }

    /// Hands over what the programs counted, and returns how many records that were. A tracer that
    /// doesn't count has no such map.
    fn hand_over_totals(&self, sink: &mut dyn FnMut(&[u8])) -> Result<u64, BackendError> {
        let Some(totals) = self.object.maps().find(|map| map.name() == RESULTS) else {
            return Ok(0);
        };
        let failed = |source| failure("reading the totals".to_owned(), Reason::LoadFailed, source);
        let mut count = 0;
        for key in keys(totals.as_fd(), totals.key_size() as usize).map_err(failed)? {
            if let Some(record) = totals.lookup(&key, MapFlags::ANY).map_err(failed)? {
                sink(&record);
                count += 1;
            }
        }
        Ok(count)
    }

    /// How many entries each map of state has.
    fn state(&self) -> Result<BTreeMap<String, u64>, BackendError> {
        let is_state = |map: &Map<'_>| map.map_type() == MapType::Hash && map.name() != RESULTS;
        let count = |map: Map<'_>| {
            let name = map.name().to_string_lossy().into_owned();
            let keys = keys(map.as_fd(), map.key_size() as usize).map_err(|source| {
                failure(format!("counting the entries of {name}"), Reason::LoadFailed, source)
            })?;
            Ok((name, keys.len() as u64))
        };
        self.object.maps().filter(is_state).map(count).collect()
    }
}

/// The keys of a map, all of them if no program runs. libbpf-rs's iterator takes an error for the end.
fn keys(map: BorrowedFd<'_>, key_size: usize) -> Result<Vec<Vec<u8>>, libbpf_rs::Error> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    loop {
        let after = keys.last().map_or(ptr::null(), |key| key.as_ptr().cast());
        let mut next = vec![0_u8; key_size];
        // SAFETY: the kernel reads one key and writes the other. Both have the size of this map's keys, and
        // outlive the call.
        let errno = unsafe {
            libbpf_sys::bpf_map_get_next_key(map.as_raw_fd(), after, next.as_mut_ptr().cast())
        };
        if errno < 0 {
            let error = io::Error::from_raw_os_error(-errno);
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(keys),
                _ => Err(error.into()),
            };
        }
        keys.push(next);
    }
}

impl Session for LibbpfSession {
    fn wait_on(&self) -> Vec<BorrowedFd<'_>> {
        let fd = match &self.buffer {
            Buffer::Ring(ring) => ring.epoll_fd(),
            Buffer::Perf(perf) => perf.epoll_fd(),
        };
        // SAFETY: the buffer owns the descriptor and outlives the borrow.
        vec![unsafe { BorrowedFd::borrow_raw(fd) }]
    }

    fn programs(&self) -> Vec<BorrowedFd<'_>> {
        let descriptor = |program: libbpf_rs::Program<'_>| {
            // SAFETY: the object owns the descriptor and outlives the borrow.
            unsafe { BorrowedFd::borrow_raw(program.as_fd().as_raw_fd()) }
        };
        self.object.progs().map(descriptor).collect()
    }

    fn consume(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
        match &self.buffer {
            Buffer::Ring(ring) => ring.consume(),
            Buffer::Perf(perf) => perf.consume(),
        }
        .map_err(|source| failure("reading events".to_owned(), Reason::LoadFailed, source))?;
        let records = std::mem::take(&mut self.received.borrow_mut().records);
        records.iter().for_each(|record| sink(record));
        Ok(())
    }

    fn finish(mut self: Box<Self>, sink: &mut dyn FnMut(&[u8])) -> Result<Tally, BackendError> {
        self.links.clear();
        self.consume(sink)?;
        let received = self.received.borrow().count + self.hand_over_totals(sink)?;
        let slots = self.emitted()?;
        let lost = slots[EMITTED as usize].saturating_sub(received);
        Ok(Tally { lost, losses: Losses::of(&slots), state: self.state()? })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_no_map_is_not_empty() {
        let file = File::open("/dev/null").unwrap();
        assert!(keys(file.as_fd(), 8).is_err());
    }
}
