//! What happened to a suite in a guest, as the guest's conductor reports it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernlab_proto::suite::{
    COLLECT_BYTES, Cause, End, LoadedMap, LoadedProgram, Part, SuiteReport,
};

/// The most bytes of all collected files. The guest keeps to it as well, but is not trusted.
const COLLECTED: usize = COLLECT_BYTES as usize;
/// The most collected files: each is a file on the host, however small it is.
const FILES: usize = 10_000;
/// The longest path of a collected file in bytes, as in include/uapi/linux/limits.h.
const LONGEST_PATH: usize = 4096;
/// The most entries of a list: programs, maps, processes, files that are missing.
const ENTRIES: usize = 10_000;
/// The longest name in a list, in bytes. The kernel's own have at most 16.
const NAME: usize = 256;
/// The longest text, in bytes: a message, or the beginning of a workload's output.
const TEXT: usize = 64 << 10;

/// What a guest reported. Everything is as far as the guest came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What could not be prepared, and why.
    pub setup_failed: Option<String>,
    /// A program that could not be started, and why.
    pub not_started: Option<(Part, String)>,
    /// Whether the tracer was started.
    pub started: bool,
    /// When the tracer was ready, in milliseconds from its start.
    pub ready_after_ms: Option<u64>,
    /// How the workload ended.
    pub workload: Option<WorkloadEnd>,
    /// The BPF programs that the tracer had loaded.
    pub programs: Vec<LoadedProgram>,
    /// The BPF maps that it had created.
    pub maps: Vec<LoadedMap>,
    /// How the tracer ended.
    pub tracer: Option<TracerEnd>,
    /// Processes that were left running.
    pub left_running: Vec<String>,
    /// BPF programs that were left in the kernel.
    pub left_loaded: Vec<LoadedProgram>,
    /// Files that were brought back, by their paths in the guest.
    pub collected: BTreeMap<String, Vec<u8>>,
    /// Files that were asked for and could not be read, and why.
    pub not_collected: BTreeMap<String, String>,
    /// Whether the conductor did everything.
    pub done: bool,
}

/// How a workload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEnd {
    /// How. None if it was killed at the deadline.
    pub end: Option<End>,
    /// The beginning of its output.
    pub output: String,
}

/// How a tracer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracerEnd {
    /// How.
    pub end: End,
    /// Why.
    pub cause: Cause,
    /// From its start, in milliseconds.
    pub duration_ms: u64,
}

impl Observed {
    /// Reads the conductor's reports, one JSON document per line. The guest may have been lost in
    /// the middle of a line; what is no report is not believed.
    pub fn read(reports: &[u8]) -> Self {
        let mut observed = Observed::default();
        let mut room = COLLECTED;
        for line in reports.split(|&byte| byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(report) => observed.add(report, &mut room),
                Err(_) => continue,
            }
        }
        observed
    }

    fn add(&mut self, report: SuiteReport, room: &mut usize) {
        match report {
            SuiteReport::SetupFailed { what } => self.setup_failed = Some(cut(what, TEXT)),
            SuiteReport::NotStarted { part, why } => {
                self.not_started = Some((part, cut(why, TEXT)));
            }
            SuiteReport::Started => self.started = true,
            SuiteReport::Ready { after_ms } => self.ready_after_ms = Some(after_ms),
            SuiteReport::WorkloadEnded { end, output, .. } => {
                self.workload = Some(WorkloadEnd { end, output: cut(output, TEXT) });
            }
            SuiteReport::Loaded { programs, maps } => {
                (self.programs, self.maps) = (bounded(programs), bounded(maps));
            }
            SuiteReport::TracerEnded { end, cause, duration_ms } => {
                self.tracer = Some(TracerEnd { end, cause, duration_ms });
            }
            SuiteReport::LeftRunning { processes } => self.left_running = bounded(processes),
            SuiteReport::LeftLoaded { programs } => self.left_loaded = bounded(programs),
            SuiteReport::Collected { path, bytes } => match STANDARD.decode(bytes) {
                _ if path.len() > LONGEST_PATH => {
                    self.not_collected(path, "its path is too long".to_owned(), room);
                }
                _ if self.collected.len() >= FILES && !self.collected.contains_key(&path) => {
                    self.not_collected(path, format!("there are more than {FILES} files"), room);
                }
                Ok(bytes) if bytes.len() <= *room => {
                    *room -= bytes.len();
                    self.collected.entry(path).or_default().extend(bytes);
                }
                Ok(_) => self.not_collected(path, "the files are too large".to_owned(), room),
                Err(error) => self.not_collected(path, error.to_string(), room),
            },
            SuiteReport::NotCollected { path, why } => self.not_collected(path, why, room),
            SuiteReport::Done => self.done = true,
        }
    }

    /// What has arrived of such a file would look like a whole one.
    fn not_collected(&mut self, path: String, why: String, room: &mut usize) {
        *room += self.collected.remove(&path).map_or(0, |part| part.len());
        if self.not_collected.len() < ENTRIES {
            let path = cut(path, LONGEST_PATH);
            self.not_collected.entry(path).or_insert_with(|| cut(why, NAME));
        }
    }
}

/// What a guest names in a list.
trait Named {
    fn name(&mut self) -> &mut String;
}

impl Named for String {
    fn name(&mut self) -> &mut String {
        self
    }
}

impl Named for LoadedProgram {
    fn name(&mut self) -> &mut String {
        &mut self.name
    }
}

impl Named for LoadedMap {
    fn name(&mut self) -> &mut String {
        &mut self.name
    }
}

/// A list that is no longer than an honest guest's, and whose names are not either.
fn bounded<T: Named>(mut list: Vec<T>) -> Vec<T> {
    list.truncate(ENTRIES);
    for entry in &mut list {
        let name = std::mem::take(entry.name());
        *entry.name() = cut(name, NAME);
    }
    list
}

/// A text of at most `longest` bytes, with a mark where more was.
fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(reports: &[SuiteReport]) -> Vec<u8> {
        let line = |report| serde_json::to_string(report).unwrap() + "\n";
        reports.iter().map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn the_parts_of_a_file_are_put_together() {
        let part = |bytes: &[u8]| SuiteReport::Collected {
            path: "/tmp/x".to_owned(),
            bytes: STANDARD.encode(bytes),
        };
        let reports = [SuiteReport::Started, part(b"one\0"), part(b"two"), SuiteReport::Done];
        let observed = Observed::read(&lines(&reports));
        assert_eq!(observed.collected["/tmp/x"], b"one\0two");
        assert!(observed.started && observed.done);
    }

    #[test]
    fn a_part_of_a_file_is_no_file() {
        let path = || "/tmp/x".to_owned();
        let reports = [
            SuiteReport::Collected { path: path(), bytes: STANDARD.encode(b"one") },
            SuiteReport::NotCollected { path: path(), why: "it is too large".to_owned() },
        ];
        let observed = Observed::read(&lines(&reports));
        assert_eq!(observed.collected.len(), 0);
        let expected = BTreeMap::from([(path(), "it is too large".to_owned())]);
        assert_eq!(observed.not_collected, expected);
    }

    #[test]
    fn what_has_no_end_is_cut() {
        let long = || "ä".repeat(TEXT);
        let mut reports: Vec<_> = (0..FILES + 2)
            .map(|number| SuiteReport::Collected {
                path: format!("/tmp/{number:05}"),
                bytes: String::new(),
            })
            .collect();
        let missing = (0..ENTRIES + 2).map(|number| SuiteReport::NotCollected {
            path: format!("/mnt/{number}"),
            why: "w".repeat(NAME + 10),
        });
        reports.extend(missing);
        reports.extend([
            SuiteReport::Collected { path: long(), bytes: String::new() },
            SuiteReport::LeftRunning { processes: vec![long(); 3] },
            SuiteReport::SetupFailed { what: long() },
        ]);
        let observed = Observed::read(&lines(&reports));
        assert_eq!(observed.collected.len(), FILES);
        let missing = &observed.not_collected;
        assert_eq!(missing[&format!("/tmp/{FILES}")], "there are more than 10000 files");
        assert_eq!(missing.len(), ENTRIES);
        assert!(missing.values().all(|why| why.len() <= NAME + 3));
        assert!(observed.left_running.iter().all(|name| name.len() <= NAME + 3));
        assert_eq!(observed.setup_failed.unwrap().len(), TEXT + '…'.len_utf8());
    }

    #[test]
    fn numbers_of_any_size_have_a_status() {
        for (end, status) in [
            (End::Code(i32::MIN), i32::MIN),
            (End::Signal(9), 137),
            (End::Signal(i32::MAX), i32::MAX),
        ] {
            assert_eq!(end.status(), status);
        }
    }

    #[test]
    fn a_guest_that_was_lost_has_told_what_came_before() {
        let reports = [SuiteReport::Started, SuiteReport::Ready { after_ms: 7 }, SuiteReport::Done];
        let mut bytes = lines(&reports);
        bytes.truncate(bytes.len() - 5);
        let observed = Observed::read(&bytes);
        assert_eq!((observed.ready_after_ms, observed.done), (Some(7), false));
    }

    #[test]
    fn nonsense_is_not_believed() {
        let observed = Observed::read(b"{\"event\":\"done\"\n\xff\n{\"event\":\"rocket\"}\n[]\n");
        assert_eq!(observed, Observed::default());
    }
}
