//! What is said.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::frame::{MAX_ANSWER, MAX_REQUEST};

/// The most bytes of a file or an output stream in one message.
pub const CHUNK: usize = 16 * 1024;

/// Who says it, and how long it may be.
pub trait Direction: Serialize + DeserializeOwned {
    /// The longest encoding that is sent or accepted, in bytes.
    const MAX: usize;
}

/// A request of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMessage {
    /// Begin to work, now that the guest is where it will work: the first request after a boot, and
    /// after each time that the guest was restored; answered by `Done`, `FilesWanted` or `Refused`.
    Begin(Begin),
    /// Write a part of a file; answered by `Done` or `Refused`.
    WriteFile {
        /// Absolute path; directories that don't exist are made.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Whether these bytes follow those already in the file, or replace them.
        append: bool,
        /// At most [`CHUNK`].
        #[serde(with = "crate::packed")]
        bytes: Vec<u8>,
    },
    /// Run a program; answered by `Output`s and `Exited`, or by `Refused`. A primed one is
    /// answered by `Primed` instead; one at the terminal first by `AtTerminal`.
    Run(Run),
    /// Write a last line to the kernel's log, [`log_mark`], and read what the log has gained since the
    /// last such request; answered by `Output`s of [`Stream::KernelLog`] and `Done`.
    ReadKernelLog {
        /// Tells this request's line from others.
        mark: u64,
    },
    /// Do ahead what programs would otherwise do again in every guest that is restored from this one,
    /// which is about to be saved; answered by `Done` or `Refused`.
    Prewarm,
    /// Switch the machine off; not answered.
    PowerOff,
    /// Let the primed program go on; answered as `Run` is.
    Proceed(Proceed),
}

/// The line that proves that a kernel's log was read, and up to where.
pub fn log_mark(mark: u64) -> String {
    format!("kernlab: the log is read up to mark {mark:016x}")
}

impl Direction for HostMessage {
    const MAX: usize = MAX_REQUEST;
}

/// What a guest can't know by itself. It may have been saved, by anybody and long ago, after it said
/// hello, and restored many times since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Nanoseconds since 1970.
    pub unix_time_ns: u64,
    /// Random bytes: what guests restored from one state make of theirs would be the same.
    pub entropy: [u8; 32],
    /// Whether QEMU holds files for the guest: looking for them takes a tenth of what a cell does.
    pub has_files: bool,
}

/// A program to run, alone in the guest: whatever it leaves behind is killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Absolute path of the program, then its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Files and directories that appear empty while the program runs. One that doesn't exist is
    /// hidden already.
    pub hide: Vec<String>,
    /// After so many milliseconds everything is killed.
    pub deadline_ms: u64,
    /// How much output is kept.
    pub limits: Limits,
    /// What it reads, and when.
    pub input: Input,
}

/// A program's standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// There is none.
    None,
    /// The program stops itself (SIGSTOP) when it has done what it can before it knows its work, and
    /// reads that when it proceeds.
    Later,
    /// All standard streams are the guest's console, as a controlling terminal of this size.
    Terminal(TerminalSize),
}

/// What a terminal has room for, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// From top to bottom.
    pub rows: u16,
    /// From left to right.
    pub columns: u16,
}

/// What a primed program was waiting for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proceed {
    /// All that it finds on its standard input. A request is shorter than what a pipe holds.
    pub input: Vec<u8>,
    /// After so many milliseconds from now on everything is killed.
    pub deadline_ms: u64,
}

/// How many bytes of each stream are sent; the rest is read and thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of standard output.
    pub stdout: u64,
    /// Of standard error.
    pub stderr: u64,
    /// Of the result pipe.
    pub result: u64,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMessage {
    /// The guest is ready for requests: said once, first.
    Hello(Hello),
    /// The guest can't become ready, because the kernel refused a module; said instead of `Hello`.
    ModuleRefused {
        /// Name of the module's file.
        module: String,
        /// The kernel's answer.
        error: String,
    },
    /// A request without further answer was carried out.
    Done,
    /// A request was not carried out.
    Refused {
        /// What was tried, and the kernel's answer.
        what: String,
    },
    /// A piece of output.
    Output {
        /// Where it came from.
        stream: Stream,
        /// At most [`CHUNK`].
        #[serde(with = "crate::packed")]
        bytes: Vec<u8>,
    },
    /// The program has ended, and all its output was sent.
    Exited(RunReport),
    /// The guest has begun, but has no way to the files that QEMU holds for it: they are to be written.
    FilesWanted {
        /// Why.
        why: String,
    },
    /// The program has stopped itself, and waits for `Proceed`.
    Primed,
    /// The program has the console: what was typed there before is lost.
    AtTerminal,
}

impl Direction for GuestMessage {
    const MAX: usize = MAX_ANSWER;
}

/// What the agent says about the guest it runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Release of the kernel, as uname(2) says.
    pub release: String,
    /// Build line of the kernel, as uname(2) says.
    pub version: String,
    /// Number of processors that run.
    pub processors: u32,
    /// Time from the kernel's start to the agent's, in milliseconds of the guest's clock.
    pub user_space_ms: u64,
    /// Time from the kernel's start to this message, in milliseconds of the guest's clock.
    pub ready_ms: u64,
    /// What could not be set up and may be missed: a file system that the kernel lacks, say.
    pub notes: Vec<String>,
}

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// The program's standard output.
    Stdout,
    /// The program's standard error.
    Stderr,
    /// The program's descriptor 3.
    Result,
    /// The kernel's log.
    KernelLog,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By the agent, because its time was over.
    Deadline,
}

/// The end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// How it ended.
    pub exit: Exit,
    /// Time from its start to its end, in microseconds of the guest's clock.
    pub duration_us: u64,
    /// Bytes that were thrown away because a stream passed its limit.
    pub dropped: u64,
    /// Processes that were still there when the program ended, and were killed.
    pub killed: u32,
    /// A process survived even that: the kernel holds it.
    pub stuck: bool,
}
