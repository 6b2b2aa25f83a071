//! What kernels have and lack of what a BPF object needs, or of what somebody asks for by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use super::{Dossier, SymbolState, diff::Whole};
use crate::{
    facts::ProbeResult,
    needs::Needs,
    section::{Place, Section},
};

/// One thing that is needed of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Type information, which CO-RE relocations are made with.
    Btf,
    /// A type of program.
    ProgramType(String),
    /// A place to attach to.
    Place(Place),
    /// A function, by name.
    Function(String),
    /// A helper, without `bpf_`, for this type of program.
    Helper {
        /// `ringbuf_output`
        helper: String,
        /// `kprobe`
        program_type: String,
    },
    /// A type of map.
    MapType(String),
    /// A field of a structure.
    Field {
        /// `task_struct`
        structure: String,
        /// `tgid`
        field: String,
        /// The object asks whether there is such a field, and can do without.
        optional: bool,
    },
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Btf => f.write_str("BTF"),
            Need::ProgramType(name) => write!(f, "program type {name}"),
            Need::Place(place) => place.fmt(f),
            Need::Function(name) => write!(f, "function {name}"),
            Need::Helper { helper, program_type } => {
                write!(f, "helper bpf_{helper} in {program_type} programs")
            }
            Need::MapType(name) => write!(f, "map type {name}"),
            Need::Field { structure, field, optional } => {
                write!(f, "field {structure}.{field}{}", if *optional { " (optional)" } else { "" })
            }
        }
    }
}

/// What a kernel has of something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "kebab-case")]
pub enum State {
    /// It is there; more about it, if there is more to say.
    Present(String),
    /// It is not there, or of no use; why.
    Missing(String),
    /// The dossier doesn't tell.
    Unknown(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, detail) = match self {
            State::Present(detail) => ("present", detail),
            State::Missing(detail) => ("missing", detail),
            State::Unknown(detail) => ("unknown", detail),
        };
        match detail.as_str() {
            "" => f.write_str(word),
            detail => write!(f, "{word}: {detail}"),
        }
    }
}

/// Something that a kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What.
    pub need: Need,
    /// Why it can't be used.
    pub why: String,
    /// The programs that need it; none if all do.
    pub programs: BTreeSet<String>,
}

/// What is known of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct KnownKernel<'a> {
    /// Its dossier.
    pub dossier: &'a Dossier,
    /// All of it, if that is at hand: a dossier alone tells only of what the lab's tracers want.
    pub whole: Option<&'a Whole>,
}

/// What an object needs, and which of its programs do; none if all.
pub fn needed(needs: &Needs) -> BTreeMap<Need, BTreeSet<String>> {
    let mut all: BTreeMap<Need, BTreeSet<String>> = BTreeMap::new();
    for program in &needs.programs {
        let Some(Section { program_type, place }) = Section::of(&program.section) else { continue };
        let mut note = |need| {
            all.entry(need).or_default().insert(program.name.clone());
        };
        note(Need::ProgramType(program_type.to_owned()));
        if let Some(place) = place {
            note(Need::Place(place));
        }
        for helper in &program.helpers {
            let (helper, program_type) = (helper.clone(), program_type.to_owned());
            note(Need::Helper { helper, program_type });
        }
    }
    for map in &needs.maps {
        all.insert(Need::MapType(map.clone()), BTreeSet::new());
    }
    if !needs.fields.is_empty() {
        all.insert(Need::Btf, BTreeSet::new());
    }
    for (structure, fields) in &needs.fields {
        for field in fields {
            let optional = needs.optional_fields.get(structure);
            let optional = optional.is_some_and(|optional| optional.contains(field));
            let (structure, field) = (structure.clone(), field.clone());
            all.insert(Need::Field { structure, field, optional }, BTreeSet::new());
        }
    }
    all
}

/// What a kernel lacks of what an object needs, as far as its dossier tells.
pub fn missing(needs: &Needs, kernel: KnownKernel<'_>) -> Vec<Missing> {
    let all = needed(needs).into_iter();
    all.filter_map(|(need, programs)| match kernel.state(&need) {
        State::Missing(_) if matches!(need, Need::Field { optional: true, .. }) => None,
        State::Missing(why) => Some(Missing { need, why, programs }),
        State::Present(_) | State::Unknown(_) => None,
    })
    .collect()
}

/// Helpers that both loaders replace by `bpf_probe_read` where the kernel lacks them.
const REPLACED: [&str; 4] =
    ["probe_read_kernel", "probe_read_user", "probe_read_kernel_str", "probe_read_user_str"];

const NO_BTF: &str = "the kernel has no BTF";

fn present() -> State {
    State::Present(String::new())
}

fn not_told(what: &str) -> State {
    State::Unknown(format!("its dossier tells of no such {what}"))
}

fn tried(result: ProbeResult) -> State {
    match result {
        ProbeResult::Yes => present(),
        ProbeResult::No => State::Missing("the kernel does not know it".to_owned()),
        ProbeResult::CouldNotTell(_) => State::Unknown(result.to_string()),
    }
}

impl<'a> KnownKernel<'a> {
    /// What the kernel has of this.
    pub fn state(self, need: &Need) -> State {
        let features = &self.dossier.features;
        let offered = self.whole.map(|whole| &whole.offered);
        match need {
            Need::Btf if self.dossier.types.is_some() => present(),
            Need::Btf => State::Missing("the object's relocations need it".to_owned()),
            Need::ProgramType(name) if ["tracing", "lsm", "ext"].contains(&name.as_str()) => {
                match self.dossier.types {
                    Some(_) => present(),
                    None => State::Missing(NO_BTF.to_owned()),
                }
            }
            Need::ProgramType(name) => match offered.and_then(|all| all.program_types.get(name)) {
                Some(&result) => tried(result),
                None if name == "kprobe" => present(),
                None => not_told("program type"),
            },
            Need::Place(place) => self.place(place),
            Need::Function(name) => self.function(name),
            Need::Helper { helper, program_type } => {
                let own = offered.and_then(|offered| offered.helper(program_type, helper));
                let by_kprobe = || features.helpers.get(helper).copied();
                let is_probe = ["kprobe", "tracing", "tracepoint", "raw_tracepoint"];
                let is_probe = is_probe.contains(&program_type.as_str());
                match own.or_else(|| by_kprobe().filter(|_| is_probe)) {
                    Some(ProbeResult::No) if REPLACED.contains(&helper.as_str()) => {
                        State::Present("replaced by bpf_probe_read".to_owned())
                    }
                    Some(result) => tried(result),
                    None => not_told("helper"),
                }
            }
            Need::MapType(name) => {
                let known = offered.and_then(|offered| offered.maps.get(name));
                known
                    .or_else(|| features.maps.get(name))
                    .map_or_else(|| not_told("map type"), |&result| tried(result))
            }
            Need::Field { structure, field, .. } => self.field(structure, field),
        }
    }

    fn place(self, place: &Place) -> State {
        match place {
            Place::Kprobe(_) | Place::Kretprobe(_) => {
                place.function().map_or_else(present, |function| self.function(function))
            }
            Place::KprobeMulti(pattern) if pattern.contains(['*', '?']) => {
                State::Unknown("patterns are not looked up".to_owned())
            }
            Place::KprobeMulti(function) => self.function(function),
            Place::SystemCall(name) => {
                let prefixes = ["__x64_sys_", "__arm64_sys_", "sys_"];
                let states = prefixes.map(|prefix| self.function(&format!("{prefix}{name}")));
                let found = states.iter().find(|state| matches!(state, State::Present(_)));
                found.or(states.first()).cloned().unwrap_or_else(|| not_told("system call"))
            }
            Place::Tracepoint { category, name } => self.tracepoint(category, name),
            Place::RawTracepoint(name) => self.any_tracepoint(name),
            Place::BtfTracepoint(name) if self.dossier.types.is_some() => self.any_tracepoint(name),
            Place::FunctionEntry(_) | Place::FunctionExit(_) | Place::FunctionResult(_) => {
                self.attached_by_type(place.function())
            }
            Place::SecurityHook(hook) => self.attached_by_type(Some(&format!("bpf_lsm_{hook}"))),
            Place::Iterator(over) => self.described(&format!("bpf_iter_{over}")),
            Place::BtfTracepoint(_) => State::Missing(NO_BTF.to_owned()),
            Place::UserFunction { .. } | Place::UserTracepoint(_) => {
                match self.dossier.features.uprobes {
                    true => present(),
                    false => State::Missing("the kernel was built without uprobes".to_owned()),
                }
            }
        }
    }

    /// A function that a kprobe is attached to.
    fn function(self, name: &str) -> State {
        let declared = || match self.declarations(name) {
            Some(declarations) => State::Present(declarations),
            None => present(),
        };
        let Some(Whole { function_names, .. }) = self.whole else {
            return match self.dossier.symbol(name) {
                SymbolState::Present => declared(),
                SymbolState::Absent
                    if crate::tracer::wanted_symbols(self.dossier.arch())
                        .any(|known| known == name) =>
                {
                    absent("function")
                }
                SymbolState::Absent => not_told("function"),
                state => State::Missing(state.to_string()),
            };
        };
        if function_names.contains(name) {
            return declared();
        }
        let start = format!("{name}.");
        let made_of_it =
            function_names.range(start.clone()..).take_while(|n| n.starts_with(&start));
        match made_of_it.cloned().collect::<Vec<_>>() {
            none if none.is_empty() => absent("function"),
            copies => State::Missing(format!("only as {}", copies.join(", "))),
        }
    }

    /// A function that an fentry, fexit or LSM program is attached to; none if the section names none.
    fn attached_by_type(self, function: Option<&str>) -> State {
        let state = function.map_or_else(present, |function| self.described(function));
        let State::Present(_) = state else { return state };
        match self.dossier.features.fentry {
            Some(ProbeResult::Yes) => state,
            Some(ProbeResult::No) => {
                State::Missing("the kernel can't attach such programs".to_owned())
            }
            Some(ProbeResult::CouldNotTell(errno)) => State::Unknown(format!(
                "whether such programs can be attached is not known: the trial failed (errno {errno})"
            )),
            None if self.dossier.types.is_none() => State::Missing(NO_BTF.to_owned()),
            None => State::Unknown("whether it can be attached was not tried".to_owned()),
        }
    }

    /// A function that BTF describes.
    fn described(self, name: &str) -> State {
        if self.dossier.types.is_none() {
            return State::Missing(NO_BTF.to_owned());
        }
        match (self.declarations(name), self.whole) {
            (Some(declarations), _) => State::Present(declarations),
            (None, Some(_)) => State::Missing("BTF does not describe it".to_owned()),
            (None, None) => not_told("function"),
        }
    }

    fn declarations(self, name: &str) -> Option<String> {
        let listed = self.whole.and_then(|whole| whole.types.as_ref()?.functions.get(name));
        if let Some(listed) = listed {
            return Some(listed.iter().map(String::as_str).collect::<Vec<_>>().join("; "));
        }
        self.dossier.prototype(name).map(|prototype| prototype.declare(name))
    }

    fn tracepoint(self, category: &str, name: &str) -> State {
        if category == "syscalls" && self.dossier.tracepoints.contains_key(name) {
            return present();
        }
        match self.tracepoints() {
            Some(all) if all.contains(&format!("{category}:{name}")) => present(),
            Some(_) => absent("tracepoint"),
            None => not_told("tracepoint"),
        }
    }

    /// A tracepoint whose category is not told. Those that end with `_tp` have no format, so that no
    /// list has them.
    fn any_tracepoint(self, name: &str) -> State {
        let is_it =
            |listed: &String| listed.split_once(':').is_some_and(|(_, found)| found == name);
        match self.tracepoints() {
            Some(all) if all.iter().any(is_it) => present(),
            Some(_) if !name.ends_with("_tp") => absent("tracepoint"),
            _ => not_told("tracepoint"),
        }
    }

    fn tracepoints(self) -> Option<&'a BTreeSet<String>> {
        self.whole.map(|whole| &whole.offered.tracepoints)
    }

    fn field(self, structure: &str, field: &str) -> State {
        let Some(types) = &self.dossier.types else {
            return State::Missing(NO_BTF.to_owned());
        };
        if let Some(found) = types.field(structure, field) {
            let crate::btf::Field { offset, type_name, .. } = found;
            return State::Present(format!("at {offset}, {type_name}"));
        }
        if types.covers_field(structure, field) {
            return absent("field");
        }
        let Some(listing) = self.whole.and_then(|whole| whole.types.as_ref()) else {
            return not_told("field");
        };
        let Some(all) = listing.structures.get(structure) else { return absent("structure") };
        // The first line tells the size.
        let mut lines = all.iter().flat_map(|lines| lines.iter().skip(1));
        let line = lines.find(|line| line.rsplit([' ', '*']).next() == Some(field));
        match line.and_then(|line| line.split_once(' ')) {
            Some((offset, rest)) => {
                let type_name = rest.strip_suffix(field).unwrap_or(rest).trim_end();
                State::Present(format!("at {offset}, {type_name}"))
            }
            None => absent("field"),
        }
    }
}

fn absent(what: &str) -> State {
    State::Missing(format!("there is no such {what}"))
}
