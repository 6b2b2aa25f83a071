//! The lines that splats begin with.
//!
//! What they look like is in the places of the kernel that print them; a comment names the file
//! where a search of the source for the text wouldn't find it.

use std::borrow::Cow;

use crate::{
    frame::{after_addresses, is_symbol, located},
    kind::Kind,
};

mod bug;
mod info;
mod panic;
mod trap;
mod warning;

/// What the first line of a splat tells.
#[derive(Clone, Debug)]
pub(crate) struct Headline<'a> {
    pub(crate) kind: Kind,
    pub(crate) title: Title<'a>,
    /// The function that the line names.
    pub(crate) function: Option<&'a str>,
    pub(crate) search: Search,
    /// Functions that say nothing about this sort of splat, beyond those of every sort.
    pub(crate) skip: &'static [&'static str],
    pub(crate) role: Role,
}

/// How the title of a splat is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Title<'a> {
    /// `subject in frame`.
    In(Cow<'a, str>),
    /// `subject Read in frame`: whether it was a read is told further below.
    Access(Cow<'a, str>),
    /// What is told in the line below, `in frame`.
    NextLine,
    /// The subject alone.
    Whole(Cow<'a, str>),
}

/// Where the frame that matters is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Near the top: what the headline names, the instruction pointer, the first trace.
    Top,
    /// In the frames under a headline without a heading of their own.
    Headless,
    /// Under the entry to the kernel or the loop that called what doesn't come back.
    Stalled,
    /// Behind the functions that wait.
    Hung,
    /// Where the locks were taken.
    Locks,
    /// Where a lock was taken for the first time in the way that now makes a deadlock possible.
    Became,
    /// Where a page was allocated.
    Owner,
    /// In the function that a worker ran last.
    Worker,
    /// Nowhere.
    Nowhere,
}

/// How a headline stands to the splats around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It begins a splat.
    Begins,
    /// It begins a splat if the kernel's registers or traces follow.
    BeginsIfConfirmed,
    /// It belongs to a splat at most so many lines above; without one it begins its own.
    Follows {
        /// The lines.
        within: usize,
    },
    /// It belongs to the splat that begins at most so many lines below, or just above; without one it
    /// begins its own.
    Announces {
        /// The lines.
        within: usize,
    },
    /// As `Announces`, and without one it says nothing unless the kernel's traces follow.
    AnnouncesIfConfirmed {
        /// The lines.
        within: usize,
    },
}

/// No distance is too far for a panic that the kernel was told to make of every splat.
const ANYWHERE: usize = usize::MAX;

/// How far below its announcement a splat begins.
const SOON: usize = 12;

/// How far below its beginning a splat continues.
pub(crate) const NEAR: usize = 120;

impl<'a> Headline<'a> {
    fn new(kind: Kind, title: Title<'a>, search: Search) -> Self {
        Headline { kind, title, function: None, search, skip: &[], role: Role::Begins }
    }

    /// `subject in frame`, the frame near the top.
    fn within(kind: Kind, subject: impl Into<Cow<'a, str>>) -> Self {
        Self::new(kind, Title::In(subject.into()), Search::Top)
    }

    /// A title that needs no frame.
    fn whole(kind: Kind, title: impl Into<Cow<'a, str>>) -> Self {
        Self::new(kind, Title::Whole(title.into()), Search::Nowhere)
    }

    fn of(self, function: Option<&'a str>) -> Self {
        Headline { function, ..self }
    }

    fn searched(self, search: Search) -> Self {
        Headline { search, ..self }
    }

    fn skipping(self, skip: &'static [&'static str]) -> Self {
        Headline { skip, ..self }
    }

    fn role(self, role: Role) -> Self {
        Headline { role, ..self }
    }
}

/// The headline that a message is, if it is one.
pub(crate) fn headline(text: &str) -> Option<Headline<'_>> {
    let text = without_frame(text);
    let found = match text.as_bytes().first()? {
        b'B' => bug::headline(text),
        b'W' => warning::headline(text).or_else(|| info::lockup(text)),
        b'I' => info::headline(text),
        b'K' | b'k' => panic::headline(text).or_else(|| bug::at(text)),
        _ => None,
    };
    found
        .or_else(|| info::other(text))
        .or_else(|| trap::headline(text))
        .or_else(|| info::inside(text))
}

/// Whether a message that is no headline could be the first half of one.
pub(crate) fn could_begin(text: &str) -> bool {
    if !text.starts_with(|char| "BWIKUORgkdruw-N*t[".contains(char)) {
        return false;
    }
    const BEGINNINGS: [&str; 18] = [
        "BUG: ",
        "WARNING: ",
        "INFO: task ",
        "INFO: rcu_",
        "INFO: possible ",
        "rcu: INFO: rcu_",
        "watchdog: BUG: ",
        "Kernel panic - not syncing: ",
        "kernel BUG at ",
        "general protection fault",
        "Unable to handle kernel ",
        "UBSAN: ",
        "Internal error: ",
        "Oops: ",
        "divide error: ",
        "unregister_netdevice: waiting for ",
        "Read of size ",
        "Write of size ",
    ];
    let text = without_frame(text);
    text.len() >= 2
        && BEGINNINGS.iter().any(|start| start.starts_with(text) || text.starts_with(start))
}

/// A text without what some versions and subsystems put around a headline.
fn without_frame(text: &str) -> &str {
    const BEFORE: [&str; 10] = [
        "------------[ cut here ]------------",
        "kernel: ",
        "NMI watchdog: ",
        "watchdog: ",
        "rcu: ",
        "traps: ",
        "kmemleak: ",
        "mm: ",
        "workqueue: ",
        "** replaying previous printk message ** ",
    ];
    if !text.starts_with(|char| "-kNwrtm*[".contains(char)) {
        return text;
    }
    let mut text = text;
    for _nested in 0..3 {
        let Some(rest) = BEFORE.iter().find_map(|before| text.strip_prefix(before)) else { break };
        text = rest.trim_start();
    }
    // Lockdep used to draw a box: `[ INFO: possible circular locking dependency detected ]`.
    match text.strip_prefix("[ ") {
        Some(boxed) => boxed.strip_suffix(']').unwrap_or(boxed).trim_end(),
        None => text,
    }
}

/// The function in `in function+0x12/0x34 rest`, or in `in function`.
fn function_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(word)?;
    let rest = after_addresses(rest.trim_start());
    located(rest).or_else(|| {
        // The end of a line can be in the middle of a name.
        let (name, _) = rest.split_once([' ', ',', '+'])?;
        let name = name.split('.').next()?;
        (is_symbol(name) && name.len() > 1).then_some(name)
    })
}
