//! Looks up prototypes and field offsets in raw BTF: Documentation/bpf/btf.rst.
//!
//! This runs in every guest, under emulation, on some 5 MB with 100,000 types. It therefore builds
//! one table of offsets and nothing else, where general parsers that index every name take more
//! than a second. The bytes may come from anywhere: no input makes it panic or loop.

mod extract;
mod listing;
mod object;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    extract::{Extract, Field, Structure, Types, Wanted},
    listing::Listing,
};

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;

/// Types nest at most this deep when they are spelled out or searched.
const MAX_DEPTH: u32 = 32;

/// Members of one structure that are looked at: far more than any has, so that a made-up one whose
/// members contain it ends.
const MAX_MEMBERS: usize = 100_000;

/// The longest name, in bytes. The kernel takes none longer than `KSYM_NAME_LEN`, 512: include/linux/kallsyms.h.
const MAX_NAME: usize = 1024;

/// Parameters of one function: far more than any has.
const MAX_PARAMETERS: u32 = 256;

/// Parsed BTF.
#[derive(Clone)]
pub struct Btf {
    bytes: Vec<u8>,
    /// Where each type starts in `bytes`; type 1 is first, type 0 is `void`.
    types: Vec<u32>,
    /// Where the string section is in `bytes`.
    strings: std::ops::Range<usize>,
}

/// Why bytes are not BTF.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Too short for what the header promises.
    #[error("BTF is truncated: {what} ends at byte {end} of {len}")]
    Truncated {
        /// Which part.
        what: &'static str,
        /// Where it should end.
        end: u64,
        /// How much there is.
        len: usize,
    },
    /// Not BTF of this byte order.
    #[error("not little-endian BTF: magic is {0:#06x}, expected 0xeb9f")]
    Magic(u16),
    /// A kind that this parser, and the documentation, don't know.
    #[error("BTF type {id} has unknown kind {kind}")]
    UnknownKind {
        /// Which type.
        id: usize,
        /// Its kind.
        kind: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Function,
    FunctionProto,
    Variable,
    DataSection,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    fn from_number(number: u32) -> Option<Kind> {
        const KINDS: [Kind; 19] = [
            Kind::Int,
            Kind::Pointer,
            Kind::Array,
            Kind::Struct,
            Kind::Union,
            Kind::Enum,
            Kind::Forward,
            Kind::Typedef,
            Kind::Volatile,
            Kind::Const,
            Kind::Restrict,
            Kind::Function,
            Kind::FunctionProto,
            Kind::Variable,
            Kind::DataSection,
            Kind::Float,
            Kind::DeclTag,
            Kind::TypeTag,
            Kind::Enum64,
        ];
        KINDS.get(number.checked_sub(1)? as usize).copied()
    }

    /// Bytes that follow the 12 bytes common to all types.
    fn trailing_bytes(self, vlen: u64) -> u64 {
        match self {
            Kind::Int | Kind::Variable | Kind::DeclTag => 4,
            Kind::Array => 12,
            Kind::Struct | Kind::Union | Kind::DataSection | Kind::Enum64 => vlen * 12,
            Kind::Enum | Kind::FunctionProto => vlen * 8,
            Kind::Pointer
            | Kind::Forward
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Function
            | Kind::Float
            | Kind::TypeTag => 0,
        }
    }
}

/// One type, borrowed from the section.
#[derive(Clone, Copy)]
struct Type {
    kind: Kind,
    kind_flag: bool,
    vlen: u32,
    name: u32,
    /// A size or a type id, as the kind has it.
    target: u32,
    /// Where the kind's own bytes start.
    tail: usize,
}

impl Btf {
    /// Parses the content of `/sys/kernel/btf/vmlinux` or of a `.BTF` section.
    pub fn parse(bytes: Vec<u8>) -> Result<Btf, BtfError> {
        let len = bytes.len();
        let truncated = |what, end| BtfError::Truncated { what, end, len };
        let header = |at: usize| {
            read_u32(&bytes, at).map(u64::from).ok_or(truncated("header", HEADER_LEN as u64))
        };
        let magic = read_u32(&bytes, 0).ok_or(truncated("header", HEADER_LEN as u64))? as u16;
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let body = header(4)?;
        let section = |what, offset: u64, size: u64| {
            let end = body + offset + size;
            if end > len as u64 {
                return Err(truncated(what, end));
            }
            Ok((body + offset) as usize..end as usize)
        };
        let type_section = section("type section", header(8)?, header(12)?)?;
        let strings = section("string section", header(16)?, header(20)?)?;

        let mut types = Vec::with_capacity(type_section.len() / 24);
        let mut at = type_section.start;
        while at < type_section.end {
            let info = read_u32(&bytes, at + 4)
                .ok_or(truncated("type section", type_section.end as u64))?;
            let number = info >> 24 & 0x1f;
            let kind = Kind::from_number(number)
                .ok_or(BtfError::UnknownKind { id: types.len() + 1, kind: number })?;
            let end = at as u64 + 12 + kind.trailing_bytes(u64::from(info & 0xffff));
            if end > type_section.end as u64 {
                return Err(truncated("type section", end));
            }
            types.push(at as u32);
            at = end as usize;
        }
        Ok(Btf { bytes, types, strings })
    }

    /// The highest number of a kind (`BTF_KIND_*` of include/uapi/linux/btf.h) that is used. A kernel
    /// that doesn't know a kind refuses the whole of its BTF.
    pub fn newest_kind(&self) -> u32 {
        let kinds = self.types.iter().filter_map(|at| self.u32(*at as usize + 4));
        kinds.map(|info| info >> 24 & 0x1f).max().unwrap_or_default()
    }

    /// Whether any function is described. A kernel's own BTF describes thousands; what `bpftool gen
    /// min_core_btf` keeps of it is only the fields that an object's relocations need.
    pub fn describes_functions(&self) -> bool {
        (1..=self.types.len() as u32)
            .filter_map(|id| self.type_by_id(id))
            .any(|found| found.kind == Kind::Function)
    }

    /// The number of the type that describes a function: what a program that is attached to it by its
    /// type names when it is loaded.
    pub fn function_id(&self, function: &str) -> Option<u32> {
        self.find_id(&[Kind::Function], function)
    }

    /// The prototype of a function, if BTF describes one of that name.
    pub fn prototype(&self, function: &str) -> Option<Prototype> {
        self.prototype_of(self.find(&[Kind::Function], function)?)
    }

    fn prototype_of(&self, function: Type) -> Option<Prototype> {
        let proto = self.type_by_id(function.target)?;
        if proto.kind != Kind::FunctionProto || proto.vlen > MAX_PARAMETERS {
            return None;
        }
        let parameters = (0..proto.vlen as usize)
            .map(|index| {
                let at = proto.tail + 8 * index;
                Some(Parameter {
                    name: self.string(self.u32(at)?)?.to_owned(),
                    type_name: self.spell(self.u32(at + 4)?, MAX_DEPTH)?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Prototype { parameters, returns: Some(self.spell(proto.target, MAX_DEPTH)?) })
    }

    /// The offset of a field in bytes, looked for in anonymous members as well. None if there is no
    /// such structure or field, or if the field is not byte-aligned.
    pub fn member_offset(&self, structure: &str, field: &str) -> Option<u32> {
        let structure = self.find(&[Kind::Struct, Kind::Union], structure)?;
        let (bits, _) = self.member(structure, field)?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Where a field is, in bits, and the id of its type.
    fn member(&self, structure: Type, field: &str) -> Option<(u32, u32)> {
        let mut left = MAX_MEMBERS;
        self.member_within(structure, field, MAX_DEPTH, &mut left)
    }

    /// The same, at most this deep, and looking at no more members than are left.
    fn member_within(
        &self,
        structure: Type,
        field: &str,
        depth: u32,
        left: &mut usize,
    ) -> Option<(u32, u32)> {
        let depth = depth.checked_sub(1)?;
        (0..structure.vlen as usize).find_map(|index| {
            *left = left.checked_sub(1)?;
            let at = structure.tail + 12 * index;
            let name = self.string(self.u32(at)?)?;
            // With the kind flag the upper 8 bits are a bit field's width.
            let offset_bits =
                self.u32(at + 8)? & if structure.kind_flag { 0x00ff_ffff } else { u32::MAX };
            let type_id = self.u32(at + 4)?;
            if name == field {
                return Some((offset_bits, type_id));
            }
            if !name.is_empty() {
                return None;
            }
            let inner = self.strip(type_id)?;
            if !matches!(inner.kind, Kind::Struct | Kind::Union) {
                return None;
            }
            let (bits, type_id) = self.member_within(inner, field, depth, left)?;
            Some((bits.checked_add(offset_bits)?, type_id))
        })
    }

    fn find(&self, kinds: &[Kind], name: &str) -> Option<Type> {
        self.type_by_id(self.find_id(kinds, name)?)
    }

    fn find_id(&self, kinds: &[Kind], name: &str) -> Option<u32> {
        (1..=self.types.len() as u32).find(|&id| {
            self.type_by_id(id).is_some_and(|found| {
                kinds.contains(&found.kind) && self.string_is(found.name, name)
            })
        })
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_DEPTH {
            let found = self.type_by_id(id)?;
            match found.kind {
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                    id = found.target;
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// The type as C would write it, without a name: `const struct qstr *`.
    fn spell(&self, id: u32, depth: u32) -> Option<String> {
        let depth = depth.checked_sub(1)?;
        if id == 0 {
            return Some("void".to_owned());
        }
        let found = self.type_by_id(id)?;
        let name = || self.string(found.name);
        let qualified = |qualifier: &str| {
            let inner = self.spell(found.target, depth)?;
            // C writes the qualifier of a pointer behind the star.
            Some(if inner.ends_with('*') {
                format!("{inner} {qualifier}")
            } else {
                format!("{qualifier} {inner}")
            })
        };
        match found.kind {
            Kind::Int | Kind::Float | Kind::Typedef | Kind::Function | Kind::Variable => {
                name().map(str::to_owned)
            }
            Kind::Struct => name().map(|name| format!("struct {name}")),
            Kind::Union => name().map(|name| format!("union {name}")),
            Kind::Forward if found.kind_flag => name().map(|name| format!("union {name}")),
            Kind::Forward => name().map(|name| format!("struct {name}")),
            Kind::Enum | Kind::Enum64 => name().map(|name| format!("enum {name}")),
            Kind::Const => qualified("const"),
            Kind::Volatile => qualified("volatile"),
            Kind::Restrict => qualified("restrict"),
            Kind::TypeTag => self.spell(found.target, depth),
            Kind::Pointer => {
                let inner = self.spell(found.target, depth)?;
                Some(if inner.ends_with('*') { format!("{inner}*") } else { format!("{inner} *") })
            }
            Kind::Array => self.spell(self.u32(found.tail)?, depth).map(|inner| inner + "[]"),
            Kind::FunctionProto => {
                self.spell(found.target, depth).map(|returned| format!("{returned} ()"))
            }
            Kind::DataSection | Kind::DeclTag => None,
        }
    }

    fn type_by_id(&self, id: u32) -> Option<Type> {
        let at = *self.types.get((id as usize).checked_sub(1)?)? as usize;
        let info = self.u32(at + 4)?;
        Some(Type {
            kind: Kind::from_number(info >> 24 & 0x1f)?,
            kind_flag: info >> 31 == 1,
            vlen: info & 0xffff,
            name: self.u32(at)?,
            target: self.u32(at + 8)?,
            tail: at + 12,
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        read_u32(&self.bytes, at)
    }

    fn string_bytes(&self, offset: u32) -> Option<&[u8]> {
        self.bytes[self.strings.clone()].get(offset as usize..)
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let rest = self.string_bytes(offset)?;
        let end = rest.iter().take(MAX_NAME + 1).position(|&byte| byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    fn string_is(&self, offset: u32, expected: &str) -> bool {
        self.string_bytes(offset).is_some_and(|rest| {
            rest.starts_with(expected.as_bytes()) && rest.get(expected.len()) == Some(&0)
        })
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf")
            .field("bytes", &self.bytes.len())
            .field("types", &self.types.len())
            .finish()
    }
}

/// The parameters of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prototype {
    /// In order.
    pub parameters: Vec<Parameter>,
    /// What it returns, as C writes it; none where only parameters are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns: Option<String>,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// As in the source; a declaration without names has empty ones.
    pub name: String,
    /// As C writes it: `const struct qstr *`.
    pub type_name: String,
}

impl Prototype {
    /// A prototype known from the source: pairs of type and name.
    pub fn known(parameters: &[(&str, &str)]) -> Self {
        let parameters = parameters
            .iter()
            .map(|&(type_name, name)| Parameter {
                name: name.to_owned(),
                type_name: type_name.to_owned(),
            })
            .collect();
        Prototype { parameters, returns: None }
    }

    /// The whole declaration of a function with this prototype: `int vfs_open(const struct path *path,
    /// struct file *file)`.
    pub fn declare(&self, function: &str) -> String {
        let returns = match &self.returns {
            Some(pointer) if pointer.ends_with('*') => pointer.clone(),
            Some(returns) => format!("{returns} "),
            None => String::new(),
        };
        format!("{returns}{function}{self}")
    }

    /// The first parameter that has one of `names`, with its number counted from 1.
    pub fn position(&self, names: &[&str]) -> Option<(u32, &Parameter)> {
        (1..).zip(&self.parameters).find(|(_, parameter)| names.contains(&parameter.name.as_str()))
    }
}

impl fmt::Display for Prototype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<_> = self
            .parameters
            .iter()
            .map(|Parameter { name, type_name }| {
                let space = if type_name.ends_with('*') || name.is_empty() { "" } else { " " };
                format!("{type_name}{space}{name}")
            })
            .collect();
        write!(f, "({})", parameters.join(", "))
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
