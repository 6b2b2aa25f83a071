//! What the BTF of a compiled object says of its maps and relocations.

use super::{Btf, Kind, MAX_DEPTH, Type};

impl Btf {
    /// The types of the maps in `.maps`: of each its field `type`, a pointer to an array of so many
    /// elements (tools/lib/bpf/bpf_helpers.h, `__uint`).
    pub fn map_types(&self) -> Vec<u32> {
        let sections = (1..=self.types.len() as u32).filter_map(|id| self.type_by_id(id));
        let maps = sections.filter(|section| {
            section.kind == Kind::DataSection && self.string_is(section.name, ".maps")
        });
        maps.flat_map(|section| {
            (0..section.vlen as usize).filter_map(move |index| {
                let variable = self.type_by_id(self.u32(section.tail + 12 * index)?)?;
                self.map_type(self.strip(variable.target)?, MAX_DEPTH)
            })
        })
        .collect()
    }

    fn map_type(&self, definition: Type, depth: u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        if definition.kind != Kind::Struct {
            return None;
        }
        (0..definition.vlen as usize).find_map(|index| {
            let at = definition.tail + 12 * index;
            if !self.string_is(self.u32(at)?, "type") {
                // Aya nests the definition in its own types.
                return self.map_type(self.strip(self.u32(at + 4)?)?, depth);
            }
            let pointer = self.strip(self.u32(at + 4)?)?;
            let array = self.strip(pointer.target)?;
            let is_number = (pointer.kind, array.kind) == (Kind::Pointer, Kind::Array);
            if is_number { self.u32(array.tail + 8) } else { None }
        })
    }

    /// The structure and field that a CO-RE access string such as `0:3:1` means; through anonymous
    /// members, and without the flavour that follows three underscores.
    pub fn accessed_field(&self, type_id: u32, access: u32) -> Option<(String, String)> {
        let root = self.strip(type_id)?;
        let structure = self.string(root.name)?;
        let structure = structure.split_once("___").map_or(structure, |(name, _)| name);
        let mut inside = root;
        let mut field = None;
        // The first index is that of the whole structure.
        for index in self.string(access)?.split(':').skip(1) {
            let index: usize = index.parse().ok()?;
            if !matches!(inside.kind, Kind::Struct | Kind::Union) || index >= inside.vlen as usize {
                return None;
            }
            let at = inside.tail + 12 * index;
            let name = self.string(self.u32(at)?)?;
            inside = self.strip(self.u32(at + 4)?)?;
            if !name.is_empty() {
                field = Some(name.to_owned());
                break;
            }
        }
        Some((structure.to_owned(), field?))
    }
}
