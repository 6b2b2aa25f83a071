//! What the guest's conductor does for one cell of a suite, and what it reports.
//!
//! The conductor starts the user's tracer, waits until it is ready, runs the workload, stops the
//! tracer and tells what happened. The host writes a [`SuiteJob`] as a JSON document to
//! [`JOB_FILE`]; the conductor writes [`SuiteReport`]s as JSON lines to its descriptor 3, each when
//! it happens, so that the host knows how far a guest came that crashed. The tracer's standard
//! output and standard error become those of the conductor.

use std::fmt;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Where the conductor finds its job.
pub const JOB_FILE: &str = "/run/kernlab/job.json";

/// The directory of archives that the agent unpacks, in the order of their names, instead of
/// writing them to files.
pub const ARCHIVES: &str = "/run/kernlab/archives/";

/// The most bytes of a collected file in one report.
pub const COLLECT_CHUNK: usize = 48 * 1024;

/// The most bytes of all collected files of a suite.
pub const COLLECT_BYTES: u64 = 256 << 20;

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteJob {
    /// The working directory of all programs. It is created if it is missing.
    pub directory: String,
    /// The complete environment of all programs.
    pub environment: Vec<(String, String)>,
    /// The user that runs the tracer and the workload: a name or a number. None for root.
    pub user: Option<String>,
    /// `kernel.name` and value, as for sysctl(8).
    pub sysctl: Vec<(String, String)>,
    /// The version of control groups to mount.
    pub cgroup: Option<u8>,
    /// Whether to work in a network namespace of its own.
    pub netns: bool,
    /// Shell commands to run first, as root.
    pub setup: Vec<String>,
    /// The tracer and its arguments.
    pub tracer: Vec<String>,
    /// A file for the tracer's standard input.
    pub stdin: Option<String>,
    /// When the workload may start. Without a workload it has no effect.
    pub ready: Readiness,
    /// The workload and its arguments. Without one, the tracer ends by itself.
    pub workload: Option<Vec<String>>,
    /// How the tracer is asked to end.
    pub stop: StopRequest,
    /// The time for everything, in milliseconds.
    pub deadline_ms: u64,
    /// Files and directories to send back.
    pub collect: Vec<String>,
    /// The time for that, in milliseconds.
    pub collect_within_ms: u64,
}

/// When a tracer is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// Its standard output matches this regular expression.
    Stdout(String),
    /// Its standard error matches this regular expression.
    Stderr(String),
    /// At least this many BPF programs were loaded since it started, and all its threads sleep.
    Programs(u32),
}

impl Default for Readiness {
    fn default() -> Self {
        Readiness::Programs(1)
    }
}

/// How a program is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// The signal's number.
    pub signal: i32,
    /// The time after which the program is killed, in milliseconds.
    pub within_ms: u64,
}

impl Default for StopRequest {
    fn default() -> Self {
        StopRequest { signal: 2, within_ms: 5000 }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum SuiteReport {
    /// The guest could not be prepared: a sysctl, a mount, a setup command.
    SetupFailed {
        /// What was tried, and why it failed.
        what: String,
    },
    /// A program could not be started.
    NotStarted {
        /// Which one.
        part: Part,
        /// The program and the kernel's error.
        why: String,
    },
    /// The tracer runs.
    Started,
    /// The tracer is ready.
    Ready {
        /// The time since its start, in milliseconds.
        after_ms: u64,
    },
    /// The workload has ended.
    WorkloadEnded {
        /// How. None if it was killed at the deadline.
        end: Option<End>,
        /// From its start, in milliseconds.
        duration_ms: u64,
        /// The beginning of its standard output and standard error.
        output: String,
    },
    /// The BPF programs and maps that the tracer had loaded when its work was done.
    Loaded {
        /// The programs.
        programs: Vec<LoadedProgram>,
        /// The maps.
        maps: Vec<LoadedMap>,
    },
    /// The tracer has ended.
    TracerEnded {
        /// How.
        end: End,
        /// Why.
        cause: Cause,
        /// From its start, in milliseconds.
        duration_ms: u64,
    },
    /// Processes that were left running, and that were killed.
    LeftRunning {
        /// Their names.
        processes: Vec<String>,
    },
    /// BPF programs that stayed loaded after all processes had ended.
    LeftLoaded {
        /// The programs.
        programs: Vec<LoadedProgram>,
    },
    /// A part of a file that was asked for.
    Collected {
        /// Its path in the guest.
        path: String,
        /// Base64. The parts of a file follow each other.
        bytes: String,
    },
    /// A file that was asked for could not be read.
    NotCollected {
        /// Its path in the guest.
        path: String,
        /// Why.
        why: String,
    },
    /// Everything was done. The last report.
    Done,
}

/// A program of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The tracer.
    Tracer,
    /// The workload.
    Workload,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            End::Code(code) => write!(f, "exit code {code}"),
            End::Signal(signal) => match Signal::try_from(signal) {
                Ok(name) => write!(f, "killed by {name}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

impl End {
    /// The exit status that a shell would report in `$?`.
    pub fn status(self) -> i32 {
        match self {
            End::Code(code) => code,
            End::Signal(signal) => 128_i32.saturating_add(signal),
        }
    }
}

/// Why a tracer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// By itself, before it was asked to.
    Itself,
    /// It was asked to stop because the workload had ended.
    Stopped,
    /// It was asked to stop because the workload had ended, and was killed because it did not.
    Killed,
    /// The time was over before the tracer was ready.
    NeverReady,
    /// The time was over.
    Deadline,
}

/// A BPF program, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedProgram {
    /// The kernel's number for it.
    pub id: u32,
    /// `enum bpf_prog_type` of include/uapi/linux/bpf.h.
    pub kind: u32,
    /// The first 15 bytes of its name.
    pub name: String,
    /// How many instructions the verifier processed, where the kernel tells (since 5.16).
    pub verified_instructions: Option<u32>,
    /// How many runs the kernel skipped, where it tells: of kprobes and tracepoints since 6.7, of others
    /// since 5.12.
    pub missed_runs: Option<u64>,
}

/// A BPF map, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedMap {
    /// `enum bpf_map_type` of include/uapi/linux/bpf.h.
    pub kind: u32,
    /// The first 15 bytes of its name.
    pub name: String,
    /// The number of entries that it has room for.
    pub max_entries: u32,
}
