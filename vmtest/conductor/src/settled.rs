//! Tells when a tracer has done what there was to do, and waits for events.
//!
//! Whoever looks may wake it: a tracer of openat(2) sees the files that are opened here. So few are,
//! and a thread that runs counts as waiting if it has used little of a processor since the last look.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nix::unistd::{Pid, getpgid};

/// How long a look should come after the one before.
pub(crate) const INTERVAL: Duration = Duration::from_millis(30);
/// How many looks in a row must find it waiting: between two steps of its work a tracer may sleep
/// for a moment.
const LOOKS: u32 = 3;

/// Looks at all threads of a process group, and of the one that its first process has moved to.
pub(crate) struct Settled {
    group: Pid,
    looks: u32,
    last: Option<(Instant, BTreeMap<i32, Thread>)>,
}

/// A thread at the moment of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thread {
    /// As in proc(5).
    state: char,
    /// The time that it has run on a processor.
    ran: Duration,
}

impl Settled {
    pub(crate) fn new(group: Pid) -> Self {
        Settled { group, looks: 0, last: None }
    }

    /// Looks. True if it was found waiting often enough.
    pub(crate) fn look(&mut self) -> bool {
        let now = Instant::now();
        let threads = self.threads();
        let waits = match &self.last {
            Some((at, before)) => {
                let elapsed = now - *at;
                let waits = |(id, thread): (&i32, &Thread)| thread.waits(before.get(id), elapsed);
                !threads.is_empty() && threads.iter().all(waits)
            }
            None => false,
        };
        self.looks = if waits { self.looks + 1 } else { 0 };
        self.last = Some((now, threads));
        self.looks >= LOOKS
    }

    /// Its threads that have not ended, by their number.
    fn threads(&self) -> BTreeMap<i32, Thread> {
        let mut threads = BTreeMap::new();
        // Its first process may have left for another group, and what it starts is then in that one.
        let groups = [Ok(self.group), getpgid(Some(self.group))];
        for process in numbers(Path::new("/proc")) {
            let group = getpgid(Some(Pid::from_raw(process)));
            if group.is_err() || !groups.contains(&group) {
                continue;
            }
            let dir = Path::new("/proc").join(process.to_string()).join("task");
            for id in numbers(&dir) {
                let read = |file| {
                    fs::read_to_string(dir.join(id.to_string()).join(file)).unwrap_or_default()
                };
                let thread = Thread::read(&read("stat"), &read("schedstat"));
                threads.extend(thread.map(|thread| (id, thread)));
            }
        }
        threads
    }
}

/// The entries of a directory that are numbers.
fn numbers(dir: &Path) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

impl Thread {
    /// From `stat` and `schedstat`, which some kernels lack. None if it has ended.
    fn read(stat: &str, schedstat: &str) -> Option<Self> {
        // The name, in parentheses, may contain anything.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let state = fields.first()?.chars().next()?;
        let ran = schedstat.split_ascii_whitespace().next().and_then(|ran| ran.parse().ok());
        let ran = ran.map(Duration::from_nanos).or_else(|| {
            // In ticks of 10 ms: for user space, and for the kernel.
            let ticks: u64 =
                fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
            Some(Duration::from_millis(ticks * 10))
        });
        let thread = Thread { state, ran: ran? };
        (!matches!(state, 'Z' | 'X')).then_some(thread)
    }

    fn waits(&self, before: Option<&Thread>, elapsed: Duration) -> bool {
        match (self.state, before) {
            ('S', _) => true,
            ('R', Some(before)) => self.ran.saturating_sub(before.ran) * 4 <= elapsed,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command, thread};

    use super::*;

    #[test]
    fn one_look_is_not_enough() {
        let mut sleeper = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let group = Pid::from_raw(sleeper.id().cast_signed());
        // It may not sleep yet.
        let mut settled = Settled::new(group);
        let sleeps = (0..1000).any(|_| {
            thread::sleep(INTERVAL);
            settled.look()
        });
        let mut settled = Settled::new(group);
        let looks = [(); 4].map(|()| settled.look());
        sleeper.kill().and_then(|()| sleeper.wait()).unwrap();
        // The first has none before it to compare with.
        assert_eq!((sleeps, looks), (true, [false, false, false, true]));
    }

    const STAT: &str = "42 (a) R 1 (b) S 1 41 40 0 -1 4194560 1 0 0 0 7 5 0 0 20";

    fn thread(state: char, ran_ms: u64) -> Thread {
        Thread { state, ran: Duration::from_millis(ran_ms) }
    }

    #[test]
    fn a_name_does_not_confuse_the_fields_that_follow() {
        assert_eq!(Thread::read(STAT, "3000000 5 6\n"), Some(thread('S', 3)));
        assert_eq!(Thread::read(STAT, ""), Some(thread('S', 120)));
        assert_eq!(Thread::read("42 (a) Z 1 41 40", "1 2 3"), None);
        assert_eq!(Thread::read("", ""), None);
    }

    #[test]
    fn a_thread_waits_if_it_sleeps_or_was_only_disturbed() {
        let elapsed = Duration::from_millis(40);
        let before = thread('S', 100);
        assert!(thread('S', 130).waits(None, elapsed));
        assert!(thread('R', 110).waits(Some(&before), elapsed));
        assert!(!thread('R', 111).waits(Some(&before), elapsed));
        assert!(!thread('R', 100).waits(None, elapsed), "it is new");
        assert!(!thread('D', 100).waits(Some(&before), elapsed), "it is in the kernel");
    }
}
