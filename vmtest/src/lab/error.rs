//! What can go wrong with a guest, told apart.

use std::{error::Error, fmt, io, process::ExitStatus, time::Duration};

use kernlab_proto::{Exit, FrameError};

use super::cpu_time::CpuTime;
use crate::{
    console::{ConsoleLog, Crash},
    qemu::{BinaryError, KernelImageError, MonitorError, SpawnError},
};

/// What the guest was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It had not yet said that it is ready.
    Boot,
    /// It was ready, and was asked to do something.
    Work,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Boot => "while it booted",
            Phase::Work => "while it was at work",
        })
    }
}

/// The ways in which a guest fails.
#[derive(Debug, thiserror::Error)]
pub enum LabErrorKind {
    /// There is no QEMU.
    #[error("QEMU can't be used")]
    QemuMissing(#[source] BinaryError),
    /// QEMU could not be started.
    #[error("QEMU could not be started")]
    Spawn(#[source] SpawnError),
    /// QEMU gave up.
    #[error("QEMU ended with {status}: {diagnostics}")]
    QemuFailed {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        diagnostics: String,
    },
    /// QEMU could not save a guest that it ran.
    #[error("QEMU could not save the guest")]
    NotSaved(#[source] MonitorError),
    /// QEMU could not restore a guest that it saved.
    #[error("QEMU could not restore the guest{}{diagnostics}", if diagnostics.is_empty() {""} else {": "})]
    NotRestored {
        /// What went wrong.
        source: MonitorError,
        /// What it said.
        diagnostics: String,
    },
    /// The image is something else.
    #[error("the kernel can't be booted")]
    NotAKernel(#[source] KernelImageError),
    /// The host could not do its part.
    #[error("{what}")]
    Host {
        /// What it was.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel reported its own end.
    #[error("the kernel crashed {phase}: {}", crash.title)]
    Crashed {
        /// When.
        phase: Phase,
        /// How.
        crash: Crash,
    },
    /// The guest ended without a report.
    #[error("the guest ended {phase}, without a word why; its last words: {last_words}")]
    Died {
        /// When.
        phase: Phase,
        /// The console's last line.
        last_words: String,
    },
    /// The agent never said hello.
    #[error(
        "the guest was not ready after {} s; its last words: {last_words}",
        waited.as_secs()
    )]
    NeverReady {
        /// The deadline that passed.
        waited: Duration,
        /// The console's last line.
        last_words: String,
    },
    /// The kernel refused a module.
    #[error("the kernel refused the module {module}: {error}")]
    ModuleRefused {
        /// The module's file.
        module: String,
        /// The kernel's answer.
        error: String,
    },
    /// No answer to a request.
    #[error("the guest did not answer within {} s {doing}", waited.as_secs())]
    Silent {
        /// To which request.
        doing: &'static str,
        /// The deadline that passed.
        waited: Duration,
    },
    /// The agent said something that is not a message.
    #[error("the guest broke the protocol {doing}")]
    Garbage {
        /// To which request.
        doing: &'static str,
        /// What is wrong with it.
        source: FrameError,
    },
    /// The request is too long.
    #[error("the request can't be sent to the guest: shorten the command line or the environment")]
    Unsendable(#[source] FrameError),
    /// The agent said something that is no answer to the request.
    #[error("the guest broke the protocol {doing}: unexpected {message}")]
    Unexpected {
        /// To which request.
        doing: &'static str,
        /// The message's kind.
        message: &'static str,
    },
    /// The kernel's log lacks the line that the agent wrote to it.
    #[error(
        "the guest sent a kernel log without the line that it wrote there last, so what its kernel \
         said is not known"
    )]
    LogNotRead,
    /// A program ended before it was at what it was started for.
    #[error("the program ended early ({exit:?}): {said}")]
    EndedEarly {
        /// How.
        exit: Exit,
        /// What it said last.
        said: String,
    },
    /// The kernel complained where nothing was to happen.
    #[error("the kernel complained: {0}")]
    KernelWarned(String),
    /// The agent could not do what it was asked to.
    #[error("the guest could not {what}")]
    Refused {
        /// What, and the kernel's answer.
        what: String,
    },
}

/// What is worth reading when a guest has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestEvidence {
    /// The crash, if there is one, else the last lines of the console.
    pub console: String,
    /// All that the console printed, with its splats.
    pub console_log: ConsoleLog,
    /// A command that boots the same machine in a terminal.
    pub reproduce: String,
    /// What the guest got of the time since its program was started.
    pub cpu_time: CpuTime,
}

/// A guest failed; it has been ended.
#[derive(Debug)]
pub struct LabError {
    kind: Box<LabErrorKind>,
    evidence: Box<GuestEvidence>,
}

impl LabError {
    pub(crate) fn new(kind: LabErrorKind, evidence: GuestEvidence) -> Self {
        LabError { kind: Box::new(kind), evidence: Box::new(evidence) }
    }

    /// Did the guest live, and only QEMU could not save it?
    pub(crate) fn is_about_saving(&self) -> bool {
        matches!(*self.kind, LabErrorKind::NotSaved(_))
    }

    /// Was a guest never there, because it could not be restored?
    pub(crate) fn is_about_restoring(&self) -> bool {
        matches!(*self.kind, LabErrorKind::NotRestored { .. })
    }

    /// What went wrong.
    pub fn kind(&self) -> &LabErrorKind {
        &self.kind
    }

    /// What to read about it.
    pub fn evidence(&self) -> &GuestEvidence {
        &self.evidence
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Error for LabError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kind.source()
    }
}

impl From<LabErrorKind> for LabError {
    fn from(kind: LabErrorKind) -> Self {
        LabError::new(kind, GuestEvidence::default())
    }
}

impl From<BinaryError> for LabError {
    fn from(error: BinaryError) -> Self {
        LabErrorKind::QemuMissing(error).into()
    }
}
