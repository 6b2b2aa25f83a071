//! What a search of memory found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::image::Memory;
use crate::{btf::Prototype, outcome::Reason, unsupported::Unsupported};

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {
    /// Fields by `structure.field`.
    pub fields: BTreeMap<String, Finding>,
    /// Functions with those of their parameters that are known.
    pub prototypes: BTreeMap<String, Prototype>,
    /// Why others were not found, by what was looked for. What depends on them is in neither map.
    pub failures: BTreeMap<String, String>,
    /// The address of `socket_file_ops`: the operations of every open socket.
    pub socket_file_ops: Option<u64>,
}

/// An offset, and why it is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// In bytes from the start of the structure.
    pub offset: u32,
    /// The relation that this offset alone fulfils; empty in test data.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub how: String,
}

impl Discovered {
    /// The offset in bytes of `field` in `struct structure`.
    pub fn offset(&self, structure: &str, field: &str) -> Result<u32, Unsupported> {
        let name = format!("{structure}.{field}");
        match self.fields.get(&name) {
            Some(finding) => Ok(finding.offset),
            None => Err(self.not_found(&name)),
        }
    }

    /// The address of the directory entry by which a thread's descriptor was opened.
    pub fn dentry_of(&self, memory: &mut dyn Memory, task: u64, descriptor: u32) -> Option<u64> {
        let mut follow = |pointer: u64, offset: u32| {
            let mut word = [0; 8];
            let address = pointer.checked_add(offset.into())?;
            memory.read(address, &mut word).then_some(u64::from_ne_bytes(word))
        };
        let offset = |structure, field| self.offset(structure, field).ok();
        let files = follow(task, offset("task_struct", "files")?)?;
        let table = follow(files, offset("files_struct", "fdt")?)?;
        let array = follow(table, offset("fdtable", "fd")?)?;
        let file = follow(array, 8 * descriptor)?;
        follow(file, offset("file", "f_path")? + offset("path", "dentry")?)
    }

    /// Why `what` is not among the findings.
    pub(crate) fn not_found(&self, what: &str) -> Unsupported {
        let why: Vec<_> = match self.failures.get(what) {
            Some(why) => vec![why.clone()],
            None => self.failures.iter().map(|(what, why)| format!("{what}: {why}")).collect(),
        };
        let why =
            if why.is_empty() { "it was not searched for".to_owned() } else { why.join("; ") };
        let message = format!("discovery did not find {what}: {why}");
        Unsupported::new(Reason::LayoutNotFound, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pointers by their addresses.
    struct Pointers(BTreeMap<u64, u64>);

    impl Memory for Pointers {
        fn read(&mut self, address: u64, into: &mut [u8]) -> bool {
            let Some(pointer) = self.0.get(&address) else { return false };
            into.copy_from_slice(&pointer.to_ne_bytes());
            true
        }
    }

    #[test]
    fn the_entry_of_a_descriptor_is_followed_to() {
        let fields = [
            ("task_struct.files", 0x10),
            ("files_struct.fdt", 0x20),
            ("fdtable.fd", 0x30),
            ("file.f_path", 0x40),
            ("path.dentry", 8),
        ];
        let finding = |offset| Finding { offset, how: String::new() };
        let found = Discovered {
            fields: fields.map(|(name, offset)| (name.to_owned(), finding(offset))).into(),
            ..Discovered::default()
        };
        let mut memory = Pointers(BTreeMap::from([
            (0x1010, 0x2000),
            (0x2020, 0x3000),
            (0x3030, 0x4000),
            (0x4000 + 8 * 5, 0x5000),
            (0x5048, 0x6000),
        ]));
        assert_eq!(found.dentry_of(&mut memory, 0x1000, 5), Some(0x6000));
        assert_eq!(found.dentry_of(&mut memory, 0x1000, 4), None, "it is not open");
        assert_eq!(Discovered::default().dentry_of(&mut memory, 0x1000, 5), None);
    }
}
