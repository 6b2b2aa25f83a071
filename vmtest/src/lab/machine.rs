//! A machine and its connections, whatever phase its guest is in.

use std::{
    io,
    time::{Duration, Instant},
};

use kernlab_proto::{CHUNK, GuestMessage, HostMessage};

use super::{
    Bootable,
    connection::{Connection, ConnectionError},
    error::{Evidence, LabError, LabErrorKind, Phase},
    job::GuestFile,
};
use crate::{
    console::{Console, Crash, Log},
    qemu::{Accelerator, Process, check_kernel_image},
};

/// How long QEMU may take to end, and its console to be read, once its guest is gone.
pub(super) const ENDING: Duration = Duration::from_secs(3);
/// How long the agent may take for what it does itself.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// Lines of the console in a report.
const LAST_LINES: usize = 40;

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) process: Process,
    pub(super) console: Console,
    pub(super) connection: Connection,
    pub(super) accelerator: Accelerator,
    pub(super) started: Instant,
}

impl Machine {
    /// Starts QEMU and listens to it.
    pub(super) fn start(bootable: &Bootable) -> Result<Self, LabError> {
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
        Ok(Machine { process, console, connection, accelerator, started })
    }

    pub(super) fn write_file(&mut self, file: &GuestFile) -> Result<(), LabError> {
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

    pub(super) fn send(
        &mut self,
        message: &HostMessage,
        deadline: Instant,
        doing: &'static str,
        waited: Duration,
    ) -> Result<(), LabError> {
        let sent = self.connection.send(message, deadline);
        sent.map_err(|error| self.broken(error, Phase::Work, doing, waited))
    }

    pub(super) fn receive(
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
    pub(super) fn broken(
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
            ConnectionError::Unsendable(source) => self.fail(LabErrorKind::Unsendable(source)),
            ConnectionError::Io(source) => {
                let what = "could not talk to the guest";
                self.fail(LabErrorKind::Host { what, source })
            }
        }
    }

    pub(super) fn unexpected(&mut self, doing: &'static str, message: &GuestMessage) -> LabError {
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

    pub(super) fn fail(&mut self, kind: LabErrorKind) -> LabError {
        let log = self.end();
        let evidence = self.evidence(log.last_lines(LAST_LINES));
        LabError::new(kind, evidence)
    }

    /// A crash outranks whatever else `kind` makes of the console's log.
    pub(super) fn fail_or_crash(
        &mut self,
        phase: Phase,
        kind: impl FnOnce(&Log) -> LabErrorKind,
    ) -> LabError {
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

/// The console's last line.
pub(super) fn last_words(log: &Log) -> String {
    if log.is_empty() { "none".to_owned() } else { log.last_lines(1) }
}
