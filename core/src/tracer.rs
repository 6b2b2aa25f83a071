//! The tracers: `tracer/NAME.rs` holds everything about one, and the table here lists them all.

mod definition;
mod filelife;
mod filetop;
mod guarded_read;
mod inotify;
mod many_args;
mod opensnoop;
mod sock_alloc;
mod socket_write;
mod syncsnoop;
mod sys_write;
mod user_args;

use std::collections::{BTreeMap, BTreeSet};

use kernlab_abi::ProgramConfig;
use serde::{Deserialize, Deserializer, de::Error as _};

use self::definition::{Decoded, Definition, Wants, Workload};
pub use self::user_args::{EIGHT_INTS, JUMPS_BACK, MIXED_TYPES, STATIC_WORKLOAD, TEN_INTS};
use crate::{
    arch::Arch,
    attach::AttachPoint,
    btf::Wanted,
    cell::UnknownName,
    decoder::{DecodeError, Decoder},
    discovery::SEARCHED_FIELDS,
    event::Event,
    facts::KernelFacts,
    scenario::{Kind, Scenario},
    unsupported::Unsupported,
};
pub use crate::{
    event::{FileKind, ReadOutcome, RenameHalf, SyncCall},
    scenario::Tracer,
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
    opensnoop::TRACER,
    user_args::TRACER,
    guarded_read::TRACER,
];

impl Tracer {
    /// Every tracer, in the order of reports.
    pub fn all() -> impl Iterator<Item = Tracer> {
        (0..TABLE.len()).map(Tracer::at)
    }

    /// The tracer with this name.
    pub fn by_name(name: &str) -> Option<Tracer> {
        Tracer::all().find(|tracer| tracer.name() == name)
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
        self.definition().attach_points(scenario, facts, config)
    }

    pub(crate) fn decode(self, decoder: &Decoder<'_>, record: &[u8]) -> Decoded {
        (self.definition().event.decode)(decoder, record)
    }

    const fn at(position: usize) -> Tracer {
        Tracer::new(position, TABLE[position].name)
    }

    const fn definition(self) -> &'static Definition {
        &TABLE[self.position]
    }
}

impl Scenario {
    /// Every scenario, grouped by tracer.
    pub const ALL: &'static [Scenario] = &scenarios();

    /// The scenario with the id `tracer/name`.
    pub fn by_id(id: &str) -> Option<&'static Scenario> {
        Scenario::ALL.iter().find(|scenario| scenario.to_string() == id)
    }
}

impl Decoder<'_> {
    /// The event in `record`, with the time that orders it.
    pub fn decode(&self, record: &[u8]) -> Result<(u64, Event), DecodeError> {
        self.scenario.tracer.decode(self, record)
    }
}

/// How many scenarios there are.
const SCENARIOS: usize = {
    let (mut count, mut position) = (0, 0);
    while position < TABLE.len() {
        count += TABLE[position].scenarios.len();
        position += 1;
    }
    count
};

/// The scenarios of all tracers, in the order of the table.
const fn scenarios() -> [Scenario; SCENARIOS] {
    let none = Scenario { tracer: Tracer::at(0), name: "", about: "", kind: Kind::Listed };
    let mut all = [none; SCENARIOS];
    let (mut count, mut position) = (0, 0);
    while position < TABLE.len() {
        let workloads = TABLE[position].scenarios;
        let mut index = 0;
        while index < workloads.len() {
            let Workload { name, about, kind } = workloads[index];
            all[count] = Scenario { tracer: Tracer::at(position), name, about, kind };
            count += 1;
            index += 1;
        }
        position += 1;
    }
    all
}

impl<'de> Deserialize<'de> for Tracer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Tracer::all().map(|tracer| tracer.name().to_owned());
        Tracer::by_name(&name)
            .ok_or_else(|| D::Error::custom(UnknownName::new("tracer", &name, known)))
    }
}

/// The tracepoints of system calls, by name, that any plan asks about or attaches to.
pub fn wanted_tracepoints() -> impl Iterator<Item = &'static str> {
    let wanted: BTreeSet<_> = Tracer::all().flat_map(|tracer| tracer.wants().tracepoints).collect();
    wanted.into_iter()
}

/// The functions that plans attach to, or whose parameters they ask about.
pub fn wanted_functions(arch: Arch) -> impl Iterator<Item = &'static str> {
    let functions = |tracer: Tracer| tracer.wants().on(arch).functions;
    let wanted: BTreeSet<_> = Tracer::all().flat_map(functions).collect();
    wanted.into_iter()
}

/// The symbols that any plan or event asks about. The rest of `/proc/kallsyms` is not kept.
pub fn wanted_symbols(arch: Arch) -> impl Iterator<Item = &'static str> {
    let others = Tracer::all().flat_map(|tracer| tracer.wants().symbols);
    let wanted: BTreeSet<_> = wanted_functions(arch).chain(others).collect();
    wanted.into_iter()
}

/// The fields that plans ask about or that searches of memory look at, by structure.
pub fn wanted_fields() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let of_tracers = Tracer::all().flat_map(|tracer| tracer.wants().fields);
    let mut wanted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (structure, field) in of_tracers.chain(SEARCHED_FIELDS) {
        wanted.entry(structure).or_default().insert(field);
    }
    wanted
}

/// What plans need of a kernel's types.
pub fn wanted_types(arch: Arch) -> Wanted {
    let structure = |(name, fields): (&str, BTreeSet<&str>)| {
        (name.to_owned(), fields.into_iter().map(str::to_owned).collect())
    };
    Wanted {
        structures: wanted_fields().into_iter().map(structure).collect(),
        functions: wanted_functions(arch).map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use kernlab_abi::{
        COMM_LEN, EventHeader, FileTotals, ReadEvent, SockAllocEvent, SocketWriteEvent, SyncEvent,
        SysWriteEvent,
    };

    use super::{definition::RawEvent, *};
    use crate::event::Action;

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
    fn every_event_tells_its_time_and_its_thread() {
        let header = header();
        // SAFETY: the ABI's structures have no padding, so all their bytes are initialised.
        let start = unsafe {
            std::slice::from_raw_parts((&raw const header).cast::<u8>(), size_of_val(&header))
        };
        let symbols = BTreeMap::new();
        for tracer in Tracer::all() {
            let decoder = Decoder::new(tracer.scenarios().next().unwrap(), &symbols, 0);
            let Err(DecodeError::Size { expected, .. }) = decoder.decode(&[]) else {
                panic!("{tracer}: nothing is no event")
            };
            let mut record = vec![0; expected];
            record[..start.len()].copy_from_slice(start);
            let (time, event) = decoder.decode(&record).unwrap();
            let told = (time, event.pid, event.tid, &*event.comm);
            assert_eq!(told, (7, 1, 2, "a\\tb"), "{tracer}");
        }
    }

    #[test]
    fn what_is_reserved_is_zero() {
        let reserved = [
            ("sys_write", offset_of!(SysWriteEvent, reserved)),
            ("sock_alloc", offset_of!(SockAllocEvent, reserved)),
            ("socket_write", offset_of!(SocketWriteEvent, reserved)),
            ("syncsnoop", offset_of!(SyncEvent, reserved)),
            ("guarded_read", offset_of!(ReadEvent, reserved)),
            ("filetop", offset_of!(FileTotals, reserved)),
        ];
        let symbols = BTreeMap::new();
        for (tracer, offset) in reserved {
            let scenario = Tracer::by_name(tracer).unwrap().scenarios().next().unwrap();
            let decoder = Decoder::new(scenario, &symbols, 0);
            let Err(DecodeError::Size { expected, .. }) = decoder.decode(&[]) else {
                panic!("{tracer}: nothing is no event")
            };
            let mut record = vec![0; expected];
            record[offset + 1] = 2;
            let (_, event) = decoder.decode(&record).unwrap();
            let why = "an event's reserved bytes are 0x200".to_owned();
            assert_eq!(event.action, Action::Undecodable { why }, "{tracer}");
        }
    }

    #[test]
    fn what_no_program_reports_is_an_event_of_its_thread() {
        let raw = SyncEvent { header: header(), call: 77, reserved: 0 };
        let symbols = BTreeMap::new();
        let tracer = Tracer::by_name("syncsnoop").unwrap();
        let decoder = Decoder::new(tracer.scenarios().next().unwrap(), &symbols, 0);
        // SAFETY: the ABI's structures have no padding, so all their bytes are initialised.
        let record =
            unsafe { std::slice::from_raw_parts((&raw const raw).cast::<u8>(), size_of_val(&raw)) };
        let (_, event) = decoder.decode(record).unwrap();
        let why = "77 is not the number of a sync call".to_owned();
        assert_eq!((event.tid, event.action), (2, Action::Undecodable { why }));
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

    #[test]
    fn scenarios_are_grouped_by_tracer() {
        assert!(Scenario::ALL.is_sorted_by_key(|scenario| scenario.tracer));
        assert_eq!(Scenario::ALL[0].to_string(), "sys_write/files_and_pipes");
    }

    #[test]
    fn ids_are_unique_and_found_again() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::by_id(&scenario.to_string()), Some(scenario));
        }
        assert_eq!(Scenario::by_id("inotify/nothing"), None);
    }

    #[test]
    fn fields_of_tracers_and_of_searches_are_wanted() {
        let wanted = wanted_fields();
        let of_a_tracer = ("files_struct", "fdt");
        for (structure, field) in SEARCHED_FIELDS.into_iter().chain([of_a_tracer]) {
            assert!(wanted[structure].contains(field), "{structure}.{field}");
        }
        assert!(!wanted.contains_key("list_head"));
    }

    #[test]
    fn searches_are_for_functions_that_plans_ask_about() {
        for question in crate::discovery::QUESTIONS {
            let mut functions = wanted_functions(Arch::X86_64);
            assert!(functions.any(|name| name == question.function), "{question:?}");
        }
    }
}
