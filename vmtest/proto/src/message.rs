//! The messages of the protocol.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::frame::{MAX_ANSWER, MAX_REQUEST};

/// The most bytes of a file or an output stream in one message.
pub const CHUNK: usize = 16 * 1024;

/// The most bytes of output that wait in the guest's memory at a time.
pub const WAITING: usize = 256 * 1024;

/// The sender of a message, and its longest encoding.
pub trait Direction: Serialize + DeserializeOwned {
    /// The longest encoding that may be sent or is accepted, in bytes.
    const MAX: usize;
}

/// A request of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMessage {
    /// Begin to work. This is the first request after a boot and after each restore. Answered by
    /// `Done`, `FilesWanted` or `Refused`.
    Begin(Begin),
    /// Write a part of a file. Answered by `Done` or `Refused`.
    WriteFile {
        /// Absolute path; missing directories are created.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Whether these bytes follow those already in the file, or replace them.
        append: bool,
        /// At most [`CHUNK`].
        #[serde(with = "crate::packed")]
        bytes: Vec<u8>,
    },
    /// Run a program. Answered by `Output`s and `Exited`, or by `Refused`. A primed program is
    /// answered by `Primed` instead, one at the terminal first by `AtTerminal`.
    Run(Run),
    /// Write a last line to the kernel's log, [`log_mark`], and read what was added to the log
    /// since the last such request. Answered by `Output`s of [`Stream::KernelLog`] and `Done`.
    ReadKernelLog {
        /// Distinguishes this request's line from others.
        mark: u64,
    },
    /// Prepare for a checkpoint: do once what programs would otherwise repeat in every guest that
    /// is restored from it. Answered by `Done` or `Refused`.
    Prewarm,
    /// Power off. Not answered.
    PowerOff,
    /// Let the primed program continue. Answered like `Run`.
    Proceed(Proceed),
    /// The answer to `Waiting`: the output was read.
    Taken,
    /// The answer to `Waiting`: the output could not be read, and has to be sent.
    NotTaken,
}

/// A line of the kernel's log, without prefix, where records were overwritten before they were read.
pub const LOG_GAP: &str = "kernlab: records of the log were overwritten before they were read";

/// The line that marks up to where a kernel's log was read.
pub fn log_mark(mark: u64) -> String {
    format!("kernlab: the log is read up to mark {mark:016x}")
}

impl Direction for HostMessage {
    const MAX: usize = MAX_REQUEST;
}

/// What a guest can't know by itself: it may have been saved long ago, after it said hello, and
/// restored many times since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Nanoseconds since 1970.
    pub unix_time_ns: u64,
    /// Random bytes: guests restored from one checkpoint would otherwise all generate the same.
    pub entropy: [u8; 32],
    /// Whether QEMU has files for the guest: looking for them takes a tenth of a cell's time.
    pub has_files: bool,
}

/// A program to run without another beside it. All its remaining processes are killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Absolute path of the program, then its arguments.
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: Vec<(String, String)>,
    /// Files and directories that appear empty while the program runs. A path that doesn't exist
    /// needs no hiding.
    pub hide: Vec<String>,
    /// The time after which the program and its children are killed, in milliseconds.
    pub deadline_ms: u64,
    /// How much output is kept.
    pub limits: Limits,
    /// What the program reads from its standard input, and when.
    pub input: Input,
}

/// A program's standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Standard input is empty.
    None,
    /// The program prepares what does not depend on its input, stops itself (SIGSTOP), and reads
    /// its input when it proceeds.
    Later,
    /// All standard streams are the guest's console, as a controlling terminal of this size.
    Terminal(TerminalSize),
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// The number of rows.
    pub rows: u16,
    /// The number of columns.
    pub columns: u16,
}

/// The input that a primed program waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proceed {
    /// The complete standard input. A request is shorter than a pipe's buffer.
    pub input: Vec<u8>,
    /// The time from now after which the program and its children are killed, in milliseconds.
    pub deadline_ms: u64,
}

/// How many bytes of each stream are sent; the rest is read and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The limit of standard output.
    pub stdout: u64,
    /// The limit of standard error.
    pub stderr: u64,
    /// The limit of the result pipe.
    pub result: u64,
}

/// A message from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMessage {
    /// The guest is ready for requests. Sent once, as the first message.
    Hello(Hello),
    /// The kernel refused a module, so the guest can't become ready. Sent instead of `Hello`.
    ModuleRefused {
        /// Name of the module's file.
        module: String,
        /// The kernel's error.
        error: String,
    },
    /// A request that has no other answer was executed.
    Done,
    /// A request failed.
    Refused {
        /// What was tried, and the kernel's error.
        what: String,
    },
    /// A chunk of output.
    Output {
        /// The source of the output.
        stream: Stream,
        /// At most [`CHUNK`].
        #[serde(with = "crate::packed")]
        bytes: Vec<u8>,
    },
    /// A large chunk of output waits in the guest's memory, where the host can read it much faster than
    /// a serial port sends it. Answered by `Taken` or `NotTaken`, before which the guest sends nothing.
    Waiting {
        /// The source of the output.
        stream: Stream,
        /// Where it is, in this order: at most [`WAITING`] bytes.
        pieces: Vec<Piece>,
        /// The CRC-32 of all of it: the kernel may have moved a page.
        checksum: u32,
    },
    /// The program has ended, and all its output was sent.
    Exited(RunReport),
    /// The guest has begun, but can't read QEMU's files: the host has to write them.
    FilesWanted {
        /// The reason.
        why: String,
    },
    /// The program is primed: it has stopped itself, and waits for `Proceed`.
    Primed,
    /// The program has the console. Earlier input was lost.
    AtTerminal,
}

impl Direction for GuestMessage {
    const MAX: usize = MAX_ANSWER;
}

/// A contiguous part of the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its physical address.
    pub address: u64,
    /// Its length in bytes.
    pub length: u32,
}

/// The agent's report about its guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The kernel's release, as in uname(2).
    pub release: String,
    /// The kernel's build line, as in uname(2).
    pub version: String,
    /// The number of online processors.
    pub processors: u32,
    /// Time from the kernel's start to the agent's, in milliseconds of the guest's clock.
    pub user_space_ms: u64,
    /// Time from the kernel's start to this message, in milliseconds of the guest's clock.
    pub ready_ms: u64,
    /// What could not be set up and may be missed, such as a file system that the kernel lacks.
    pub notes: Vec<String>,
}

/// The source of output.
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
    /// The program exited with this code.
    Code(i32),
    /// A signal killed the program.
    Signal(i32),
    /// The agent killed the program at its deadline.
    Deadline,
}

/// The result of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// How it ended.
    pub exit: Exit,
    /// Time from its start to its end, in microseconds of the guest's clock.
    pub duration_us: u64,
    /// The number of bytes that were dropped because a stream exceeded its limit.
    pub dropped: u64,
    /// The number of processes that the program left running, and that were killed.
    pub killed: u32,
    /// Whether a process survived SIGKILL: the kernel holds it.
    pub stuck: bool,
}
