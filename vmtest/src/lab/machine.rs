//! A machine and its connections, whatever phase its guest is in.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::net::UnixStream,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kernlab_proto::{Begin, CHUNK, GuestMessage, HostMessage, Stream, log_mark};

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

/// How long QEMU may take to end, and its console to be read, once its guest is gone.
pub(super) const ENDING: Duration = Duration::from_secs(3);
/// How long the agent may take for what it does itself.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// The longest kernel log that is taken, in bytes: more than any kernel's buffer.
const KERNEL_LOG: usize = 8 << 20;
/// How much a program may say before it does what it was started for, in bytes.
const SAID: usize = 64 << 10;
/// Lines of the console in a report.
const LAST_LINES: usize = 40;

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) process: Process,
    pub(super) console: Console,
    /// What is written here is typed on the guest's console.
    pub(super) keyboard: UnixStream,
    pub(super) monitor: Monitor,
    pub(super) connection: Connection,
    pub(super) accelerator: Accelerator,
    pub(super) started: Instant,
    /// What QEMU holds for the guest.
    injected: Vec<InjectedFile>,
    /// When the last program was started, and the processor time that was used by then.
    at_work: Option<(Instant, Duration)>,
}

/// Something that the guest has to answer, and until when.
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

/// A program's work, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) request: Request,
    started: Instant,
    timeout: Duration,
}

impl Work {
    /// When the agent kills the program, in milliseconds from the request.
    pub(super) fn deadline_ms(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Machine {
    /// Starts QEMU and listens to it.
    pub(super) fn start(bootable: &Bootable, memory: Memory<'_>) -> Result<Self, LabError> {
        let started = Instant::now();
        check_kernel_image(&bootable.machine.kernel).map_err(LabErrorKind::NotAKernel)?;
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
        Ok(Machine {
            process,
            console,
            keyboard,
            monitor,
            connection,
            accelerator,
            started,
            injected,
            at_work,
        })
    }

    /// A program is about to do its work.
    pub(super) fn work(&mut self, job: &Job, doing: &'static str) -> Work {
        let started = Instant::now();
        self.at_work = Some((started, self.process.processor_time()));
        let timeout = self.accelerator.scale_timeout(job.timeout);
        let grace = self.accelerator.scale_timeout(job.grace);
        Work { request: Request::now(doing, timeout + grace), started, timeout }
    }

    /// Waits for the answer that a program was started as it should be. One that ends instead may have
    /// said why.
    pub(super) fn answered(&mut self, work: Work, expected: &GuestMessage) -> Result<(), LabError> {
        let mut said = Vec::new();
        loop {
            match self.receive(work.request)? {
                answer if answer == *expected => return Ok(()),
                GuestMessage::Output { stream: Stream::Stderr, bytes } if said.len() < SAID => {
                    said.extend(bytes);
                }
                GuestMessage::Output { .. } => {}
                GuestMessage::Exited(report) => {
                    let said = String::from_utf8_lossy(&said).trim().to_owned();
                    return Err(self.fail(LabErrorKind::EndedEarly { exit: report.exit, said }));
                }
                GuestMessage::Refused { what } => {
                    return Err(self.fail(LabErrorKind::Refused { what }));
                }
                other => return Err(self.unexpected(work.request, &other)),
            }
        }
    }

    /// Collects what the program says until it ends.
    pub(super) fn end_of(&mut self, work: Work, job: &Job) -> Result<JobOutput, LabError> {
        let mut collected = Collected::new(job.limits);
        loop {
            match self.receive(work.request)? {
                GuestMessage::Output { stream, bytes } if collected.add(stream, &bytes) => {}
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

    /// What the guest got of the time since the last program was started.
    pub(super) fn cpu_time(&self) -> CpuTime {
        let Some((since, used)) = self.at_work else { return CpuTime::default() };
        let processor = self.process.processor_time().saturating_sub(used);
        CpuTime { passed: since.elapsed(), processor }
    }

    /// Tells a guest that waits for its first request what it can't know.
    pub(super) fn begin(&mut self) -> Result<(), LabError> {
        let host = |source: io::Error| LabErrorKind::Host { what: "could not begin", source };
        let mut entropy = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut entropy))
            .map_err(host)?;
        let unix_time_ns = nanoseconds_since_1970();
        let request = self.request("when it had to begin to work");
        let has_files = !self.injected.is_empty();
        let begin = HostMessage::Begin(Begin { unix_time_ns, entropy, has_files });
        self.send(&begin, request)?;
        match self.receive(request)? {
            GuestMessage::Done => Ok(()),
            // Some ten kilobytes a second, but it works under every kernel.
            GuestMessage::FilesWanted { .. } => self.injected.clone().iter().try_for_each(|file| {
                let bytes = fs::read(&file.host).map_err(host)?;
                self.write_file(&GuestFile { path: file.guest.clone(), mode: 0o755, bytes })
            }),
            GuestMessage::Refused { what } => Err(self.fail(LabErrorKind::Refused { what })),
            other => Err(self.unexpected(request, &other)),
        }
    }

    /// Lets the agent prepare for being saved.
    pub(super) fn prewarm(&mut self) -> Result<(), LabError> {
        let request = self.request("when it had to prepare for being saved");
        self.send(&HostMessage::Prewarm, request)?;
        self.done(request)
    }

    /// Waits for the end of a request without further answer.
    fn done(&mut self, request: Request) -> Result<(), LabError> {
        match self.receive(request)? {
            GuestMessage::Done => Ok(()),
            GuestMessage::Refused { what } => Err(self.fail(LabErrorKind::Refused { what })),
            other => Err(self.unexpected(request, &other)),
        }
    }

    /// What the kernel's log has gained since it was read last.
    pub(super) fn kernel_log(&mut self) -> Result<String, LabError> {
        let request = self.request("when it had to send its kernel's log");
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
        // An empty file is one empty chunk.
        let empty = file.bytes.is_empty().then_some(&[][..]);
        for bytes in empty.into_iter().chain(file.bytes.chunks(CHUNK)) {
            let (path, bytes) = (file.path.clone(), bytes.to_vec());
            let message = HostMessage::WriteFile { path, mode: file.mode, append, bytes };
            let request = self.request("when it had to write a file");
            self.send(&message, request)?;
            self.done(request)?;
            append = true;
        }
        Ok(())
    }

    /// Something that the agent does itself.
    fn request(&self, doing: &'static str) -> Request {
        Request::now(doing, self.accelerator.scale_timeout(ANSWER))
    }

    pub(super) fn send(&mut self, message: &HostMessage, request: Request) -> Result<(), LabError> {
        let sent = self.connection.send(message, request.deadline);
        sent.map_err(|error| self.broken(error, Phase::Work, request))
    }

    pub(super) fn receive(&mut self, request: Request) -> Result<GuestMessage, LabError> {
        let received = self.connection.receive(request.deadline);
        received.map_err(|error| self.broken(error, Phase::Work, request))
    }

    /// A lost connection is explained by the best evidence there is: the kernel's own report of
    /// its end, then QEMU's, then nothing.
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
                    Some(status) if !status.success() => {
                        LabErrorKind::QemuFailed { status, diagnostics }
                    }
                    _ => LabErrorKind::Died { phase, last_words: last_words(log) },
                })
            }
            ConnectionError::Deadline => {
                self.fail_or_crash(phase, |_| LabErrorKind::Silent { doing, waited })
            }
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
            GuestMessage::FilesWanted { .. } => "wish for files",
            GuestMessage::Refused { .. } => "refusal",
            GuestMessage::Output { .. } => "output, or more of it than was asked for",
            GuestMessage::Exited(_) => "end of a program",
            GuestMessage::Primed => "program that is primed",
            GuestMessage::AtTerminal => "program at the terminal",
        };
        self.fail(LabErrorKind::Unexpected { doing, message })
    }

    pub(super) fn fail(&mut self, kind: LabErrorKind) -> LabError {
        let (log, mut evidence) = self.end();
        evidence.console = log.last_lines(LAST_LINES);
        LabError::new(kind, evidence)
    }

    /// A crash outranks whatever else `kind` makes of the console's log.
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

    /// Ends QEMU. Returns what its guest printed, and all evidence but an excerpt of that.
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

fn nanoseconds_since_1970() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or_default()
}

/// A kernel's log without the line that the agent wrote to it. None if that isn't there: then nobody
/// knows what the kernel said.
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
}
