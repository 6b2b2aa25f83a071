//! What a kernel has of something that a tracer depends on.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Dossier;
use crate::btf::{Field, Prototype};

/// What a kernel's symbol table says of a function or object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymbolState {
    /// It is listed once.
    Present,
    /// It is listed so many times: different functions of one name.
    Duplicated(usize),
    /// Only copies that the compiler changed are listed: `name.isra.0`, `name.constprop.0`. What they
    /// take as arguments can't be relied on.
    Renamed(Vec<String>),
    /// Only parts are listed, `name.part.0` or `name.cold`: the rest was inlined into its callers.
    Inlined(Vec<String>),
    /// It isn't listed: removed, configured out, or inlined without a trace.
    Absent,
}

impl SymbolState {
    /// Can a probe be attached, and be relied on?
    pub fn is_present(&self) -> bool {
        *self == SymbolState::Present
    }
}

impl fmt::Display for SymbolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SymbolState::Present => f.write_str("present"),
            SymbolState::Duplicated(count) => write!(f, "there are {count} of that name"),
            SymbolState::Renamed(names) => write!(f, "only as {}", names.join(", ")),
            SymbolState::Inlined(parts) => {
                write!(f, "inlined, only {} is left", parts.join(", "))
            }
            SymbolState::Absent => f.write_str("absent"),
        }
    }
}

impl Dossier {
    /// What the symbol table has of `name`, which must be one of the wanted symbols.
    pub fn symbol(&self, name: &str) -> SymbolState {
        match self.symbols.get(name).map(|letters| letters.chars().count()) {
            Some(1) => return SymbolState::Present,
            Some(count) if count > 1 => return SymbolState::Duplicated(count),
            _ => {}
        }
        let made_of_it = self
            .symbols
            .keys()
            .filter(|other| other.strip_prefix(name).is_some_and(|suffix| suffix.starts_with('.')));
        let (parts, copies): (Vec<String>, Vec<String>) = made_of_it
            .cloned()
            .partition(|other| [".part.", ".cold"].iter().any(|part| other.contains(part)));
        match (copies.is_empty(), parts.is_empty()) {
            (false, _) => SymbolState::Renamed(copies),
            (true, false) => SymbolState::Inlined(parts),
            (true, true) => SymbolState::Absent,
        }
    }

    /// A function's prototype, if there is BTF and it describes the function.
    pub fn prototype(&self, function: &str) -> Option<&Prototype> {
        self.types.as_ref()?.functions.get(function)?.as_ref()
    }

    /// A field: from BTF, or as discovered, with a type of `?`.
    pub fn field(&self, structure: &str, field: &str) -> Option<Field> {
        if let Some(types) = &self.types {
            return types.field(structure, field).cloned();
        }
        let offset = self.discovered.offset(structure, field).ok()?;
        Some(Field { offset, bit: 0, type_name: "?".to_owned() })
    }

    /// The size of a structure in bytes, if there is BTF and it describes the structure.
    pub fn size_of(&self, structure: &str) -> Option<u32> {
        Some(self.types.as_ref()?.structures.get(structure)?.as_ref()?.size)
    }
}
