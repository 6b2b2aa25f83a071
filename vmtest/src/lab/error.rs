//! The ways in which a guest can fail.

use std::{error::Error, fmt, io, process::ExitStatus, time::Duration};

use kernlab_proto::{Exit, FrameError};

use super::{cpu_time::CpuTime, machine::was_killed};
use crate::{
    console::{ConsoleLog, Crash},
    qemu::{BinaryError, KernelImageError, MonitorError, SpawnError},
};

/// What the guest was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The guest was not ready yet.
    Boot,
    /// The guest was ready, and was executing a request.
    Work,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Boot => "while it booted",
            Phase::Work => "while it worked",
        })
    }
}

/// The ways in which a guest fails.
#[derive(Debug, thiserror::Error)]
pub enum LabErrorKind {
    /// No usable QEMU was found.
    #[error("QEMU can't be used")]
    QemuMissing(#[source] BinaryError),
    /// QEMU could not be started.
    #[error("QEMU could not be started")]
    Spawn(#[source] SpawnError),
    /// QEMU exited.
    #[error("QEMU ended with {status}: {diagnostics}")]
    QemuFailed {
        /// Its exit status.
        status: ExitStatus,
        /// Its standard error.
        diagnostics: String,
    },
    /// QEMU could not save a guest that it ran.
    #[error("QEMU could not save the guest")]
    NotSaved(#[source] MonitorError),
    /// QEMU could not restore a guest that it saved.
    #[error("QEMU could not restore the guest{}{diagnostics}", if diagnostics.is_empty() {""} else {": "})]
    NotRestored {
        /// The error of the monitor.
        source: MonitorError,
        /// QEMU's standard error.
        diagnostics: String,
        /// Whether somebody ended QEMU with a signal.
        is_killed: bool,
    },
    /// The file is no kernel image.
    #[error("the kernel can't be booted")]
    NotAKernel(#[source] KernelImageError),
    /// The host failed.
    #[error("{what}")]
    Host {
        /// What failed.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
    /// The kernel reported a crash.
    #[error("the kernel crashed {phase}: {}", crash.title)]
    Crashed {
        /// When it crashed.
        phase: Phase,
        /// The report on the console.
        crash: Crash,
    },
    /// The guest ended without a report.
    #[error(
        "the guest ended {phase} without a crash report; the last line on its console: {last_words}"
    )]
    Died {
        /// When it ended.
        phase: Phase,
        /// The console's last line.
        last_words: String,
    },
    /// The agent never said hello.
    #[error(
        "the guest was not ready after {} s; the last line on its console: {last_words}",
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
        /// The kernel's error.
        error: String,
    },
    /// The guest did not answer a request.
    #[error("the guest did not answer within {} s {doing}", waited.as_secs())]
    Silent {
        /// Which request.
        doing: &'static str,
        /// The deadline that passed.
        waited: Duration,
    },
    /// A signal asked this process to end.
    #[error("the run was interrupted {doing}")]
    Interrupted {
        /// During which request.
        doing: &'static str,
    },
    /// The agent sent bytes that are no message.
    #[error("the guest broke the protocol {doing}")]
    Garbage {
        /// During which request.
        doing: &'static str,
        /// What is wrong with the bytes.
        source: FrameError,
    },
    /// The request is too long.
    #[error("the request can't be sent to the guest: shorten the command line or the environment")]
    Unsendable(#[source] FrameError),
    /// The agent sent a message that does not answer the request.
    #[error("the guest broke the protocol {doing}: unexpected {message}")]
    Unexpected {
        /// During which request.
        doing: &'static str,
        /// The kind of the message.
        message: &'static str,
    },
    /// The kernel's log lacks the line that the agent wrote to it.
    #[error(
        "the guest sent its kernel's log without the line that it wrote there last, so the log may be \
         incomplete"
    )]
    LogNotRead,
    /// A program ended before it was started or primed as expected.
    #[error("the program ended early ({exit:?}): {said}")]
    EndedEarly {
        /// How it ended.
        exit: Exit,
        /// The last lines of its output.
        said: String,
    },
    /// The kernel printed a splat while a program was primed.
    #[error("the kernel complained: {0}")]
    KernelWarned(String),
    /// The agent could not execute a request.
    #[error("the guest could not {what}")]
    Refused {
        /// The request, and the kernel's error.
        what: String,
    },
}

/// What explains the failure of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestEvidence {
    /// The crash, if there is one, otherwise the last lines of the console.
    pub console: String,
    /// The whole console, with its splats.
    pub console_log: ConsoleLog,
    /// A command that boots the same machine in a terminal.
    pub reproduce: String,
    /// The CPU time that the guest got since its program was started.
    pub cpu_time: CpuTime,
}

/// A failed guest; its QEMU has been ended.
#[derive(Debug)]
pub struct LabError {
    kind: Box<LabErrorKind>,
    evidence: Box<GuestEvidence>,
}

impl LabError {
    pub(crate) fn new(kind: LabErrorKind, evidence: GuestEvidence) -> Self {
        LabError { kind: Box::new(kind), evidence: Box::new(evidence) }
    }

    /// Did the guest work, and only QEMU failed to save it?
    pub(crate) fn is_about_saving(&self) -> bool {
        matches!(*self.kind, LabErrorKind::NotSaved(_))
    }

    /// Did QEMU end by itself, or the guest never begin? Then the accelerator may be at fault.
    pub(crate) fn is_about_starting(&self) -> bool {
        match &*self.kind {
            LabErrorKind::QemuFailed { status, diagnostics } => !was_killed(*status, diagnostics),
            LabErrorKind::NeverReady { .. } => true,
            _ => false,
        }
    }

    /// Did the host fail, or was QEMU killed? Then the saved guest is not at fault.
    pub(crate) fn is_about_the_host(&self) -> bool {
        match &*self.kind {
            LabErrorKind::QemuMissing(_)
            | LabErrorKind::Spawn(_)
            | LabErrorKind::Interrupted { .. }
            | LabErrorKind::Host { .. } => true,
            LabErrorKind::NotRestored { is_killed, .. } => *is_killed,
            LabErrorKind::QemuFailed { status, diagnostics } => was_killed(*status, diagnostics),
            _ => false,
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> &LabErrorKind {
        &self.kind
    }

    /// The evidence of the failure.
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_saved_guest_is_at_fault_unless_the_host_is() {
        let failed = |status| LabErrorKind::QemuFailed {
            status: ExitStatus::from_raw(status),
            diagnostics: String::new(),
        };
        let not_restored = |is_killed| LabErrorKind::NotRestored {
            source: MonitorError::NotSaved("failed".to_owned()),
            diagnostics: String::new(),
            is_killed,
        };
        let source = io::ErrorKind::StorageFull.into();
        let (killed, exited) = (libc::SIGKILL, 1 << 8);
        for (kind, expected) in [
            (failed(killed), true),
            (failed(exited), false),
            (not_restored(true), true),
            (not_restored(false), false),
            (LabErrorKind::Host { what: "could not write", source }, true),
            (LabErrorKind::Interrupted { doing: "while it waited" }, true),
            (LabErrorKind::Silent { doing: "while it waited", waited: Duration::ZERO }, false),
        ] {
            let error = LabError::from(kind);
            assert_eq!(error.is_about_the_host(), expected, "{error}");
        }
    }
}
