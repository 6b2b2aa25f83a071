//! From a log to its splats.

use std::{borrow::Cow, collections::HashSet};

use crate::{
    Kind, Splat,
    body::{self, Body, Budget, access},
    clean::clean,
    frame::{could_begin_a_frame, frame, instruction_pointer},
    guilty_frame,
    headline::{Headline, NEAR, Role, Title, could_begin, headline},
    learned::without_learned_prefixes,
    message::{Message, Position, lines, of_line},
    prefix::Origin,
    records,
    title::{canonical, stable_name},
};

/// How many splats of a log are told: a kernel that prints more is only repeating itself, and a text
/// made to take long must not.
const MOST: usize = 1000;

/// How many headlines of a line are looked at: where the console ran messages together, two or three.
const MOST_OF_A_LINE: usize = 8;

/// How many lines are compared with the one below in search of torn ones.
const MOST_TORN: usize = 20_000;

/// The splats of a log, in its order: the first thousand.
///
/// What only follows another splat (the oops line of a page fault, the panic that the kernel makes of
/// a warning) is part of that splat. A log that begins in the middle of one has what is left of it.
pub fn scan(log: impl AsRef<[u8]>) -> Vec<Splat> {
    let log = clean(log.as_ref());
    if let Some(records) = records::messages(&log) {
        let of_recording = |splat: Splat| Splat {
            line: records.line(splat.line),
            last_line: records.line(splat.last_line),
            ..splat
        };
        return splats(Cow::Borrowed(&records.text)).into_iter().map(of_recording).collect();
    }
    splats(log)
}

/// The splats of a log with a message on each line.
fn splats(log: Cow<'_, str>) -> Vec<Splat> {
    let log = without_learned_prefixes(log);
    let mut survey = Survey::of(&log);
    let mended = mend(&log, &survey.torn);
    if let Cow::Owned(mended) = &mended {
        survey = Survey::of(mended);
    }
    survey.splats(&mended)
}

/// What one pass over a log finds.
#[derive(Debug, Default)]
struct Survey<'a> {
    found: Vec<(Message<'a>, Headline<'a>)>,
    /// Where a line ends that goes on in the next, and what was between the two.
    torn: Vec<(usize, &'static str)>,
    messages: usize,
    stamped: usize,
}

impl<'a> Survey<'a> {
    fn of(log: &'a str) -> Self {
        let mut survey = Survey::default();
        let mut compared = 0;
        for (position, line) in lines(log, Position::START) {
            let mut incomplete = is_half_a_prefix(line);
            let mut of_this_line = 0;
            of_line(position, line, |message| {
                survey.messages += 1;
                survey.stamped += usize::from(message.time.is_some());
                if message.origin == Origin::User {
                    return;
                }
                incomplete |= could_begin(message.text)
                    || message.origin == Origin::Kernel && could_begin_a_frame(message.text);
                if of_this_line < MOST_OF_A_LINE
                    && let Some(headline) = headline(message.text)
                {
                    survey.found.push((message, headline));
                    of_this_line += 1;
                }
            });
            let end = position.offset + line.len();
            compared += usize::from(incomplete);
            if incomplete
                && compared <= MOST_TORN
                && let Some(between) = goes_on(log, line, end)
            {
                survey.torn.push((end, between));
            }
        }
        survey
    }

    /// Whether the kernel of this log puts its time in front of messages: a line without it is then
    /// a program's, or was torn.
    fn has_times(&self) -> bool {
        self.stamped >= 3 && self.stamped * 10 >= self.messages
    }

    fn splats(&self, log: &'a str) -> Vec<Splat> {
        let mut splats: Vec<Told> = Vec::new();
        let mut known = HashSet::new();
        let mut budget = Budget::WHOLE;
        for (index, (message, headline)) in self.found.iter().enumerate() {
            if splats.len() == MOST {
                break;
            }
            if self.is_inlined(index) {
                continue;
            }
            match headline.role {
                Role::Follows { within } => {
                    // Splats are in the order of the log: none further up is nearer.
                    let near = |before: &&mut Told| message.line - before.splat.line <= within;
                    let mut before = splats.iter_mut().rev().take_while(near);
                    if let Some(before) =
                        before.find(|before| before.continues_in(message, headline.kind, within))
                    {
                        before.splat.last_line = before.splat.last_line.max(message.line);
                        continue;
                    }
                }
                Role::Announces { within } | Role::AnnouncesIfConfirmed { within } => {
                    let just_above = |before: &Told| before.continues_in(message, headline.kind, 3);
                    if self.is_announced(index, within) || splats.last().is_some_and(just_above) {
                        continue;
                    }
                }
                Role::Begins | Role::BeginsIfConfirmed => {}
            }
            if let Some(before) = splats.last_mut()
                && before.warns_of_itself(message, headline)
            {
                before.splat.last_line =
                    body::read(log, message, &mut budget, ends_the_one_before).last_line;
                continue;
            }
            let body = body::read(log, message, &mut budget, ends_the_one_before);
            let needs_proof = matches!(
                headline.role,
                Role::BeginsIfConfirmed | Role::AnnouncesIfConfirmed { .. }
            ) || message.is_bare() && self.has_times();
            if needs_proof && !body.confirmed {
                continue;
            }
            let told = Told::new(message, headline, &body);
            // The same message can be recorded twice: by the console, and by a program that reads
            // the kernel's log.
            let time = message.time.filter(|time| is_exact(time));
            if time.is_none_or(|time| known.insert((told.splat.title.clone(), time))) {
                splats.push(told);
            }
        }
        splats.into_iter().map(|told| told.splat).collect()
    }

    /// Whether a symboliser repeated this headline for a function inlined into that of the next line.
    fn is_inlined(&self, index: usize) -> bool {
        let (message, headline) = &self.found[index];
        message.text.contains("[inline]")
            && self.found.get(index + 1).is_some_and(|(next, following)| {
                next.line == message.line + 1 && following.kind == headline.kind
            })
    }

    /// Whether the splat that a line announces does begin below it.
    fn is_announced(&self, index: usize, within: usize) -> bool {
        let (announcement, _) = &self.found[index];
        let near = self.found[index + 1..]
            .iter()
            .take_while(|(message, _)| message.line <= announcement.line + within);
        near.into_iter().any(|(message, _)| may_be_of_one(announcement.caller, message.caller))
    }
}

/// Whether a time is the kernel's own, so that no two messages of one task have the same.
fn is_exact(time: &str) -> bool {
    time.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether two messages can have been printed by the same task or processor.
fn may_be_of_one(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Whether a message begins another splat than the one that is being read.
fn ends_the_one_before(message: &Message) -> bool {
    let begins = |headline: Headline| {
        matches!(headline.role, Role::Begins | Role::BeginsIfConfirmed)
            && headline.kind != Kind::UnregisterNetdevice
    };
    message.origin != Origin::User && headline(message.text).is_some_and(begins)
}

/// A splat, and what tells whether a later message belongs to it.
#[derive(Debug)]
struct Told<'a> {
    splat: Splat,
    caller: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn new(message: &Message<'a>, headline: &Headline<'a>, body: &Body<'a>) -> Self {
        let frame = guilty_frame::frame(headline, body);
        let splat = Splat {
            title: title(headline, body, frame.map(stable_name).as_deref()),
            kind: headline.kind,
            frame: frame.map(ToOwned::to_owned),
            line: message.line,
            last_line: body.last_line,
        };
        Told { splat, caller: message.caller }
    }

    /// Whether a warning is the kernel's own about a splat just above it.
    fn warns_of_itself(&self, message: &Message, headline: &Headline) -> bool {
        // What the report ends with: a failure of CFI that the kernel was told to survive,
        // kernel/cfi.c, report_cfi_failure(); since 6.16 object_err() and __slab_err() of mm/slub.c,
        // and kmem_cache_destroy() where objects are left; umount_check() of fs/dcache.c.
        const ENDS: [(Kind, &str, &str, usize); 4] = [
            (Kind::Oops, "CFI failure", "", 4),
            (Kind::SlabCorruption, "BUG: ", "mm/slub.c:", NEAR),
            (Kind::SlabCorruption, "BUG: Objects remaining", "mm/slab_common.c:", NEAR),
            (Kind::Bug, "BUG: Dentry still in use", "fs/dcache.c:", 4),
        ];
        let same_function = headline
            .function
            .is_none_or(|function| self.splat.frame.as_deref().is_none_or(|own| own == function));
        headline.kind == Kind::Warning
            && same_function
            && ENDS.iter().any(|(kind, title, file, within)| {
                self.splat.kind == *kind
                    && self.splat.title.starts_with(title)
                    && message.text.contains(file)
                    && self.continues_in(message, headline.kind, *within)
            })
    }

    /// Whether a message `within` so many lines belongs to this splat.
    fn continues_in(&self, message: &Message, kind: Kind, within: usize) -> bool {
        let near = message.line - self.splat.line <= within;
        let everywhere = within == usize::MAX;
        let own = self.splat.kind;
        let fits = match kind {
            Kind::OutOfMemory | Kind::MemoryLeak | Kind::RcuStall => own == kind,
            _ => !matches!(own, Kind::OutOfMemory | Kind::MemoryLeak | Kind::UnregisterNetdevice),
        };
        near && fits && (everywhere || may_be_of_one(self.caller, message.caller))
    }
}

fn title(headline: &Headline, body: &Body, frame: Option<&str>) -> String {
    let within = |subject: &str| match frame {
        Some(frame) if subject == "WARNING" && headline.function == Some("usb_submit_urb") => {
            format!("{subject} in {frame}/usb_submit_urb")
        }
        Some(frame) => format!("{subject} in {frame}"),
        None => subject.to_owned(),
    };
    match &headline.title {
        Title::In(subject) => within(subject),
        Title::Access(subject) => match body.access {
            Some(access) => within(&format!("{subject} {access}")),
            None => within(subject),
        },
        Title::NextLine => within(&canonical(body.said.unwrap_or("panic of Rust code"))),
        Title::Whole(title) => canonical(title),
    }
}

/// Whether a line is a prefix without a message.
fn is_half_a_prefix(line: &str) -> bool {
    line.len() < 40
        && line.starts_with(['[', '<'])
        && line.bytes().all(|byte| byte.is_ascii_digit() || b"[]<>. TC".contains(&byte))
}

/// What to put between a line and the one behind `end`, where that continues it: it has no prefix of
/// its own, and the two together say more than the first one alone. Mail programs break lines where
/// a space was.
fn goes_on(log: &str, line: &str, end: usize) -> Option<&'static str> {
    let rest = log.get(end + 1..)?;
    let (_, next) = lines(rest, Position::START).next()?;
    let mut has_prefix = next.is_empty();
    of_line(Position::START, next, |message| {
        has_prefix |= message.leads && !message.is_bare() || message.time.is_some();
    });
    if has_prefix {
        return None;
    }
    let told = meaning(line);
    let best = ["", " "]
        .into_iter()
        .rev()
        .max_by_key(|between| meaning(&format!("{line}{between}{next}")))?;
    (is_panic(line) || meaning(&format!("{line}{best}{next}")) > told).then_some(best)
}

/// Whether a line is the kernel's last one: no program prints the next, and nothing tells where its
/// reason ends.
fn is_panic(line: &str) -> bool {
    let mut found = false;
    of_line(Position::START, line, |message| {
        found |= !message.is_bare() && message.text.starts_with("Kernel panic - not syncing");
    });
    found
}

/// How much a line says: of a headline, or of what is below one.
fn meaning(line: &str) -> u8 {
    let mut most = 0;
    of_line(Position::START, line, |message| {
        let of_headline = headline(message.text).map_or(0, |headline| match headline.role {
            Role::BeginsIfConfirmed => 1,
            _ if headline.function.is_none() => 2,
            _ => 3,
        });
        let function = frame(message.text).map(|frame| frame.function);
        let function = function.or(instruction_pointer(message.text).flatten());
        let detail = u8::from(function.is_some() || access(message.text).is_some());
        most = most.max(of_headline).max(detail);
    });
    most
}

/// Puts torn lines together. Every line keeps its number: the end of the line moves behind the part
/// that was torn off, and leaves an empty line.
fn mend<'a>(log: &'a str, torn: &[(usize, &str)]) -> Cow<'a, str> {
    if torn.is_empty() {
        return Cow::Borrowed(log);
    }
    let mut mended = String::with_capacity(log.len() + 1);
    let mut from = 0;
    for (end, between) in torn.iter().copied().filter(|(end, _)| *end < log.len()) {
        if end < from {
            continue;
        }
        mended.push_str(&log[from..end]);
        mended.push_str(between);
        let rest = &log[end + 1..];
        let length = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        mended.push_str(&rest[..length]);
        mended.push('\n');
        from = end + 1 + length;
    }
    mended.push_str(&log[from..]);
    Cow::Owned(mended)
}
