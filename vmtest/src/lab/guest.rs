//! A guest in its phases.

use std::{
    io,
    time::{Duration, Instant},
};

use kernlab_proto::{CHUNK, GuestMessage, Hello, HostMessage, Run, Stream};

use super::{
    Bootable,
    connection::{Connection, ConnectionError},
    error::{Evidence, LabError, LabErrorKind, Phase},
    job::{Collected, GuestFile, Job, JobOutput},
};
use crate::{
    console::{Console, Crash, Log},
    qemu::{Accelerator, Process, check_kernel_image},
};

/// How long QEMU may take to end, and its console to be read, once its guest is gone.
const ENDING: Duration = Duration::from_secs(3);
/// How long the agent may take for what it does itself.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest kernel log that is taken, in bytes: more than any kernel's buffer.
const KERNEL_LOG: usize = 8 << 20;
/// Lines of the console in a report.
const LAST_LINES: usize = 40;

/// A guest that has not said hello yet.
#[derive(Debug)]
pub struct Booting(());

/// A guest whose agent waits for requests.
#[derive(Debug)]
pub struct Ready {
    hello: Hello,
}

/// What the stages of a guest's life took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Until QEMU was executed.
    pub spawn: Duration,
    /// From there to PID 1: our clock to [`Timings::ready`], less what the agent took.
    pub kernel: Duration,
    /// From PID 1 to its hello, by the guest's clock.
    pub agent: Duration,
    /// From the beginning to the agent's hello: the sum.
    pub ready: Duration,
}

/// How a guest ended that was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerOff {
    /// By itself.
    Clean,
    /// It had to be killed.
    Killed,
}

/// A machine in one of its phases. Whatever becomes of this value, QEMU ends with it.
#[derive(Debug)]
#[must_use = "the machine is switched off when this is dropped"]
pub struct Guest<Phase> {
    machine: Machine,
    phase: Phase,
    timings: Timings,
}

#[derive(Debug)]
struct Machine {
    process: Process,
    console: Console,
    connection: Connection,
    accelerator: Accelerator,
    started: Instant,
}

impl Guest<Booting> {
    /// Starts a machine.
    pub fn start(bootable: &Bootable) -> Result<Self, LabError> {
        let started = Instant::now();
        check_kernel_image(&bootable.machine.kernel).map_err(LabErrorKind::NotAKernel)?;
        let (process, console, protocol) =
            Process::spawn(&bootable.qemu, &bootable.machine).map_err(LabErrorKind::Spawn)?;
        let host = |what| move |source: io::Error| LabErrorKind::Host { what, source };
        let console = Console::capture(console, bootable.console_file.as_deref())
            .map_err(host("could not write the console's log"))?;
        let connection = Connection::new(protocol)
            .map_err(host("could not set up the connection to the guest"))?;
        let accelerator = bootable.accelerator();
        let timings = Timings {
            spawn: started.elapsed(),
            kernel: Duration::ZERO,
            agent: Duration::ZERO,
            ready: Duration::ZERO,
        };
        let machine = Machine { process, console, connection, accelerator, started };
        Ok(Guest { machine, phase: Booting(()), timings })
    }

    /// Waits for the first byte on the console and says how long that took from the start.
    /// `None` if the machine ended or the time is over; not stretched.
    pub fn first_sign(&self, timeout: Duration) -> Option<Duration> {
        let started = self.machine.started;
        Some(self.machine.console.first_byte(started + timeout)?.duration_since(started))
    }

    /// Waits until the machine has ended by itself, and says how long it lived. The time counts
    /// from the start.
    pub fn ended(mut self, timeout: Duration) -> Result<Duration, LabError> {
        let waited = self.machine.accelerator.patience(timeout);
        match self.machine.process.wait(self.machine.started + waited) {
            Some(status) if status.success() => Ok(self.machine.started.elapsed()),
            Some(status) => {
                let diagnostics = self.machine.process.diagnostics();
                Err(self.machine.fail(LabErrorKind::QemuFailed { status, diagnostics }))
            }
            None => Err(self.machine.fail_or_crash(Phase::Boot, |log| LabErrorKind::NeverReady {
                waited,
                last_words: last_words(log),
            })),
        }
    }

    /// What QEMU said about itself, if it has ended.
    pub fn diagnostics(&mut self) -> Option<String> {
        if !self.machine.console.has_ended() {
            return None;
        }
        self.machine.process.wait(Instant::now() + ENDING)?;
        Some(self.machine.process.diagnostics())
    }

    /// Waits until the agent says hello; the time counts from the start.
    pub fn ready(self, timeout: Duration) -> Result<Guest<Ready>, LabError> {
        let Guest { mut machine, mut timings, .. } = self;
        let waited = machine.accelerator.patience(timeout);
        let hello = match machine.connection.receive(machine.started + waited) {
            Ok(GuestMessage::Hello(hello)) => hello,
            Ok(GuestMessage::ModuleRefused { module, error }) => {
                return Err(machine.fail(LabErrorKind::ModuleRefused { module, error }));
            }
            Ok(other) => return Err(machine.unexpected("when it had to say hello", &other)),
            Err(ConnectionError::Deadline) => {
                return Err(machine.fail_or_crash(Phase::Boot, |log| LabErrorKind::NeverReady {
                    waited,
                    last_words: last_words(log),
                }));
            }
            Err(error) => {
                return Err(machine.broken(error, Phase::Boot, "when it had to say hello", waited));
            }
        };
        timings.ready = machine.started.elapsed();
        let agent = hello.ready_ms.saturating_sub(hello.user_space_ms);
        timings.agent = Duration::from_millis(agent).min(timings.ready);
        timings.kernel = timings.ready.saturating_sub(timings.agent + timings.spawn);
        Ok(Guest { machine, phase: Ready { hello }, timings })
    }
}

impl Guest<Ready> {
    /// Starts a machine and waits until its agent says hello.
    pub fn boot(bootable: &Bootable, timeout: Duration) -> Result<Self, LabError> {
        Guest::start(bootable)?.ready(timeout)
    }

    /// What the agent said first.
    pub fn hello(&self) -> &Hello {
        &self.phase.hello
    }

    /// What its boot took.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Runs a program. A program that fails is no error; after an error the guest is gone.
    pub fn run(&mut self, job: &Job) -> Result<JobOutput, LabError> {
        let started = Instant::now();
        let machine = &mut self.machine;
        for file in &job.files {
            machine.write_file(file)?;
        }
        let doing = "when it had to run a program";
        let timeout = machine.accelerator.patience(job.timeout);
        let waited = timeout + machine.accelerator.patience(ANSWER);
        let deadline = Instant::now() + waited;
        let run = HostMessage::Run(Run {
            argv: job.argv.clone(),
            env: job.env.clone(),
            hide: job.hide.clone(),
            deadline_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            limits: job.limits,
        });
        machine.send(&run, deadline, doing, waited)?;
        let mut collected = Collected::new(job.limits);
        loop {
            match machine.receive(deadline, doing, waited)? {
                GuestMessage::Output { stream, bytes } if collected.add(stream, &bytes) => {}
                GuestMessage::Exited(report) => {
                    return Ok(collected.finish(report, started.elapsed()));
                }
                GuestMessage::Refused { what } => {
                    return Err(machine.fail(LabErrorKind::Refused { what }));
                }
                other => return Err(machine.unexpected(doing, &other)),
            }
        }
    }

    /// Reads the kernel's log: `<priority>[time] text` a line.
    pub fn kernel_log(&mut self) -> Result<String, LabError> {
        let doing = "when it had to send its kernel's log";
        let waited = self.machine.accelerator.patience(ANSWER);
        let deadline = Instant::now() + waited;
        self.machine.send(&HostMessage::ReadKernelLog, deadline, doing, waited)?;
        let mut log = Vec::new();
        loop {
            match self.machine.receive(deadline, doing, waited)? {
                GuestMessage::Output { stream: Stream::KernelLog, bytes }
                    if log.len() + bytes.len() <= KERNEL_LOG =>
                {
                    log.extend(bytes);
                }
                GuestMessage::Done => return Ok(String::from_utf8_lossy(&log).into_owned()),
                other => return Err(self.machine.unexpected(doing, &other)),
            }
        }
    }

    /// What the console printed by now.
    pub fn console(&self) -> Log {
        self.machine.console.log()
    }

    /// Asks the guest to switch itself off, and makes sure.
    pub fn power_off(mut self) -> PowerOff {
        let deadline = Instant::now() + self.machine.accelerator.patience(ENDING);
        let asked = self.machine.connection.send(&HostMessage::PowerOff, deadline);
        let ended = asked.is_ok() && self.machine.process.wait(deadline).is_some();
        // Dropping it kills it.
        if ended { PowerOff::Clean } else { PowerOff::Killed }
    }
}

impl Machine {
    fn write_file(&mut self, file: &GuestFile) -> Result<(), LabError> {
        let doing = "when it had to write a file";
        let waited = self.accelerator.patience(ANSWER);
        let mut append = false;
        // An empty file is one empty chunk.
        let empty = file.bytes.is_empty().then_some(&[][..]);
        for bytes in empty.into_iter().chain(file.bytes.chunks(CHUNK)) {
            let (path, bytes) = (file.path.clone(), bytes.to_vec());
            let message = HostMessage::WriteFile { path, mode: file.mode, append, bytes };
            let deadline = Instant::now() + waited;
            self.send(&message, deadline, doing, waited)?;
            match self.receive(deadline, doing, waited)? {
                GuestMessage::Done => {}
                GuestMessage::Refused { what } => {
                    return Err(self.fail(LabErrorKind::Refused { what }));
                }
                other => return Err(self.unexpected(doing, &other)),
            }
            append = true;
        }
        Ok(())
    }

    fn send(
        &mut self,
        message: &HostMessage,
        deadline: Instant,
        doing: &'static str,
        waited: Duration,
    ) -> Result<(), LabError> {
        let sent = self.connection.send(message, deadline);
        sent.map_err(|error| self.broken(error, Phase::Work, doing, waited))
    }

    fn receive(
        &mut self,
        deadline: Instant,
        doing: &'static str,
        waited: Duration,
    ) -> Result<GuestMessage, LabError> {
        let received = self.connection.receive(deadline);
        received.map_err(|error| self.broken(error, Phase::Work, doing, waited))
    }

    /// A lost connection is explained by the best evidence there is: the kernel's own report of
    /// its end, then QEMU's, then nothing.
    fn broken(
        &mut self,
        error: ConnectionError,
        phase: Phase,
        doing: &'static str,
        waited: Duration,
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
            ConnectionError::Io(source) => {
                let what = "could not talk to the guest";
                self.fail(LabErrorKind::Host { what, source })
            }
        }
    }

    fn unexpected(&mut self, doing: &'static str, message: &GuestMessage) -> LabError {
        let message = match message {
            GuestMessage::Hello(_) => "hello",
            GuestMessage::ModuleRefused { .. } => "refusal of a module",
            GuestMessage::Done => "end of an answer",
            GuestMessage::Refused { .. } => "refusal",
            GuestMessage::Output { .. } => "output, or more of it than was asked for",
            GuestMessage::Exited(_) => "end of a program",
        };
        self.fail(LabErrorKind::Unexpected { doing, message })
    }

    fn fail(&mut self, kind: LabErrorKind) -> LabError {
        let log = self.end();
        let evidence = self.evidence(log.last_lines(LAST_LINES));
        LabError::new(kind, evidence)
    }

    /// A crash outranks whatever else `kind` makes of the console's log.
    fn fail_or_crash(&mut self, phase: Phase, kind: impl FnOnce(&Log) -> LabErrorKind) -> LabError {
        let log = self.end();
        match Crash::find(&log) {
            Some(crash) => {
                let evidence = self.evidence(crash.excerpt.clone());
                LabError::new(LabErrorKind::Crashed { phase, crash }, evidence)
            }
            None => {
                let evidence = self.evidence(log.last_lines(LAST_LINES));
                LabError::new(kind(&log), evidence)
            }
        }
    }

    /// Ends QEMU and returns all that its guest printed.
    fn end(&mut self) -> Log {
        self.process.kill();
        self.console.finish(Instant::now() + ENDING)
    }

    fn evidence(&self, console: String) -> Evidence {
        Evidence { console, reproduce: self.process.reproduce().to_owned() }
    }
}

fn last_words(log: &Log) -> String {
    if log.is_empty() { "none".to_owned() } else { log.last_lines(1) }
}
