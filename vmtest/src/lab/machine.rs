//! A machine and its connections, independent of its guest's phase.

use std::{
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    process::ExitStatus,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kernlab_proto::{Begin, CHUNK, GuestMessage, HostMessage, Piece, Stream, WAITING, log_mark};
use nix::sys::signal::Signal;

use super::{
    Bootable,
    connection::{Connection, ConnectionError},
    cpu_time::CpuTime,
    error::{GuestEvidence, LabError, LabErrorKind, Phase},
    job::{Collected, GuestFile, Job, JobOutput},
};
use crate::{
    console::{Console, ConsoleLog, Crash, Log},
    qemu::{Accelerator, InjectedFile, Memory, Monitor, Process, Spawned, check_kernel_image},
};

/// How long QEMU may take to end, and its console to be read, after its guest is gone.
pub(super) const ENDING: Duration = Duration::from_secs(3);
/// The timeout of requests that the agent executes itself.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// The longest kernel log that is accepted, in bytes: more than any kernel's buffer.
const KERNEL_LOG: usize = 8 << 20;
/// How much output a program may print before it is primed or started, in bytes.
const EARLY_OUTPUT: usize = 64 << 10;
/// Lines of the console in a report.
const LAST_LINES: usize = 40;
/// The most pieces of output that waits: one for each page.
const MOST_PIECES: usize = WAITING / 4096;

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) process: Process,
    pub(super) console: Console,
    /// Bytes written here are typed on the guest's console.
    pub(super) keyboard: UnixStream,
    pub(super) monitor: Monitor,
    pub(super) connection: Connection,
    pub(super) accelerator: Accelerator,
    pub(super) started: Instant,
    /// The files that QEMU offers to the guest.
    injected: Vec<InjectedFile>,
    /// The physical addresses of the guest's memory.
    memory: [Range<u64>; 2],
    /// When the last program was started, and how much CPU time QEMU had used by then.
    at_work: Option<(Instant, Duration)>,
}

/// A request that the guest has to answer, and its deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Completes "the guest did not answer ...".
    pub(super) doing: &'static str,
    waited: Duration,
    pub(super) deadline: Instant,
}

impl Request {
    /// A request that is about to be sent.
    pub(super) fn now(doing: &'static str, waited: Duration) -> Self {
        Request::since(Instant::now(), doing, waited)
    }

    /// A request that waits for its answer since `began`.
    pub(super) fn since(began: Instant, doing: &'static str, waited: Duration) -> Self {
        Request { doing, waited, deadline: began + waited }
    }
}

/// A function that is told what a program writes, when it arrives on the host.
pub(super) type Listener<'a> = &'a mut dyn FnMut(Stream, &[u8]);

/// A program that runs, and its timeout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) request: Request,
    started: Instant,
    timeout: Duration,
}

impl Work {
    /// The time after which the agent kills the program, in milliseconds from the request.
    pub(super) fn deadline_ms(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Machine {
    /// Starts QEMU and connects to it.
    pub(super) fn start(bootable: &Bootable, memory: Memory<'_>) -> Result<Self, LabError> {
        let started = Instant::now();
        check_kernel_image(bootable.machine.arch, &bootable.machine.kernel)
            .map_err(LabErrorKind::NotAKernel)?;
        let spawned = Process::spawn(&bootable.qemu, &bootable.machine, memory);
        let Spawned { process, console, protocol, monitor } =
            spawned.map_err(LabErrorKind::Spawn)?;
        let host = |what| move |source: io::Error| LabErrorKind::Host { what, source };
        let keyboard = console
            .try_clone()
            .map_err(host("could not set up the connection to the guest's console"))?;
        let console = Console::capture(console, bootable.console_file.as_deref())
            .map_err(host("could not write the console's log"))?;
        let connection = Connection::new(protocol)
            .map_err(host("could not set up the connection to the guest"))?;
        let accelerator = bootable.accelerator();
        let (at_work, injected) = (None, bootable.machine.injected.clone());
        let memory = bootable.machine.memory_ranges();
        Ok(Machine {
            process,
            console,
            keyboard,
            monitor,
            connection,
            accelerator,
            started,
            injected,
            memory,
            at_work,
        })
    }

    /// Notes that a program starts now.
    pub(super) fn work(&mut self, job: &Job, doing: &'static str) -> Work {
        let started = Instant::now();
        self.at_work = Some((started, self.process.processor_time()));
        let timeout = self.accelerator.scale_timeout(job.timeout);
        let grace = self.accelerator.scale_timeout(job.grace);
        Work { request: Request::now(doing, timeout + grace), started, timeout }
    }

    /// Waits for the expected answer to the start of a program. If the program ends instead, its
    /// output becomes part of the error.
    pub(super) fn answered(&mut self, work: Work, expected: &GuestMessage) -> Result<(), LabError> {
        let mut output = Vec::new();
        loop {
            match self.receive(work.request)? {
                answer if answer == *expected => return Ok(()),
                GuestMessage::Output { stream: Stream::Stderr, bytes }
                    if output.len() < EARLY_OUTPUT =>
                {
                    output.extend(bytes);
                }
                GuestMessage::Output { .. } => {}
                GuestMessage::Exited(report) => {
                    let output = String::from_utf8_lossy(&output).trim().to_owned();
                    return Err(
                        self.fail(LabErrorKind::EndedEarly { exit: report.exit, said: output })
                    );
                }
                GuestMessage::Refused { what } => {
                    return Err(self.fail(LabErrorKind::Refused { what }));
                }
                other => return Err(self.unexpected(work.request, &other)),
            }
        }
    }

    /// Collects the program's output until it ends, and passes each piece on when it arrives.
    pub(super) fn end_of(
        &mut self,
        work: Work,
        job: &Job,
        heard: Listener<'_>,
    ) -> Result<JobOutput, LabError> {
        let mut collected = Collected::new(job);
        let mut request = work.request;
        loop {
            match self.receive(request)? {
                GuestMessage::Output { stream, bytes } if collected.add(stream, &bytes) => {
                    heard(stream, &bytes);
                    // The agent has ended the program at its deadline, but its output may still be
                    // arriving.
                    let grace = self.accelerator.scale_timeout(job.grace);
                    let last = work.request.deadline + collected.earned();
                    request.deadline = request.deadline.max((Instant::now() + grace).min(last));
                }
                GuestMessage::Exited(report) => {
                    let cpu_time = self.cpu_time();
                    return Ok(collected.finish(report, work.started.elapsed(), cpu_time));
                }
                GuestMessage::Refused { what } => {
                    return Err(self.fail(LabErrorKind::Refused { what }));
                }
                other => return Err(self.unexpected(work.request, &other)),
            }
        }
    }

    /// The CPU time that the guest got since the last program was started.
    pub(super) fn cpu_time(&self) -> CpuTime {
        let Some((since, used)) = self.at_work else { return CpuTime::default() };
        let processor = self.process.processor_time().saturating_sub(used);
        CpuTime { passed: since.elapsed(), processor }
    }

    /// Sends a booted guest what it can't know: the time, random bytes, and its files.
    pub(super) fn begin(&mut self) -> Result<(), LabError> {
        let host = |source: io::Error| LabErrorKind::Host {
            what: "could not prepare the first request",
            source,
        };
        let mut entropy = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut entropy))
            .map_err(host)?;
        let unix_time_ns = nanoseconds_since_1970();
        let request = self.request("while it prepared to work");
        let has_files = !self.injected.is_empty();
        let begin = HostMessage::Begin(Begin { unix_time_ns, entropy, has_files });
        self.send(&begin, request)?;
        match self.receive(request)? {
            GuestMessage::Done => Ok(()),
            // This transfers some ten kilobytes a second, but works under every kernel.
            GuestMessage::FilesWanted { .. } => self.injected.clone().iter().try_for_each(|file| {
                let bytes = fs::read(&file.host).map_err(host)?;
                self.write_file(&GuestFile { path: file.guest.clone(), mode: 0o755, bytes })
            }),
            GuestMessage::Refused { what } => Err(self.fail(LabErrorKind::Refused { what })),
            other => Err(self.unexpected(request, &other)),
        }
    }

    /// Lets the agent prepare for a checkpoint.
    pub(super) fn prewarm(&mut self) -> Result<(), LabError> {
        let request = self.request("while it prepared for a checkpoint");
        self.send(&HostMessage::Prewarm, request)?;
        self.done(request)
    }

    /// Waits for the end of a request that has no other answer.
    fn done(&mut self, request: Request) -> Result<(), LabError> {
        match self.receive(request)? {
            GuestMessage::Done => Ok(()),
            GuestMessage::Refused { what } => Err(self.fail(LabErrorKind::Refused { what })),
            other => Err(self.unexpected(request, &other)),
        }
    }

    /// What was added to the kernel's log since the last read.
    pub(super) fn kernel_log(&mut self) -> Result<String, LabError> {
        let request = self.request("while it sent its kernel's log");
        let mark = nanoseconds_since_1970();
        self.send(&HostMessage::ReadKernelLog { mark }, request)?;
        let mut log = Vec::new();
        loop {
            match self.receive(request)? {
                GuestMessage::Output { stream: Stream::KernelLog, bytes }
                    if log.len() + bytes.len() <= KERNEL_LOG =>
                {
                    log.extend(bytes);
                }
                GuestMessage::Done => {
                    let log = String::from_utf8_lossy(&log);
                    return without_mark(&log, &log_mark(mark))
                        .ok_or_else(|| self.fail(LabErrorKind::LogNotRead));
                }
                other => return Err(self.unexpected(request, &other)),
            }
        }
    }

    pub(super) fn write_file(&mut self, file: &GuestFile) -> Result<(), LabError> {
        let mut append = false;
        // An empty file is sent as one empty chunk.
        let empty = file.bytes.is_empty().then_some(&[][..]);
        for bytes in empty.into_iter().chain(file.bytes.chunks(CHUNK)) {
            let (path, bytes) = (file.path.clone(), bytes.to_vec());
            let message = HostMessage::WriteFile { path, mode: file.mode, append, bytes };
            let request = self.request("while it wrote a file");
            self.send(&message, request)?;
            self.done(request)?;
            append = true;
        }
        Ok(())
    }

    /// A request that the agent executes itself.
    fn request(&self, doing: &'static str) -> Request {
        Request::now(doing, self.accelerator.scale_timeout(ANSWER))
    }

    pub(super) fn send(&mut self, message: &HostMessage, request: Request) -> Result<(), LabError> {
        let sent = self.connection.send(message, request.deadline);
        sent.map_err(|error| self.broken(error, Phase::Work, request))
    }

    pub(super) fn receive(&mut self, request: Request) -> Result<GuestMessage, LabError> {
        loop {
            let received = self.connection.receive(request.deadline);
            let message = received.map_err(|error| self.broken(error, Phase::Work, request))?;
            let GuestMessage::Waiting { stream, pieces, checksum } = &message else {
                return Ok(message);
            };
            let Some(bytes) = self.waiting(pieces, *checksum, request) else {
                self.send(&HostMessage::NotTaken, request)?;
                continue;
            };
            self.send(&HostMessage::Taken, request)?;
            return Ok(GuestMessage::Output { stream: *stream, bytes });
        }
    }

    /// Output that waits in the guest's memory. None if it can't be read, or is not what the guest meant.
    fn waiting(&mut self, pieces: &[Piece], checksum: u32, request: Request) -> Option<Vec<u8>> {
        if !are_readable(pieces, &self.memory) {
            return None;
        }
        let bytes = self.monitor.read_memory(pieces, request.deadline).ok()?;
        (kernlab_proto::checksum(&bytes) == checksum).then_some(bytes)
    }

    /// Turns a lost connection into the error with the best evidence: the kernel's crash report,
    /// then QEMU's standard error, then the bare end.
    pub(super) fn broken(
        &mut self,
        error: ConnectionError,
        phase: Phase,
        Request { doing, waited, .. }: Request,
    ) -> LabError {
        match error {
            ConnectionError::Closed => {
                let status = self.process.wait(Instant::now() + ENDING);
                let diagnostics = self.process.diagnostics();
                self.fail_or_crash(phase, |log| match status {
                    Some(status) if !status.success() || was_terminated(&diagnostics) => {
                        LabErrorKind::QemuFailed { status, diagnostics }
                    }
                    _ => LabErrorKind::Died { phase, last_words: last_words(log) },
                })
            }
            ConnectionError::Deadline => {
                self.fail_or_crash(phase, |_| LabErrorKind::Silent { doing, waited })
            }
            ConnectionError::Interrupted => self.fail(LabErrorKind::Interrupted { doing }),
            ConnectionError::Frame(source) => self.fail(LabErrorKind::Garbage { doing, source }),
            ConnectionError::Unsendable(source) => self.fail(LabErrorKind::Unsendable(source)),
            ConnectionError::Io(source) => {
                let what = "could not talk to the guest";
                self.fail(LabErrorKind::Host { what, source })
            }
        }
    }

    pub(super) fn unexpected(&mut self, request: Request, message: &GuestMessage) -> LabError {
        let doing = request.doing;
        let message = match message {
            GuestMessage::Hello(_) => "hello",
            GuestMessage::ModuleRefused { .. } => "refusal of a module",
            GuestMessage::Done => "end of an answer",
            GuestMessage::FilesWanted { .. } => "request for files",
            GuestMessage::Refused { .. } => "refusal",
            GuestMessage::Output { .. } => "output, unexpected or beyond the limits",
            GuestMessage::Waiting { .. } => "output that waits",
            GuestMessage::Exited(_) => "end of a program",
            GuestMessage::Primed => "primed program",
            GuestMessage::AtTerminal => "program at the terminal",
        };
        self.fail(LabErrorKind::Unexpected { doing, message })
    }

    pub(super) fn fail(&mut self, kind: LabErrorKind) -> LabError {
        let (log, mut evidence) = self.end();
        evidence.console = log.last_lines(LAST_LINES);
        LabError::new(kind, evidence)
    }

    /// A crash on the console outranks `kind`.
    pub(super) fn fail_or_crash(
        &mut self,
        phase: Phase,
        kind: impl FnOnce(&Log) -> LabErrorKind,
    ) -> LabError {
        let (log, mut evidence) = self.end();
        let kind = match Crash::find(&evidence.console_log) {
            Some(crash) => {
                evidence.console = crash.excerpt.clone();
                LabErrorKind::Crashed { phase, crash }
            }
            None => {
                evidence.console = log.last_lines(LAST_LINES);
                kind(&log)
            }
        };
        LabError::new(kind, evidence)
    }

    /// Ends QEMU. Returns the console's log, and all evidence except an excerpt of it.
    fn end(&mut self) -> (Log, GuestEvidence) {
        let cpu_time = self.cpu_time();
        self.process.kill();
        let log = self.console.finish(Instant::now() + ENDING);
        let evidence = GuestEvidence {
            console: String::new(),
            console_log: ConsoleLog::of(&log),
            reproduce: self.process.reproduce().to_owned(),
            cpu_time,
        };
        (log, evidence)
    }
}

/// Whether QEMU ended because of a signal that people and other programs send.
pub(crate) fn was_killed(status: ExitStatus, diagnostics: &str) -> bool {
    let signal = status.signal().and_then(|signal| Signal::try_from(signal).ok());
    let is_sent = matches!(
        signal,
        Some(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT)
    );
    is_sent || was_terminated(diagnostics)
}

/// Whether a signal told QEMU to end. It then exits with 0, as if its guest had powered off:
/// qemu_system_shutdown in QEMU's system/runstate.c prints this.
fn was_terminated(diagnostics: &str) -> bool {
    diagnostics.lines().any(|line| line.contains(": terminating on signal "))
}

fn nanoseconds_since_1970() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or_default()
}

/// Whether QEMU may be asked for all of this: it is not too much, and in the guest's memory. At other
/// addresses are registers of devices, or nothing.
fn are_readable(pieces: &[Piece], memory: &[Range<u64>]) -> bool {
    let is_in_memory = |piece: &Piece| {
        let end = piece.address.checked_add(piece.length.into());
        let holds = |range: &Range<u64>| {
            range.start <= piece.address && end.is_some_and(|end| end <= range.end)
        };
        memory.iter().any(holds)
    };
    let length = pieces.iter().try_fold(0_u32, |sum, piece| sum.checked_add(piece.length));
    pieces.len() <= MOST_PIECES
        && length.is_some_and(|length| length as usize <= WAITING)
        && pieces.iter().all(is_in_memory)
}

/// A kernel's log without the line that the agent wrote to it. None if that line is missing: then
/// the log is incomplete.
fn without_mark(log: &str, mark: &str) -> Option<String> {
    let is_mark = |line: &&str| line.trim_end().ends_with(mark);
    log.lines().find(is_mark)?;
    Some(log.split_inclusive('\n').filter(|line| !is_mark(line)).collect())
}

/// The console's last line.
pub(super) fn last_words(log: &Log) -> String {
    if log.is_empty() { "none".to_owned() } else { log.last_lines(1) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::alone("<14>[    1.0] M\n", Some(""))]
    #[case::last("<4>[    0.9] boot\n<14>[    1.0] M\n", Some("<4>[    0.9] boot\n"))]
    #[case::overtaken("<14>[    1.0] M\n<4>[    1.1] more\n", Some("<4>[    1.1] more\n"))]
    #[case::unread("", None)]
    #[case::cut_short("<4>[    0.9] boot\n", None)]
    #[case::another("<14>[    1.0] M2\n", None)]
    fn a_log_ends_with_its_mark(#[case] log: &str, #[case] expected: Option<&str>) {
        assert_eq!(without_mark(log, "M").as_deref(), expected);
    }

    #[rstest]
    #[case::usual(vec![(0x1000, 4096), (0x8000_0000 - 10, 10)], true)]
    #[case::above_the_hole(vec![(0x1_0000_0000, 4096), (0x1_0000_0000, 4096)], true)]
    #[case::at_the_limit(vec![(0, 256 << 10)], true)]
    #[case::too_long(vec![(0, 256 << 10), (0, 1)], false)]
    #[case::longer_than_counts(vec![(0, u32::MAX), (0, u32::MAX)], false)]
    #[case::over_the_end(vec![(0x8000_0000 - 10, 11)], false)]
    #[case::of_a_device(vec![(0xfee0_0000, 8)], false)]
    #[case::behind_memory(vec![(0x1_0000_1000, 1)], false)]
    #[case::over_the_last_address(vec![(u64::MAX, 2)], false)]
    #[case::nothing_somewhere(vec![(0xfee0_0000, 0)], false)]
    #[case::crumbs((0..65).map(|at| (at, 0)).collect(), false)]
    fn only_memory_is_read(#[case] pieces: Vec<(u64, u32)>, #[case] expected: bool) {
        let piece = |(address, length)| Piece { address, length };
        let pieces: Vec<_> = pieces.into_iter().map(piece).collect();
        let memory = [0..0x8000_0000, 0x1_0000_0000..0x1_0000_1000];
        assert_eq!(are_readable(&pieces, &memory), expected);
    }
}
