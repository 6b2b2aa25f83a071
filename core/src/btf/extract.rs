//! What was taken out of BTF: some types and prototypes by name, without the rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Btf, Kind, MAX_DEPTH, Prototype, Type};

/// Types by name: all that a kernel's BTF has, or an extract of it.
#[derive(Clone, Debug)]
pub enum Types {
    /// All of them.
    Whole(Btf),
    /// Some of them. What was not extracted is as good as absent.
    Extract(Extract),
}

impl From<Btf> for Types {
    fn from(btf: Btf) -> Self {
        Types::Whole(btf)
    }
}

impl Types {
    /// The prototype of a function, if it is described.
    pub fn prototype(&self, function: &str) -> Option<Prototype> {
        match self {
            Types::Whole(btf) => btf.prototype(function),
            Types::Extract(extract) => extract.functions.get(function)?.clone(),
        }
    }

    /// Whether these types are those that some object's relocations need, and no others: what they lack
    /// says nothing about the kernel.
    pub fn are_minimal(&self) -> bool {
        match self {
            Types::Whole(btf) => !btf.describes_functions(),
            Types::Extract(extract) => extract.minimal,
        }
    }

    /// The offset of a field in bytes; none if there is no such field, or if it is not byte-aligned.
    pub fn member_offset(&self, structure: &str, field: &str) -> Option<u32> {
        match self {
            Types::Whole(btf) => btf.member_offset(structure, field),
            Types::Extract(extract) => extract.field(structure, field)?.aligned(),
        }
    }
}

/// What is to be extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Structures and unions, with the fields of each.
    pub structures: BTreeMap<String, Vec<String>>,
    /// Functions.
    pub functions: Vec<String>,
}

/// Some types of a kernel. What was looked for and not found is there as none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extract {
    /// Structures and unions by name.
    pub structures: BTreeMap<String, Option<Structure>>,
    /// Prototypes by the function's name.
    pub functions: BTreeMap<String, Option<Prototype>>,
    /// Whether it was taken out of BTF that describes no function.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub minimal: bool,
}

/// Some fields of a structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Structure {
    /// In bytes.
    pub size: u32,
    /// By name.
    pub fields: BTreeMap<String, Option<Field>>,
}

/// Where a field is, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// In bytes from the start of the structure.
    pub offset: u32,
    /// In bits from there: of a field that is not byte-aligned.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bit: u32,
    /// As C writes it: `struct inode *`.
    #[serde(rename = "type")]
    pub type_name: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Field {
    /// The offset in bytes, if the field begins with a byte.
    pub fn aligned(&self) -> Option<u32> {
        (self.bit == 0).then_some(self.offset)
    }
}

impl Extract {
    /// A field, if it was looked for and found.
    pub fn field(&self, structure: &str, field: &str) -> Option<&Field> {
        self.structures.get(structure)?.as_ref()?.fields.get(field)?.as_ref()
    }

    /// Was this field looked for?
    pub fn covers_field(&self, structure: &str, field: &str) -> bool {
        self.structures.get(structure).is_some_and(|found| {
            found.as_ref().is_none_or(|found| found.fields.contains_key(field))
        })
    }
}

impl Btf {
    /// Takes out what is wanted, in one pass over all types.
    pub fn extract(&self, wanted: &Wanted) -> Extract {
        let mut structures: BTreeMap<&str, Option<Type>> =
            wanted.structures.keys().map(|name| (name.as_str(), None)).collect();
        let mut functions: BTreeMap<&str, Option<Type>> =
            wanted.functions.iter().map(|name| (name.as_str(), None)).collect();
        for id in 1..=self.types.len() as u32 {
            let Some(found) = self.type_by_id(id) else { continue };
            let among = match found.kind {
                Kind::Struct | Kind::Union => &mut structures,
                Kind::Function => &mut functions,
                _ => continue,
            };
            // As in a look-up by name, the first one counts.
            let place = self.string(found.name).and_then(|name| among.get_mut(name));
            if let Some(place @ None) = place {
                *place = Some(found);
            }
        }
        let structure = |name: &str, found: Type| {
            let fields = wanted.structures.get(name).into_iter().flatten();
            let fields = fields.map(|field| (field.clone(), self.field_of(found, field)));
            Structure { size: found.target, fields: fields.collect() }
        };
        Extract {
            minimal: !self.describes_functions(),
            structures: structures
                .into_iter()
                .map(|(name, found)| (name.to_owned(), found.map(|found| structure(name, found))))
                .collect(),
            functions: functions
                .into_iter()
                .map(|(name, found)| {
                    (name.to_owned(), found.and_then(|found| self.prototype_of(found)))
                })
                .collect(),
        }
    }

    fn field_of(&self, structure: Type, field: &str) -> Option<Field> {
        let (bits, type_id) = self.member(structure, field)?;
        let type_name = self.spell(type_id, MAX_DEPTH)?;
        Some(Field { offset: bits / 8, bit: bits % 8, type_name })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample::Builder, *};

    fn btf() -> Btf {
        let mut builder = Builder::new();
        builder.structure("qstr", &[("hash_len", 0), ("name", 8)]);
        builder.function("handler", &[("const struct qstr *", "name")]);
        // A second one of its name.
        builder.structure("qstr", &[("name", 16)]);
        Btf::parse(builder.build()).unwrap()
    }

    fn wanted() -> Wanted {
        let fields = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Wanted {
            structures: BTreeMap::from([
                ("qstr".to_owned(), fields(&["name", "gone"])),
                ("nothing".to_owned(), fields(&["x"])),
            ]),
            functions: vec!["handler".to_owned(), "absent".to_owned()],
        }
    }

    #[test]
    fn an_extract_answers_like_the_whole() {
        let whole = Types::from(btf());
        let extract = Types::Extract(btf().extract(&wanted()));
        for function in ["handler", "absent"] {
            assert_eq!(extract.prototype(function), whole.prototype(function));
        }
        for (structure, field) in [("qstr", "name"), ("qstr", "gone"), ("nothing", "x")] {
            let offset = |types: &Types| types.member_offset(structure, field);
            assert_eq!(offset(&extract), offset(&whole), "{structure}.{field}");
        }
    }

    #[test]
    fn what_is_absent_is_told_from_what_nobody_looked_for() {
        let extract = btf().extract(&wanted());
        assert!(extract.covers_field("qstr", "gone") && extract.covers_field("nothing", "x"));
        assert!(!extract.covers_field("qstr", "hash_len") && !extract.covers_field("file", "f_op"));
        assert_eq!(extract.functions["absent"], None);
    }

    #[test]
    fn an_extract_reads_back_what_it_writes() {
        let extract = btf().extract(&wanted());
        let text = serde_json::to_string(&extract).unwrap();
        assert_eq!(serde_json::from_str::<Extract>(&text).unwrap(), extract);
    }
}
