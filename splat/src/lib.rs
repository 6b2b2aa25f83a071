//! Finds what a kernel prints when something is wrong with it: a *splat*.
//!
//! [`scan`] is a function over the text of a console or a kernel log, from wherever it was recorded:
//! a serial line, dmesg, syslog, the journal, netconsole. It reads nothing else, and no text makes it
//! panic. Each [`Splat`] has a title that is the same for every occurrence of the same trouble, in the
//! manner of syzkaller: `WARNING in bpf_check`, `KASAN: slab-out-of-bounds Read in nft_init`.
//!
//! What programs print is not the kernel's word: a line counts when it *begins* like a splat behind
//! what the kernel and collectors of logs put in front of messages, and, where its form alone doesn't
//! prove it, when registers or a stack trace of the kernel follow.
//!
//! ```
//! let console = "\
//! [    1.000000] hello: WARNING: not the kernel's word
//! [    4.201337] ------------[ cut here ]------------
//! [    4.201338] WARNING: CPU: 0 PID: 71 at kernel/bpf/verifier.c:2456 bpf_check+0x1f/0x40
//! [    4.201339] Call Trace:
//! [    4.201340]  bpf_prog_load+0x2c/0x70
//! [    4.201341] ---[ end trace 0000000000000000 ]---
//! [    4.300000] done
//! ";
//! let splats = kernlab_splat::scan(console);
//! assert_eq!(splats.len(), 1);
//! assert_eq!(splats[0].title, "WARNING in bpf_check");
//! assert_eq!((splats[0].line, splats[0].kind.is_crash()), (3, false));
//! let evidence: Vec<_> = kernlab_splat::excerpt(console, &splats[0]).collect();
//! assert!(evidence[0].contains("bpf_check+0x1f"));
//! ```

#![warn(missing_docs)]
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

mod allow;
mod body;
mod clean;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guilty_frame;
mod headline;
mod kind;
mod learned;
mod message;
mod part;
mod prefix;
mod records;
mod scan;
mod skip_list;
mod title;

pub use allow::{AllowEntry, AllowList};
pub use kind::Kind;
pub use scan::scan;

/// One piece of trouble that a kernel told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splat {
    /// What happened and where, without anything that differs between two occurrences.
    pub title: String,
    /// The sort of trouble.
    pub kind: Kind,
    /// The function that matters: not the one that reports, allocates or locks for others.
    pub frame: Option<String>,
    /// The line of the log that it begins on, from 1.
    pub line: usize,
    /// The last line of the log that belongs to it.
    #[serde(skip)]
    pub last_line: usize,
}

/// The lines of a log that a splat is made of: the evidence to show.
pub fn excerpt<'a>(log: &'a str, splat: &Splat) -> impl Iterator<Item = &'a str> {
    let length = splat.last_line.saturating_sub(splat.line) + 1;
    log.lines().skip(splat.line.saturating_sub(1)).take(length)
}
