//! What a tracer consists of.

use kernlab_abi::{EventHeader, Layout, ProgramConfig};

use crate::{
    attach::AttachPoint,
    decoder::{DecodeError, Decoder},
    event::{Action, Event, escape},
    facts::KernelFacts,
    scenario::Scenario,
    unsupported::Unsupported,
};

/// What distinguishes a tracer from all others.
pub(super) struct Definition {
    /// The name in ids, file names and BPF objects: `sys_write`.
    pub(super) name: &'static str,
    /// The workloads that prove it: the name of each, and what it is about.
    pub(super) scenarios: &'static [(&'static str, &'static str)],
    /// What its plans may depend on.
    pub(super) wants: fn() -> Wants,
    /// Where its programs go. What they read at run time goes into the configuration.
    pub(super) attach:
        fn(&Scenario, &KernelFacts, &mut ProgramConfig) -> Result<Vec<AttachPoint>, Unsupported>,
    /// What its programs report.
    pub(super) event: EventType,
}

/// What the plans of a tracer may ask about or attach to.
#[derive(Default)]
pub(crate) struct Wants {
    /// Functions that plans attach to, or whose parameters they ask about.
    pub(crate) functions: Vec<&'static str>,
    /// Those of the functions whose parameters a plan asks about where they are not certain.
    pub(super) searched: Vec<&'static str>,
    /// Other symbols.
    pub(crate) symbols: Vec<&'static str>,
    /// Tracepoints of system calls, by name.
    pub(crate) tracepoints: Vec<&'static str>,
    /// Structures with one field each.
    pub(crate) fields: Vec<(&'static str, &'static str)>,
}

/// An event with the time that orders it.
pub(super) type Decoded = Result<(u64, Event), DecodeError>;

/// How the bytes of an event become one.
pub(super) struct EventType {
    pub(super) size: usize,
    pub(super) decode: fn(&Decoder<'_>, &[u8]) -> Decoded,
}

impl EventType {
    pub(super) const fn of<T: RawEvent>() -> Self {
        EventType { size: size_of::<T>(), decode: decode::<T> }
    }
}

/// An event as the programs write it.
///
/// # Safety
///
/// Any bytes are a valid value.
pub(super) unsafe trait RawEvent: Copy {
    /// What every event starts with.
    fn header(&self) -> &EventHeader;

    /// What the thread did.
    fn action(&self, decoder: &Decoder<'_>) -> Result<Action, DecodeError>;
}

pub(super) fn decode<T: RawEvent>(decoder: &Decoder<'_>, record: &[u8]) -> Decoded {
    let expected = size_of::<T>();
    if record.len() != expected {
        let tracer = decoder.scenario.tracer;
        return Err(DecodeError::Size { tracer, expected, got: record.len() });
    }
    // SAFETY: the record has T's size, and any bytes are a valid T.
    let raw = unsafe { record.as_ptr().cast::<T>().read_unaligned() };
    let &EventHeader { time, tgid, tid, comm } = raw.header();
    let action = raw.action(decoder)?;
    Ok((time, Event { pid: tgid, tid, comm: escape(&comm), action }))
}

/// A field that programs read: structure, field, and where the plan's layout has its offset.
pub(super) type LayoutField = (&'static str, &'static str, fn(&mut Layout) -> &mut u32);

/// The fields, for [`Wants`].
pub(super) fn names(fields: &[LayoutField]) -> impl Iterator<Item = (&'static str, &'static str)> {
    fields.iter().map(|&(structure, field, _)| (structure, field))
}

/// Looks up the offsets of the fields.
pub(super) fn lay_out(
    fields: &[LayoutField],
    facts: &KernelFacts,
    layout: &mut Layout,
) -> Result<(), Unsupported> {
    for (structure, field, offset) in fields {
        *offset(layout) = facts.offset(structure, field)?;
    }
    Ok(())
}

/// On a kernel with this symbol, programs on syscall tracepoints can be preempted
/// (kernel/trace/bpf_trace.c, from 7.2 on). While a thread is preempted inside one, other threads on its
/// CPU go untraced for whole time slices, so entries and exits are paired wrongly.
pub(super) const FAULTABLE: &str = "trace_call_bpf_faultable";
