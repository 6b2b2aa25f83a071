//! Everything that BTF describes, spelled out: what two kernels are compared by.

use std::collections::{BTreeMap, BTreeSet};

use super::{Btf, Kind, MAX_DEPTH, MAX_MEMBERS, Type};

/// How much text is made of each byte of type information: kernels' own becomes about as much as it is
/// long. Made-up type information is as short as the names that it repeats without end.
const TEXT_PER_BYTE: usize = 64;

/// What a listing may still become.
struct Room {
    /// Members of the structure that is being listed.
    members: usize,
    /// Bytes of text.
    text: usize,
}

impl Room {
    /// Makes room for a text; `None` if there is none left.
    fn take(&mut self, text: &str) -> Option<()> {
        self.text = self.text.checked_sub(text.len())?;
        Some(())
    }
}

/// All functions and structures. Several may have one name: static functions of different files, say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Declarations by the function's name.
    pub functions: BTreeMap<String, BTreeSet<String>>,
    /// Lines such as `40 const struct file_operations *f_op`, size first, by the name of the structure
    /// or union.
    pub structures: BTreeMap<String, BTreeSet<Vec<String>>>,
}

impl Btf {
    /// Lists everything that has a name. What is made up to become endless is cut off.
    pub fn listing(&self) -> Listing {
        let mut listing = Listing::default();
        let mut room = Room { members: 0, text: self.bytes.len().saturating_mul(TEXT_PER_BYTE) };
        for id in 1..=self.types.len() as u32 {
            let Some(found) = self.type_by_id(id) else { continue };
            let Some(name) = self.string(found.name).filter(|name| !name.is_empty()) else {
                continue;
            };
            match found.kind {
                Kind::Function => {
                    if let Some(prototype) = self.prototype_of(found) {
                        let declaration = prototype.declare(name);
                        if room.take(&declaration).is_none() {
                            return listing;
                        }
                        listing.functions.entry(name.to_owned()).or_default().insert(declaration);
                    }
                }
                Kind::Struct | Kind::Union => {
                    let mut lines = vec![format!("{} bytes", found.target)];
                    room.members = MAX_MEMBERS;
                    self.list_members(found, 0, MAX_DEPTH, &mut room, &mut lines);
                    listing.structures.entry(name.to_owned()).or_default().insert(lines);
                }
                _ => {}
            }
        }
        listing
    }

    /// A line for each field, those of anonymous members included.
    fn list_members(
        &self,
        structure: Type,
        base_bits: u32,
        depth: u32,
        room: &mut Room,
        lines: &mut Vec<String>,
    ) {
        let Some(depth) = depth.checked_sub(1) else { return };
        for index in 0..structure.vlen as usize {
            let Some(fewer) = room.members.checked_sub(1) else { return };
            room.members = fewer;
            let at = structure.tail + 12 * index;
            let (Some(name), Some(type_id), Some(offset)) = (
                self.u32(at).and_then(|name| self.string(name)),
                self.u32(at + 4),
                self.u32(at + 8),
            ) else {
                continue;
            };
            let offset = if structure.kind_flag { offset & 0x00ff_ffff } else { offset };
            let Some(bits) = base_bits.checked_add(offset) else { continue };
            let inner = self.strip(type_id);
            match inner.filter(|inner| matches!(inner.kind, Kind::Struct | Kind::Union)) {
                Some(inner) if name.is_empty() => {
                    self.list_members(inner, bits, depth, room, lines);
                }
                _ => {
                    let type_name = self.spell(type_id, MAX_DEPTH).unwrap_or_else(|| "?".into());
                    let space = if type_name.ends_with('*') { "" } else { " " };
                    let bit = if bits % 8 == 0 { String::new() } else { format!(":{}", bits % 8) };
                    let line = format!("{}{bit} {type_name}{space}{name}", bits / 8);
                    if room.take(&line).is_none() {
                        return;
                    }
                    lines.push(line);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample::Builder, *};

    #[test]
    fn everything_with_a_name_is_listed() {
        let mut builder = Builder::new();
        builder.structure("qstr", &[("hash_len", 0), ("name", 8)]);
        builder.function("f", &[("const struct qstr *", "name"), ("u32", "cookie")]);
        builder.function("f", &[]);
        let listing = Btf::parse(builder.build()).unwrap().listing();
        let declarations: Vec<_> = listing.functions["f"].iter().map(String::as_str).collect();
        assert_eq!(declarations, ["void f()", "void f(const struct qstr *name, u32 cookie)"]);
        let structure = listing.structures["qstr"].first().unwrap();
        assert_eq!(structure, &["64 bytes", "0 long hash_len", "8 long name"]);
    }
}
