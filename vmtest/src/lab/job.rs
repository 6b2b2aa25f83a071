//! Jobs: programs that run in a guest.

use std::time::Duration;

use kernlab_proto::RunReport;
pub use kernlab_proto::{Exit, Limits, Stream, TerminalSize};

use super::{cpu_time::CpuTime, machine::ANSWER};

/// A file that the agent writes before the program starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GuestFile {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) bytes: Vec<u8>,
}

/// A program to run in a guest, without another beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) hide: Vec<String>,
    pub(super) files: Vec<GuestFile>,
    pub(super) timeout: Duration,
    pub(super) grace: Duration,
    pub(super) limits: Limits,
    pub(super) is_only_streamed: bool,
}

impl Job {
    /// A program by its absolute path in the guest, with its arguments, an empty environment and a
    /// timeout of ten seconds.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Job {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            hide: Vec::new(),
            files: Vec::new(),
            timeout: Duration::from_secs(10),
            grace: ANSWER,
            limits: Limits { stdout: 256 << 10, stderr: 256 << 10, result: 4 << 20 },
            is_only_streamed: false,
        }
    }

    /// Gives the program's output only to who hears it when it arrives, and keeps no other copy: it may
    /// be as large as memory.
    #[must_use]
    pub fn only_streamed(self) -> Self {
        Job { is_only_streamed: true, ..self }
    }

    /// Takes an argument away.
    #[must_use]
    pub fn without_argument(mut self, argument: &str) -> Self {
        self.argv.retain(|given| given != argument);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Makes a file or directory appear empty while the program runs.
    #[must_use]
    pub fn hide(mut self, path: impl Into<String>) -> Self {
        self.hide.push(path.into());
        self
    }

    /// Writes a file before the program starts.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push(GuestFile { path: path.into(), mode, bytes: bytes.into() });
        self
    }

    /// Kills the program and all its children after this timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Gives up the guest if it does not answer within this time after the timeout.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Keeps at most this much of the program's output.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// The result of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOutput {
    /// How the program ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// What it wrote to descriptor 3.
    pub result: Vec<u8>,
    /// Bytes beyond the job's limits, which were dropped.
    pub dropped: u64,
    /// Processes that the program left running, and that were killed.
    pub killed: u32,
    /// A process of the program could not be killed: the guest's kernel holds it.
    pub stuck: bool,
    /// From the request to the answer, by the host's clock.
    pub duration: Duration,
    /// How much of that time the host ran the guest.
    pub cpu_time: CpuTime,
    /// From the program's start to its end, by the guest's clock.
    pub guest_duration: Duration,
}

/// The slowest guest that counts as sending, in bytes per second: a serial port of a busy host.
const SLOWEST: u64 = 4 << 10;
/// The longest time for which output may arrive after a deadline.
const LATEST: Duration = Duration::from_secs(600);

/// Output that is still arriving. The guest enforces the limits, but the host does not trust it.
#[derive(Debug)]
pub(super) struct Collected {
    /// How many bytes have arrived.
    arrived: u64,
    /// What may still arrive.
    room: Limits,
    is_kept: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    result: Vec<u8>,
}

impl Collected {
    pub(super) fn new(job: &Job) -> Self {
        let (stdout, stderr, result) = Default::default();
        let is_kept = !job.is_only_streamed;
        Collected { arrived: 0, room: job.limits, is_kept, stdout, stderr, result }
    }

    /// The time after its deadline for which a guest may still send. Only what it sends earns it: a
    /// guest that sends next to nothing would otherwise never end.
    pub(super) fn earned(&self) -> Duration {
        Duration::from_millis(self.arrived.saturating_mul(1000) / SLOWEST).min(LATEST)
    }

    /// Adds a chunk; `false` if it exceeds the limits.
    pub(super) fn add(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        let (kept, room) = match stream {
            Stream::Stdout => (&mut self.stdout, &mut self.room.stdout),
            Stream::Stderr => (&mut self.stderr, &mut self.room.stderr),
            Stream::Result => (&mut self.result, &mut self.room.result),
            Stream::KernelLog => return false,
        };
        let Some(left) = room.checked_sub(bytes.len() as u64) else { return false };
        *room = left;
        self.arrived = self.arrived.saturating_add(bytes.len() as u64);
        if self.is_kept {
            kept.extend_from_slice(bytes);
        }
        true
    }

    pub(super) fn finish(
        self,
        report: RunReport,
        duration: Duration,
        cpu_time: CpuTime,
    ) -> JobOutput {
        JobOutput {
            exit: report.exit,
            stdout: self.stdout,
            stderr: self.stderr,
            result: self.result,
            dropped: report.dropped,
            killed: report.killed,
            stuck: report.stuck,
            duration,
            cpu_time,
            guest_duration: Duration::from_micros(report.duration_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_sends_more_than_allowed_is_caught() {
        let limits = Limits { stdout: 4, stderr: 0, result: 0 };
        let mut collected = Collected::new(&Job::new(["x"]).limits(limits));
        assert!(collected.add(Stream::Stdout, b"four"));
        assert!(!collected.add(Stream::Stdout, b"!"));
        assert!(!collected.add(Stream::Stderr, b"x"));
        assert!(!collected.add(Stream::KernelLog, b""));
        assert_eq!(collected.stdout, b"four");
        let mut passed_on = Collected::new(&Job::new(["x"]).limits(limits).only_streamed());
        assert!(passed_on.add(Stream::Stdout, b"four"));
        assert!(!passed_on.add(Stream::Stdout, b"!"));
        assert_eq!(passed_on.stdout, b"");
    }

    #[test]
    fn only_what_is_sent_earns_time() {
        let limits = Limits { stdout: u64::MAX, stderr: 0, result: 0 };
        let mut collected = Collected::new(&Job::new(["x"]).limits(limits).only_streamed());
        assert!(collected.add(Stream::Stdout, b""));
        assert_eq!(collected.earned(), Duration::ZERO);
        assert!(collected.add(Stream::Stdout, &vec![0; 8 << 10]));
        assert_eq!(collected.earned(), Duration::from_secs(2));
        collected.arrived = u64::MAX;
        assert_eq!(collected.earned(), LATEST);
    }
}
