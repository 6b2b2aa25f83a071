//! What changed between two kernels.

mod explain;
mod named;
mod others;
mod renames;
mod text;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::explain::{Rank, explain};
pub use self::named::{attaches_by_btf, explain_named, lacking};
pub use self::others::explain_others;
pub use self::renames::Renamed;
pub use self::whole::{Whole, WholeDifference};
use super::{Dependencies, Dossier, GivenTypes, dependencies_of, state::SymbolState};
use crate::{
    arch::{Arch, SystemCall},
    btf::{Field, Prototype},
    cell::BtfMode,
    facts::Dependency,
    record::Decision,
    tracepoint::TracepointField,
    tracer::Tracer,
};

/// What changed from one kernel to another, for those who trace on both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The release that is compared with.
    pub old: String,
    /// The release that is compared.
    pub new: String,
    /// What changed for each tracer; those without a change are not there.
    pub tracers: BTreeMap<Tracer, Vec<Change>>,
    /// What concerns all: features and options.
    pub general: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    /// A tracer works otherwise, or not at all any more, or now does.
    Plan {
        /// `tracer/name`; all that have this change.
        scenarios: Vec<String>,
        /// In which mode of the new kernel.
        btf: BtfMode,
        /// With which mode of the old kernel that is compared, if it is another: where only one of the
        /// two has BTF, the mode of the other one is `absent`.
        #[serde(skip_serializing_if = "Option::is_none")]
        old_btf: Option<BtfMode>,
        /// What is decided on the old kernel.
        old: String,
        /// What is decided on the new one.
        new: String,
    },
    /// A function or object came, went, or was taken apart by the compiler.
    Symbol {
        /// Its name.
        symbol: String,
        /// In the old kernel.
        old: SymbolState,
        /// In the new one.
        new: SymbolState,
        /// How the kernel that has it declares it, if only one has it and has BTF.
        #[serde(skip_serializing_if = "Option::is_none")]
        declaration: Option<String>,
    },
    /// A function takes other arguments.
    Prototype {
        /// Its name.
        function: String,
        /// Its old declaration.
        old: String,
        /// Its new one.
        new: String,
        /// Parameters that both have, at other places.
        moved: Vec<Moved>,
    },
    /// A field moved, has another type, came or went.
    Field {
        /// `file.f_op`
        field: String,
        /// In the old kernel.
        old: Option<Field>,
        /// In the new one.
        new: Option<Field>,
    },
    /// A structure has another size, in bytes.
    Size {
        /// Its name.
        structure: String,
        /// In the old kernel.
        old: u32,
        /// In the new one.
        new: u32,
    },
    /// Tracepoints came, went, or have other fields.
    Tracepoints {
        /// Those with this change.
        tracepoints: Vec<String>,
        /// What happened to them.
        change: TracepointChange,
    },
    /// A feature or an option.
    Feature {
        /// Which.
        feature: String,
        /// In the old kernel.
        old: String,
        /// In the new one.
        new: String,
    },
}

/// What happened to a tracepoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TracepointChange {
    /// It is no longer there.
    Gone,
    /// It was not there.
    New,
    /// Fields came, went or moved.
    Fields {
        /// Only in the old kernel.
        old: Vec<TracepointField>,
        /// Only in the new one.
        new: Vec<TracepointField>,
    },
}

/// A parameter at another place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Its name.
    pub parameter: String,
    /// Its number, counted from 1.
    pub old: usize,
    /// Its number, counted from 1.
    pub new: usize,
}

impl Difference {
    /// Compares two kernels by what the tracers depend on, on either of them.
    pub fn between(old: &Dossier, new: &Dossier) -> Self {
        let (of_old, of_new) = (dependencies_of(old), dependencies_of(new));
        let names: BTreeSet<Tracer> = of_old.keys().chain(of_new.keys()).copied().collect();
        let tracers = names.into_iter().filter_map(|tracer| {
            let both = [&of_old, &of_new].map(|all| all.get(&tracer).cloned().unwrap_or_default());
            let all: Dependencies = both.into_iter().flatten().collect();
            let mut changes = plans(old, new, tracer);
            changes.extend(sizes(old, new, &all));
            for changed in all.iter().filter_map(|dependency| change(old, new, dependency)) {
                add(&mut changes, changed);
            }
            (!changes.is_empty()).then_some((tracer, changes))
        });
        Difference {
            old: old.release.clone(),
            new: new.release.clone(),
            tracers: tracers.collect(),
            general: features(old, new),
        }
    }
}

fn change(old: &Dossier, new: &Dossier, dependency: &Dependency) -> Option<Change> {
    match dependency {
        Dependency::Symbol(symbol) => {
            let states = (old.symbol(symbol), new.symbol(symbol));
            let prototype = match states {
                (SymbolState::Present, SymbolState::Absent) => old.prototype(symbol),
                (SymbolState::Absent, SymbolState::Present) => new.prototype(symbol),
                _ => None,
            };
            let declaration = prototype.map(|prototype| prototype.declare(symbol));
            let (old, new) = states;
            (old != new).then(|| Change::Symbol { symbol: symbol.clone(), old, new, declaration })
        }
        Dependency::Prototype(function) => {
            let (old, new) = (old.prototype(function)?, new.prototype(function)?);
            (old != new).then(|| Change::Prototype {
                function: function.clone(),
                old: old.declare(function),
                new: new.declare(function),
                moved: moved(old, new),
            })
        }
        Dependency::Field(structure, field) => {
            let found = |dossier: &Dossier| dossier.field(structure, field);
            let (old, new) = (found(old), found(new));
            let same = match (&old, &new) {
                // What was discovered has no type.
                (Some(old), Some(new)) if [old, new].iter().any(|f| f.type_name == "?") => {
                    (old.offset, old.bit) == (new.offset, new.bit)
                }
                _ => old == new,
            };
            (!same).then(|| Change::Field { field: format!("{structure}.{field}"), old, new })
        }
        Dependency::Tracepoint(name) => {
            let change = match (old.tracepoints.get(name), new.tracepoints.get(name)) {
                (old, new) if old == new => return None,
                (None, _) => TracepointChange::New,
                (_, None) => TracepointChange::Gone,
                (Some(old), Some(new)) => {
                    let only = |ours: &[TracepointField], theirs: &[TracepointField]| {
                        ours.iter().filter(|field| !theirs.contains(field)).cloned().collect()
                    };
                    TracepointChange::Fields { old: only(old, new), new: only(new, old) }
                }
            };
            Some(Change::Tracepoints { tracepoints: vec![name.clone()], change })
        }
    }
}

/// Adds a change; tracepoints with the same one go together.
fn add(changes: &mut Vec<Change>, change: Change) {
    if let Change::Tracepoints { tracepoints, change } = &change {
        for known in changes.iter_mut() {
            if let Change::Tracepoints { tracepoints: names, change: other } = known
                && other == change
            {
                names.extend(tracepoints.iter().cloned());
                return;
            }
        }
    }
    changes.push(change);
}

fn moved(old: &Prototype, new: &Prototype) -> Vec<Moved> {
    let numbered =
        || (1..).zip(&old.parameters).filter(|(_, parameter)| !parameter.name.is_empty());
    numbered()
        .filter_map(|(number, parameter)| {
            let (place, _) = new.position(&[&parameter.name])?;
            let place = place as usize;
            (place != number).then(|| Moved {
                parameter: parameter.name.clone(),
                old: number,
                new: place,
            })
        })
        .collect()
}

/// Structures whose fields are depended on.
fn sizes(old: &Dossier, new: &Dossier, dependencies: &Dependencies) -> Vec<Change> {
    let structures: BTreeSet<&String> = dependencies
        .iter()
        .filter_map(|dependency| match dependency {
            Dependency::Field(structure, _) => Some(structure),
            _ => None,
        })
        .collect();
    structures
        .into_iter()
        .filter_map(|structure| {
            let (old, new) = (old.size_of(structure)?, new.size_of(structure)?);
            (old != new).then(|| Change::Size { structure: structure.clone(), old, new })
        })
        .collect()
}

/// Scenarios that are decided otherwise, together where they have the same change.
fn plans(old: &Dossier, new: &Dossier, tracer: Tracer) -> Vec<Change> {
    use BtfMode::{Absent, Embedded, Masked};
    // Masked says nothing more of two kernels without BTF.
    let modes: &[_] = match (&old.types, &new.types) {
        (Some(_), Some(_)) => &[(Embedded, Embedded), (Masked, Masked)],
        (Some(_), None) => &[(Embedded, Absent), (Masked, Absent)],
        (None, Some(_)) => &[(Absent, Embedded), (Absent, Masked)],
        (None, None) => &[(Absent, Absent)],
    };
    let mut groups = Vec::<Group>::new();
    for &modes in modes {
        for scenario in tracer.scenarios() {
            let decided = |dossier: &Dossier, mode| {
                let types = if mode == Masked { GivenTypes::None } else { GivenTypes::Own };
                brief(&dossier.predict(scenario, types))
            };
            let decisions = (decided(old, modes.0), decided(new, modes.1));
            if decisions.0 == decisions.1 {
                continue;
            }
            match groups.iter_mut().find(|group| group.decisions == decisions) {
                Some(group) if group.modes == modes => group.scenarios.push(scenario.to_string()),
                // Masked as with BTF: once is enough.
                Some(group) if group.scenarios.contains(&scenario.to_string()) => {}
                _ => groups.push(Group { scenarios: vec![scenario.to_string()], modes, decisions }),
            }
        }
    }
    groups.into_iter().map(Group::change).collect()
}

/// Scenarios with the same change, of the old kernel and of the new one.
struct Group {
    scenarios: Vec<String>,
    modes: (BtfMode, BtfMode),
    decisions: (String, String),
}

impl Group {
    fn change(self) -> Change {
        let Group { scenarios, modes: (old_btf, btf), decisions: (old, new) } = self;
        let old_btf = Some(old_btf).filter(|old_btf| *old_btf != btf);
        Change::Plan { scenarios, btf, old_btf, old, new }
    }
}

/// A decision without what differs between modes and says nothing of the kernel.
fn brief(decision: &Decision) -> String {
    match decision {
        Decision::Unsupported(_) => decision.to_string(),
        Decision::Plan { attach, buffer, read, .. } => {
            let mut places: Vec<_> = attach.iter().map(|point| point.target.to_string()).collect();
            places.dedup();
            let (buffer, read) = (buffer.name(), read.name());
            format!("at {}; buffer {buffer}, reads {read}", places.join(", "))
        }
    }
}

fn features(old: &Dossier, new: &Dossier) -> Vec<Change> {
    let all = [old, new].map(features_of);
    let names: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    names
        .into_iter()
        .filter_map(|feature| {
            let [old, new] = [&all[0], &all[1]].map(|features| features.get(feature).cloned());
            // An option of a kernel whose configuration is not at hand is not known.
            let (old, new) = (old?, new?);
            (old != new).then(|| Change::Feature { feature: feature.clone(), old, new })
        })
        .collect()
}

/// How [`Features::fentry`](super::Features::fentry) is called.
const FENTRY: &str = "fentry, fexit";

fn features_of(dossier: &Dossier) -> BTreeMap<String, String> {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let features = &dossier.features;
    let mut all = BTreeMap::from([
        ("BTF".to_owned(), yes(dossier.types.is_some())),
        ("uprobes".to_owned(), yes(features.uprobes)),
        ("machine".to_owned(), dossier.machine.clone()),
    ]);
    if let Some(arch) = Arch::of_machine(&dossier.machine) {
        let lowest = arch.kernel_address_min(dossier.five_level_paging);
        all.insert("lowest address of the kernel".to_owned(), format!("{lowest:#x}"));
        let function = arch.function_of(SystemCall::Openat).to_owned();
        all.insert("function of openat(2)".to_owned(), function);
        all.insert("arguments in registers".to_owned(), arch.argument_registers().to_string());
    }
    let known = [
        (FENTRY, features.fentry.map(|trial| trial.to_string())),
        ("/proc/kcore", features.kcore.map(yes)),
        ("page size", features.page_size.map(|bytes| bytes.to_string())),
    ];
    all.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    all.extend(
        features
            .helpers
            .iter()
            .map(|(name, trial)| (format!("helper bpf_{name}"), trial.to_string())),
    );
    all.extend(
        features.maps.iter().map(|(name, trial)| (format!("map type {name}"), trial.to_string())),
    );
    all.extend(dossier.config.clone().into_iter().flatten());
    all
}
