//! Finds where fields are in the structures of a kernel that carries no type information.
//!
//! Every offset comes from a relation between kernel memory and what a process knows of itself: the
//! names and ids of its threads, the status of its files, the addresses of its sockets. A relation
//! is checked on several objects that differ, and an offset counts only if it alone fulfils it: what
//! can't be told for certain is not told. There is no table of offsets, and no release is asked for.
//!
//! The search is a function of memory and [`Subjects`]; who prepares those and reads the memory is
//! not its business.

mod calls;
mod comparison;
mod descriptors;
mod file;
mod image;
mod inode;
mod path;
mod search;
mod sock;
mod socket;
mod subjects;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    calls::{
        ARGUMENTS, Call, FileAction, Notification, QUESTIONS, Question, TARGET_BYTES,
        entry_function, notifying_function,
    },
    comparison::{LayoutReport, ReportedField, ReportedPrototype},
    image::Memory,
    subjects::{Access, FileSubject, SocketSubject, Status, Subjects, TaskSubject},
};
use crate::{btf::Prototype, discovery::search::Search, outcome::Reason, plan::Unsupported};

/// Fields that no plan asks about, for searches: some they find on their way to others, and some tell
/// structures apart.
pub(crate) const SEARCHED_FIELDS: [(&str, &str); 11] = [
    ("file", "f_flags"),
    ("inode", "i_rdev"),
    ("path", "mnt"),
    ("qstr", "hash"),
    ("qstr", "len"),
    ("sock", "sk_socket"),
    ("sock_common", "skc_state"),
    ("socket", "file"),
    ("task_struct", "comm"),
    ("task_struct", "pid"),
    ("task_struct", "tgid"),
];

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
        let why = if why.is_empty() { "nobody looked for it".to_owned() } else { why.join("; ") };
        let message = format!("discovery did not find {what}: {why}");
        Unsupported::new(Reason::LayoutNotFound, message)
    }
}

/// Searches memory for everything that the subjects can tell.
pub fn discover(memory: &mut dyn Memory, subjects: &Subjects) -> Discovered {
    let mut search = Search::new(memory, subjects);
    if let Some(files) = descriptors::search(&mut search) {
        let dentries = path::search(&mut search, &files);
        if let Some(dentries) = dentries {
            inode::search(&mut search, &dentries);
        }
        file::search(&mut search, &files);
        socket::search(&mut search, &files);
    }
    search.found
}

#[cfg(test)]
mod tests;
