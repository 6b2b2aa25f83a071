//! What happened to a suite in a guest, as the guest's conductor reports it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernlab_proto::suite::{
    COLLECT_BYTES, Cause, End, LoadedMap, LoadedProgram, Part, SuiteReport,
};

/// The most bytes of all collected files. The guest keeps to it as well, but is not trusted.
const COLLECTED: usize = COLLECT_BYTES as usize;

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
    pub not_collected: Vec<(String, String)>,
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
            SuiteReport::SetupFailed { what } => self.setup_failed = Some(what),
            SuiteReport::NotStarted { part, why } => self.not_started = Some((part, why)),
            SuiteReport::Started => self.started = true,
            SuiteReport::Ready { after_ms } => self.ready_after_ms = Some(after_ms),
            SuiteReport::WorkloadEnded { end, output, .. } => {
                self.workload = Some(WorkloadEnd { end, output });
            }
            SuiteReport::Loaded { programs, maps } => {
                (self.programs, self.maps) = (programs, maps);
            }
            SuiteReport::TracerEnded { end, cause, duration_ms } => {
                self.tracer = Some(TracerEnd { end, cause, duration_ms });
            }
            SuiteReport::LeftRunning { processes } => self.left_running = processes,
            SuiteReport::LeftLoaded { programs } => self.left_loaded = programs,
            SuiteReport::Collected { path, bytes } => match STANDARD.decode(bytes) {
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
        if self.not_collected.iter().all(|(known, _)| *known != path) {
            self.not_collected.push((path, why));
        }
    }

    /// A number as a shell's `$?` shows it.
    pub fn status(end: End) -> i32 {
        match end {
            End::Code(code) => code,
            End::Signal(signal) => 128 + signal,
        }
    }
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
        assert_eq!(observed.not_collected, [(path(), "it is too large".to_owned())]);
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
