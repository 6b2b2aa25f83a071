//! The tracers: `tracer/NAME.rs` holds everything about one, and the table here lists them all.

mod filelife;
mod filetop;
mod guarded_read;
mod inotify;
mod many_args;
mod sock_alloc;
mod socket_write;
mod syncsnoop;
mod sys_write;
mod user_args;

use std::fmt;

use kernlab_abi::{EventHeader, Layout, ProgramConfig};
use serde::{Deserialize, Serialize};

use crate::{
    cell::UnknownName,
    event::{Action, DecodeError, Decoder, Event, escape},
    facts::KernelFacts,
    plan::{AttachPoint, Unsupported},
    scenario::Scenario,
};

pub use self::{
    filetop::FileKind,
    guarded_read::ReadOutcome,
    inotify::RenameHalf,
    syncsnoop::SyncCall,
    user_args::{EIGHT_INTS, STATIC_WORKLOAD},
};

/// Every tracer, in the order of reports.
const TABLE: &[Definition] = &[
    sys_write::TRACER,
    sock_alloc::TRACER,
    socket_write::TRACER,
    inotify::TRACER,
    many_args::TRACER,
    filetop::TRACER,
    filelife::TRACER,
    syncsnoop::TRACER,
    user_args::TRACER,
    guarded_read::TRACER,
];

/// What distinguishes a tracer from all others.
struct Definition {
    /// The name in ids, file names and BPF objects: `sys_write`.
    name: &'static str,
    /// The workloads that prove it.
    scenarios: &'static [&'static str],
    /// What its plans may depend on.
    wants: fn() -> Wants,
    /// Where its programs go. What they read at run time goes into the configuration.
    attach:
        fn(&Scenario, &KernelFacts, &mut ProgramConfig) -> Result<Vec<AttachPoint>, Unsupported>,
    /// What its programs report.
    event: EventType,
}

/// What the plans of a tracer may ask about or attach to.
#[derive(Default)]
pub(crate) struct Wants {
    /// Functions that plans attach to, or whose parameters they ask about.
    pub(crate) functions: Vec<&'static str>,
    /// Those of the functions whose parameters a plan asks about where they are not certain.
    searched: Vec<&'static str>,
    /// Other symbols.
    pub(crate) symbols: Vec<&'static str>,
    /// Tracepoints of system calls, by name.
    pub(crate) tracepoints: Vec<&'static str>,
    /// Structures with one field each.
    pub(crate) fields: Vec<(&'static str, &'static str)>,
}

/// An event with the time that orders it.
type Decoded = Result<(u64, Event), DecodeError>;

/// How the bytes of an event become one.
struct EventType {
    size: usize,
    decode: fn(&Decoder<'_>, &[u8]) -> Decoded,
}

impl EventType {
    const fn of<T: RawEvent>() -> Self {
        EventType { size: size_of::<T>(), decode: decode::<T> }
    }
}

/// An event as the programs write it.
///
/// # Safety
///
/// Any bytes are a valid value.
unsafe trait RawEvent: Copy {
    /// What every event starts with.
    fn header(&self) -> &EventHeader;

    /// What the thread did.
    fn action(&self, decoder: &Decoder<'_>) -> Result<Action, DecodeError>;
}

fn decode<T: RawEvent>(decoder: &Decoder<'_>, record: &[u8]) -> Decoded {
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
type LayoutField = (&'static str, &'static str, fn(&mut Layout) -> &mut u32);

/// The fields, for [`Wants`].
fn names(fields: &[LayoutField]) -> impl Iterator<Item = (&'static str, &'static str)> {
    fields.iter().map(|&(structure, field, _)| (structure, field))
}

/// Looks up the offsets of the fields.
fn lay_out(
    fields: &[LayoutField],
    facts: &KernelFacts,
    layout: &mut Layout,
) -> Result<(), Unsupported> {
    for (structure, field, offset) in fields {
        *offset(layout) = facts.offset(structure, field)?;
    }
    Ok(())
}

/// A kernel that has this runs the programs on syscall tracepoints preemptible
/// (kernel/trace/bpf_trace.c, from 7.2 on): while a thread stands inside of one, the others on its CPU
/// go unseen, for whole time slices, and entries without exits are joined with exits without entries.
const FAULTABLE: &str = "trace_call_bpf_faultable";

/// A probe set with one event type. In JSON it is its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub struct Tracer {
    /// In the table.
    position: usize,
}

impl Tracer {
    /// Every tracer, in the order of reports.
    pub fn all() -> impl Iterator<Item = Tracer> {
        (0..TABLE.len()).map(|position| Tracer { position })
    }

    /// The tracer with this name.
    pub fn by_name(name: &str) -> Option<Tracer> {
        Tracer::all().find(|tracer| tracer.name() == name)
    }

    /// The name in ids, file names and BPF objects: `sys_write`.
    pub const fn name(self) -> &'static str {
        self.definition().name
    }

    /// Its scenarios, in order.
    pub fn scenarios(self) -> impl Iterator<Item = &'static Scenario> {
        Scenario::ALL.iter().filter(move |scenario| scenario.tracer == self)
    }

    /// The bytes of one of its events.
    pub fn event_size(self) -> usize {
        self.definition().event.size
    }

    /// The functions whose parameters a plan asks about where they are not certain.
    pub fn functions_asked(self) -> Vec<&'static str> {
        self.wants().searched
    }

    pub(crate) fn wants(self) -> Wants {
        (self.definition().wants)()
    }

    pub(crate) fn attach(
        self,
        scenario: &Scenario,
        facts: &KernelFacts,
        config: &mut ProgramConfig,
    ) -> Result<Vec<AttachPoint>, Unsupported> {
        (self.definition().attach)(scenario, facts, config)
    }

    pub(crate) fn decode(self, decoder: &Decoder<'_>, record: &[u8]) -> Decoded {
        (self.definition().event.decode)(decoder, record)
    }

    const fn definition(self) -> &'static Definition {
        &TABLE[self.position]
    }
}

/// How many scenarios there are.
pub(crate) const SCENARIOS: usize = {
    let (mut count, mut position) = (0, 0);
    while position < TABLE.len() {
        count += TABLE[position].scenarios.len();
        position += 1;
    }
    count
};

/// The scenarios of all tracers, in the order of the table.
pub(crate) const fn scenarios() -> [Scenario; SCENARIOS] {
    let mut all = [const { Scenario { tracer: Tracer { position: 0 }, name: "" } }; SCENARIOS];
    let (mut count, mut position) = (0, 0);
    while position < TABLE.len() {
        let names = TABLE[position].scenarios;
        let mut index = 0;
        while index < names.len() {
            all[count] = Scenario { tracer: Tracer { position }, name: names[index] };
            count += 1;
            index += 1;
        }
        position += 1;
    }
    all
}

impl From<Tracer> for &'static str {
    fn from(tracer: Tracer) -> Self {
        tracer.name()
    }
}

impl TryFrom<String> for Tracer {
    type Error = UnknownName;

    fn try_from(name: String) -> Result<Self, UnknownName> {
        let known = Tracer::all().map(|tracer| tracer.name().to_owned());
        Tracer::by_name(&name).ok_or_else(|| UnknownName::new("tracer", &name, known))
    }
}

impl fmt::Display for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kernlab_abi::{COMM_LEN, SysWriteEvent};

    use super::*;

    pub(super) fn header() -> EventHeader {
        let mut comm = [0xff; COMM_LEN];
        comm[..4].copy_from_slice(b"a\tb\0");
        EventHeader { time: 7, tgid: 1, tid: 2, comm }
    }

    /// What an event of this scenario says.
    pub(super) fn decoded(id: &str, event: &impl RawEvent) -> Result<Action, DecodeError> {
        let symbols = BTreeMap::new();
        event.action(&Decoder::new(Scenario::by_id(id).unwrap(), &symbols, 0))
    }

    #[test]
    fn a_record_is_decoded_if_it_has_the_size_of_an_event() {
        let raw = SysWriteEvent { header: header(), count: 3, ret: 2, fd: 1, reserved: 0 };
        let symbols = BTreeMap::new();
        let decoder = Decoder::new(Scenario::by_id("sys_write/threads").unwrap(), &symbols, 0);
        // SAFETY: the ABI's structures have no padding, so all their bytes are initialised.
        let record = unsafe {
            std::slice::from_raw_parts((&raw const raw).cast::<u8>(), size_of::<SysWriteEvent>())
        };
        let action = Action::Write { fd: 1, count: 3, ret: 2 };
        let event = Event { pid: 1, tid: 2, comm: "a\\tb".to_owned(), action };
        assert_eq!(decoder.decode(record), Ok((7, event)));
        let (expected, got) = (record.len(), record.len() - 1);
        let tracer = Tracer::by_name("sys_write").unwrap();
        let refused = DecodeError::Size { tracer, expected, got };
        assert_eq!(decoder.decode(&record[1..]), Err(refused));
    }

    #[test]
    fn a_tracer_is_its_name_in_json() {
        for tracer in Tracer::all() {
            let json = serde_json::to_string(&tracer).unwrap();
            assert_eq!(json, format!("\"{}\"", tracer.name()));
            assert_eq!(serde_json::from_str::<Tracer>(&json).unwrap(), tracer);
            assert!(tracer.scenarios().next().is_some(), "{tracer} has no scenario");
        }
        let error = serde_json::from_str::<Tracer>("\"nothing\"").unwrap_err();
        assert!(
            error.to_string().starts_with("unknown tracer \"nothing\": expected one of sys_write")
        );
    }
}
