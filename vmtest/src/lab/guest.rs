//! A guest, with its phase in its type.

use std::{
    fs::File,
    io,
    process::ExitStatus,
    time::{Duration, Instant},
};

use kernlab_proto::{GuestMessage, Hello, HostMessage, Input, Proceed, Run, Stream, TerminalSize};

use super::{
    Bootable,
    checkpoint::Checkpoint,
    connection::ConnectionError,
    error::{LabError, LabErrorKind, Phase},
    job::{Job, JobOutput},
    keyboard::Keyboard,
    machine::{ANSWER, ENDING, Machine, Request, Work, last_words, was_killed},
};
use crate::{
    console::Log,
    qemu::{Memory, MonitorError},
};

/// A guest that has not said hello yet.
#[derive(Debug)]
pub struct Booting {
    spawn: Duration,
}

/// A guest that has said hello and got no request yet: every boot of its kernel ends here.
#[derive(Debug)]
pub struct Booted {
    pub(super) hello: Hello,
    timings: Timings,
}

/// A guest that is ready, and waits for requests.
#[derive(Debug)]
pub struct Ready {
    pub(super) hello: Hello,
    timings: Timings,
    /// The part of the kernel's log that was read so far.
    kernel_log: String,
}

/// A guest in which a primed program waits for its input.
#[derive(Debug)]
pub struct Primed(pub(super) Ready);

/// How long the stages of a guest's start took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Until QEMU was executed.
    pub spawn: Duration,
    /// From there to PID 1, or until a restored guest runs again.
    pub kernel: Duration,
    /// From PID 1 to its hello, by the guest's clock; zero for a restored guest.
    pub agent: Duration,
    /// From the start to the agent's hello, or until a restored guest runs again.
    pub hello: Duration,
    /// From the start to a guest that waits for requests.
    pub ready: Duration,
}

/// How a guest ended that was asked to power off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerOff {
    /// The guest powered off.
    Clean,
    /// QEMU had to be killed.
    Killed,
}

/// A machine in one of its phases. QEMU ends when this is dropped, in any phase.
#[derive(Debug)]
#[must_use = "dropping this ends the machine"]
pub struct Guest<State> {
    pub(super) machine: Machine,
    pub(super) state: State,
}

impl Guest<Booting> {
    /// Starts a machine.
    pub fn start(bootable: &Bootable) -> Result<Self, LabError> {
        Guest::start_with(bootable, Memory::Fresh)
    }

    pub(super) fn start_with(bootable: &Bootable, memory: Memory<'_>) -> Result<Self, LabError> {
        let machine = Machine::start(bootable, memory)?;
        let spawn = machine.started.elapsed();
        Ok(Guest { machine, state: Booting { spawn } })
    }

    /// Waits for the first byte on the console and returns how long that took from the start.
    /// `None` if the machine ended or the timeout passed. The timeout is not scaled for TCG.
    pub fn first_sign(&self, timeout: Duration) -> Option<Duration> {
        let started = self.machine.started;
        Some(self.machine.console.first_byte(started + timeout)?.duration_since(started))
    }

    /// Waits until the machine has ended by itself, and returns how long it ran. The timeout counts
    /// from the start.
    pub fn ended(mut self, timeout: Duration) -> Result<Duration, LabError> {
        let waited = self.machine.accelerator.scale_timeout(timeout);
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

    /// How QEMU ended and its standard error, if it has ended.
    pub(crate) fn end(&mut self) -> Option<(ExitStatus, String)> {
        if !self.machine.console.has_ended() {
            return None;
        }
        let status = self.machine.process.wait(Instant::now() + ENDING)?;
        Some((status, self.machine.process.diagnostics()))
    }

    /// Waits until the agent has said hello and the guest is ready. The timeout counts from the
    /// start.
    pub fn ready(self, timeout: Duration) -> Result<Guest<Ready>, LabError> {
        self.booted(timeout)?.begin()
    }

    /// Waits until the agent says hello. The timeout counts from the start.
    pub(super) fn booted(self, timeout: Duration) -> Result<Guest<Booted>, LabError> {
        let Guest { mut machine, state: Booting { spawn } } = self;
        let waited = machine.accelerator.scale_timeout(timeout);
        let request = Request::since(machine.started, "while it booted", waited);
        let hello = match machine.connection.receive(request.deadline) {
            Ok(GuestMessage::Hello(hello)) => hello,
            Ok(GuestMessage::ModuleRefused { module, error }) => {
                return Err(machine.fail(LabErrorKind::ModuleRefused { module, error }));
            }
            Ok(other) => return Err(machine.unexpected(request, &other)),
            Err(ConnectionError::Deadline) => {
                return Err(machine.fail_or_crash(Phase::Boot, |log| LabErrorKind::NeverReady {
                    waited,
                    last_words: last_words(log),
                }));
            }
            Err(error) => return Err(machine.broken(error, Phase::Boot, request)),
        };
        let booted = machine.started.elapsed();
        let agent = Duration::from_millis(hello.ready_ms.saturating_sub(hello.user_space_ms));
        let kernel = booted.saturating_sub(agent + spawn);
        let timings = Timings { spawn, kernel, agent, hello: booted, ready: booted };
        Ok(Guest { machine, state: Booted { hello, timings } })
    }
}

/// Whether an error tells that the other side is gone.
fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionReset | UnexpectedEof)
}

impl Guest<Booted> {
    /// Restores a guest from a checkpoint.
    pub(super) fn restored(
        bootable: &Bootable,
        saved: &Checkpoint,
        memory: Memory<'_>,
    ) -> Result<Self, LabError> {
        let mut machine = Machine::start(bootable, memory)?;
        let spawn = machine.started.elapsed();
        let deadline = Instant::now() + machine.accelerator.scale_timeout(ANSWER);
        if let Err(source) = machine.monitor.restore(&saved.devices, deadline) {
            // QEMU also ends by itself if it can't use a state.
            let has_ended = matches!(&source, MonitorError::Io(error) if is_end(error.kind()));
            let status = has_ended.then(|| machine.process.wait(Instant::now() + ENDING));
            let diagnostics = machine.process.diagnostics();
            let is_killed = status.flatten().is_some_and(|it| was_killed(it, &diagnostics));
            return Err(machine.fail(LabErrorKind::NotRestored { source, diagnostics, is_killed }));
        }
        let hello = machine.started.elapsed();
        let kernel = hello.saturating_sub(spawn);
        let timings = Timings { spawn, kernel, agent: Duration::ZERO, hello, ready: hello };
        Ok(Guest { machine, state: Booted { hello: saved.hello.clone(), timings } })
    }

    /// Makes a booted guest ready.
    pub(super) fn begin(mut self) -> Result<Guest<Ready>, LabError> {
        self.machine.begin()?;
        let Guest { machine, state: Booted { hello, mut timings } } = self;
        timings.ready = machine.started.elapsed();
        Ok(Guest { machine, state: Ready { hello, timings, kernel_log: String::new() } })
    }
}

impl Guest<Ready> {
    /// Starts a machine and waits until its guest is ready.
    pub fn boot(bootable: &Bootable, timeout: Duration) -> Result<Self, LabError> {
        Guest::start(bootable)?.ready(timeout)
    }

    /// Starts a machine with the state of a checkpoint.
    pub fn restore(bootable: &Bootable, saved: &Checkpoint) -> Result<Self, LabError> {
        let memory = Memory::Restored(&saved.memory);
        let mut guest = Guest::restored(bootable, saved, memory)?.begin()?;
        guest.state.kernel_log = saved.kernel_log.clone();
        Ok(guest)
    }

    /// What the agent reported in its hello.
    pub fn hello(&self) -> &Hello {
        &self.state.hello
    }

    /// How long the guest's start took.
    pub fn timings(&self) -> Timings {
        self.state.timings
    }

    /// Runs a program. A failing program is no error; after an error the guest is gone.
    pub fn run(&mut self, job: &Job) -> Result<JobOutput, LabError> {
        self.run_streaming(job, &mut |_, _| {})
    }

    /// Runs a program, and passes its output on when it arrives. What a guest wrote before it was
    /// lost is thus known.
    pub fn run_streaming(
        &mut self,
        job: &Job,
        heard: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<JobOutput, LabError> {
        let work = self.start_program(job, Input::None)?;
        self.machine.end_of(work, job, heard)
    }

    /// Runs a program at a terminal: the guest's console is shown on `screen`, and input from
    /// `keyboard` is typed there.
    pub fn run_at_terminal(
        &mut self,
        job: &Job,
        size: TerminalSize,
        screen: File,
        keyboard: &Keyboard,
    ) -> Result<JobOutput, LabError> {
        self.machine.console.show_on(Some(screen));
        let work = self.start_program(job, Input::Terminal(size))?;
        self.machine.answered(work, &GuestMessage::AtTerminal)?;
        let connected =
            self.machine.keyboard.try_clone().and_then(|console| keyboard.connect(console));
        connected.map_err(|source| LabErrorKind::Host {
            what: "could not connect the keyboard",
            source,
        })?;
        let output = self.machine.end_of(work, job, &mut |_, _| {})?;
        self.machine.console.show_on(None);
        Ok(output)
    }

    /// Starts a program that prepares what does not depend on its input, and then stops itself.
    pub(super) fn prime(mut self, program: &Job) -> Result<Guest<Primed>, LabError> {
        let work = self.start_program(program, Input::Later)?;
        self.machine.answered(work, &GuestMessage::Primed)?;
        let Guest { machine, state } = self;
        Ok(Guest { machine, state: Primed(state) })
    }

    fn start_program(&mut self, job: &Job, input: Input) -> Result<Work, LabError> {
        for file in &job.files {
            self.machine.write_file(file)?;
        }
        let work = self.machine.work(job, "while it ran a program");
        let run = HostMessage::Run(Run {
            argv: job.argv.clone(),
            env: job.env.clone(),
            hide: job.hide.clone(),
            deadline_ms: work.deadline_ms(),
            limits: job.limits,
            input,
        });
        self.machine.send(&run, work.request)?;
        Ok(work)
    }

    /// The kernel's log since its boot, one `<priority>[time] text` per line. Lines that the
    /// kernel's buffer dropped before the first read are missing.
    pub fn kernel_log(&mut self) -> Result<&str, LabError> {
        let news = self.machine.kernel_log()?;
        self.state.kernel_log.push_str(&news);
        Ok(&self.state.kernel_log)
    }

    /// What the console has printed so far.
    pub fn console(&self) -> Log {
        self.machine.console.log()
    }

    /// Asks the guest to power off, and kills QEMU if the guest does not.
    pub fn power_off(mut self) -> PowerOff {
        let deadline = Instant::now() + self.machine.accelerator.scale_timeout(ENDING);
        let asked = self.machine.connection.send(&HostMessage::PowerOff, deadline);
        let ended = asked.is_ok() && self.machine.process.wait(deadline).is_some();
        // Dropping it kills QEMU.
        if ended { PowerOff::Clean } else { PowerOff::Killed }
    }
}

impl Guest<Primed> {
    /// Starts a machine with the state of a checkpoint with a primed program.
    pub fn restore_primed(bootable: &Bootable, saved: &Checkpoint) -> Result<Self, LabError> {
        let Guest { machine, state } = Guest::restore(bootable, saved)?;
        Ok(Guest { machine, state: Primed(state) })
    }

    /// What the agent reported in its hello.
    pub fn hello(&self) -> &Hello {
        &self.state.0.hello
    }

    /// Lets the primed program continue with `input`. The timeout and limits are those of
    /// `program`.
    pub fn proceed(
        self,
        input: &str,
        program: &Job,
    ) -> Result<(Guest<Ready>, JobOutput), LabError> {
        self.proceed_heard(input, program, &mut |_, _| {})
    }

    /// Like [`Guest::proceed`], and passes the program's output on when it arrives.
    pub fn proceed_heard(
        mut self,
        input: &str,
        program: &Job,
        heard: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<(Guest<Ready>, JobOutput), LabError> {
        let work = self.machine.work(program, "while its program continued");
        let input = input.as_bytes().to_vec();
        let proceed = HostMessage::Proceed(Proceed { input, deadline_ms: work.deadline_ms() });
        self.machine.send(&proceed, work.request)?;
        let output = self.machine.end_of(work, program, heard)?;
        let Guest { machine, state: Primed(state) } = self;
        Ok((Guest { machine, state }, output))
    }
}
