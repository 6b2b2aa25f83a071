//! Finds where fields are in the structures of a kernel that carries no type information.
//!
//! Every offset comes from a relation between kernel memory and what a process knows of itself: the
//! names and ids of its threads, the status of its files, the addresses of its sockets. A relation
//! is checked on several objects that differ, and an offset counts only if it alone fulfils it: what
//! is not certain is not reported. There is no table of offsets, and no release is compared.
//!
//! The search is a function of memory and [`Subjects`]: the caller prepares the subjects and reads the
//! memory.

mod calls;
mod comparison;
mod descriptors;
mod discovered;
mod file;
mod image;
mod inode;
mod path;
mod search;
mod sock;
mod socket;
mod subjects;

use self::search::Search;
pub use self::{
    calls::{
        ARGUMENTS, Call, FileAction, Notification, QUESTIONS, Question, TARGET_BYTES,
        entry_function, notifying_function,
    },
    comparison::{LayoutReport, ReportedField, ReportedPrototype},
    discovered::{Discovered, Finding},
    image::Memory,
    subjects::{Access, FileSubject, SocketSubject, Status, Subjects, TaskSubject},
};

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
