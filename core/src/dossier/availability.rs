//! How each kernel stands to what a tracer depends on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use super::{Dossier, dependencies_of};
use crate::{
    facts::{Dependency, ProbeResult},
    needs::ObjectNeeds,
    tracer::Tracer,
};

/// One thing that a tracer depends on, and what each kernel has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Availability {
    /// What kind of thing.
    pub kind: Kind,
    /// Its name: `vfs_create`, `file.f_op`, `probe_read_kernel`.
    pub name: String,
    /// Who depends on it: `plan`, or a backend with those variants of its objects that do, if not all.
    pub by: BTreeSet<String>,
    /// What each kernel has of it, by the kernel's id.
    pub states: BTreeMap<String, String>,
}

/// Kinds of things that tracers depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A function or object in the symbol table.
    Symbol,
    /// A function's parameters.
    Prototype,
    /// A field of a structure.
    Field,
    /// A tracepoint of a system call, and its fields.
    Tracepoint,
    /// A helper of BPF programs.
    Helper,
    /// A type of BPF map.
    MapType,
    /// An option of the kernel's configuration.
    Option,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Symbol => "symbol",
            Kind::Prototype => "prototype",
            Kind::Field => "field",
            Kind::Tracepoint => "tracepoint",
            Kind::Helper => "helper",
            Kind::MapType => "map type",
            Kind::Option => "option",
        })
    }
}

/// Kernels by id.
pub type Kernels<'a> = BTreeMap<&'a str, &'a Dossier>;

/// What each tracer depends on: by its plans on these kernels, and by its compiled objects.
pub fn availabilities(
    kernels: &Kernels<'_>,
    objects: &[ObjectNeeds],
) -> BTreeMap<Tracer, Vec<Availability>> {
    let mut found: BTreeMap<Tracer, BTreeMap<(Kind, String), BTreeSet<String>>> = BTreeMap::new();
    let mut note = |tracer, kind, name: String, by: String| {
        found.entry(tracer).or_default().entry((kind, name)).or_default().insert(by);
    };
    for dossier in kernels.values() {
        for (tracer, dependencies) in dependencies_of(dossier) {
            for dependency in dependencies {
                let (kind, name) = match dependency {
                    Dependency::Symbol(name) => (Kind::Symbol, name),
                    Dependency::Prototype(name) => (Kind::Prototype, name),
                    Dependency::Field(structure, field) => {
                        (Kind::Field, format!("{structure}.{field}"))
                    }
                    Dependency::Tracepoint(name) => (Kind::Tracepoint, name),
                };
                note(tracer, kind, name, "plan".to_owned());
            }
        }
    }
    for ObjectNeeds { backend, tracer, variant, needs } in objects {
        let by = format!("{} {variant}", backend.name());
        for helper in &needs.helpers {
            note(*tracer, Kind::Helper, helper.clone(), by.clone());
        }
        for map in &needs.maps {
            note(*tracer, Kind::MapType, map.clone(), by.clone());
        }
        for (structure, fields) in &needs.fields {
            for field in fields {
                note(*tracer, Kind::Field, format!("{structure}.{field}"), by.clone());
            }
        }
    }
    found
        .into_iter()
        .map(|(tracer, dependencies)| {
            let availability =
                |((kind, name), by): ((Kind, String), BTreeSet<String>)| Availability {
                    states: kernels
                        .iter()
                        .map(|(id, dossier)| ((*id).to_owned(), state(dossier, kind, &name)))
                        .collect(),
                    by: whose(&by, tracer, objects),
                    kind,
                    name,
                };
            (tracer, dependencies.into_iter().map(availability).collect())
        })
        .collect()
}

/// Names a backend alone where all variants of its object are meant, else those that are.
fn whose(by: &BTreeSet<String>, tracer: Tracer, objects: &[ObjectNeeds]) -> BTreeSet<String> {
    let mut whose: BTreeSet<String> =
        by.iter().filter(|name| name.as_str() == "plan").cloned().collect();
    let of_tracer = objects.iter().filter(|object| object.tracer == tracer);
    let mut variants: BTreeMap<&str, Vec<(&str, bool)>> = BTreeMap::new();
    for ObjectNeeds { backend, variant, .. } in of_tracer {
        let has = by.contains(&format!("{} {variant}", backend.name()));
        variants.entry(backend.name()).or_default().push((variant, has));
    }
    for (backend, variants) in variants {
        let having: Vec<&str> =
            variants.iter().filter(|(_, has)| *has).map(|(variant, _)| *variant).collect();
        if having.len() == variants.len() {
            whose.insert(backend.to_owned());
        } else if !having.is_empty() {
            whose.insert(format!("{backend} ({})", having.join(", ")));
        }
    }
    whose
}

/// What a kernel has of one thing.
fn state(dossier: &Dossier, kind: Kind, name: &str) -> String {
    let trial = |all: &BTreeMap<String, ProbeResult>| {
        all.get(name).map_or_else(|| "was not tried".to_owned(), ToString::to_string)
    };
    match kind {
        Kind::Symbol => dossier.symbol(name).to_string(),
        Kind::Prototype => match (&dossier.types, dossier.prototype(name)) {
            (None, _) => "no BTF tells".to_owned(),
            (Some(_), None) if dossier.symbol(name).is_present() => {
                "BTF does not describe it".to_owned()
            }
            (Some(_), None) => "absent".to_owned(),
            (Some(_), Some(prototype)) => prototype.declare(name),
        },
        Kind::Field => {
            let Some((structure, field)) = name.split_once('.') else { return String::new() };
            let was_looked_for =
                dossier.types.as_ref().is_none_or(|types| types.covers_field(structure, field));
            match dossier.field(structure, field) {
                Some(field) if field.type_name == "?" => format!("at {}, discovered", field.offset),
                Some(field) if field.bit > 0 => {
                    format!("at {}:{}, {}", field.offset, field.bit, field.type_name)
                }
                Some(field) => format!("at {}, {}", field.offset, field.type_name),
                None if was_looked_for => "absent".to_owned(),
                None => "was not looked for".to_owned(),
            }
        }
        Kind::Tracepoint => match dossier.tracepoints.get(name) {
            None => "absent".to_owned(),
            Some(fields) => {
                let fields =
                    fields.iter().map(|field| format!("{} at {}", field.name, field.offset));
                format!("present: {}", fields.collect::<Vec<_>>().join(", "))
            }
        },
        Kind::Helper => trial(&dossier.features.helpers),
        Kind::MapType => trial(&dossier.features.maps),
        Kind::Option => String::new(),
    }
}

impl fmt::Display for Availability {
    /// One line where all kernels agree, else one for each state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Availability { kind, name, by, states } = self;
        let by: Vec<&str> = by.iter().map(String::as_str).collect();
        write!(f, "{kind} {name} ({}):", by.join(", "))?;
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for (kernel, state) in states {
            match groups.iter_mut().find(|(other, _)| other == state) {
                Some((_, kernels)) => kernels.push(kernel),
                None => groups.push((state, vec![kernel])),
            }
        }
        if let [(state, _)] = groups[..] {
            return writeln!(f, " {state}");
        }
        writeln!(f)?;
        for (state, kernels) in groups {
            writeln!(f, "  {}: {state}", kernels.join(", "))?;
        }
        Ok(())
    }
}
