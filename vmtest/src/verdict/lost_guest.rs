//! The verdict on a guest that failed, was lost or stopped answering.

use std::error::Error as _;

use kernlab_core::outcome::{Outcome, Reason, Verdict};

use super::{GuestSplats, PolicyOutcome, SplatPolicy};
use crate::lab::{LabError, LabErrorKind, Phase};

/// The verdict on a cell whose guest was lost during its work. The kernel's messages on the console
/// explain that better than the host can.
pub(super) fn verdict(error: &LabError, policy: SplatPolicy<'_>) -> PolicyOutcome {
    let evidence = error.evidence();
    let mut lost = error.verdict();
    if lost.outcome == Outcome::Timeout {
        // Tells a spinning guest from a waiting one, and from one that the host did not run.
        lost.message.push_str(&format!("; the host ran the guest for {}", evidence.cpu_time));
    }
    let splats = GuestSplats::of_console(&evidence.console_log);
    let PolicyOutcome { mut verdict, allowed } =
        policy.apply(lost.clone(), &splats, evidence.cpu_time);
    if lost.outcome == Outcome::KernelCrash {
        // A crash outranks all splats that came before it.
        (verdict.outcome, verdict.reason) = (lost.outcome, lost.reason);
    } else if verdict != lost {
        verdict.message.push_str(&format!("\nthen {}", lost.message));
    }
    PolicyOutcome { verdict, allowed }
}

impl LabError {
    /// The outcome of a cell whose guest failed with this error.
    pub fn outcome(&self) -> Outcome {
        match self.kind() {
            LabErrorKind::Crashed { phase: Phase::Work, .. } => Outcome::KernelCrash,
            LabErrorKind::Silent { .. } => Outcome::Timeout,
            LabErrorKind::Interrupted { .. } => Outcome::NotRun,
            LabErrorKind::KernelWarned(_) => Outcome::KernelWarning,
            LabErrorKind::Crashed { phase: Phase::Boot, .. }
            | LabErrorKind::QemuMissing(_)
            | LabErrorKind::Spawn(_)
            | LabErrorKind::QemuFailed { .. }
            | LabErrorKind::NotSaved(_)
            | LabErrorKind::NotRestored { .. }
            | LabErrorKind::NotAKernel(_)
            | LabErrorKind::Host { .. }
            | LabErrorKind::Died { .. }
            | LabErrorKind::NeverReady { .. }
            | LabErrorKind::ModuleRefused { .. }
            | LabErrorKind::Garbage { .. }
            | LabErrorKind::Unsendable(_)
            | LabErrorKind::LogNotRead
            | LabErrorKind::Unexpected { .. }
            | LabErrorKind::EndedEarly { .. }
            | LabErrorKind::Refused { .. } => Outcome::Infra,
        }
    }

    /// The reason that belongs to the outcome.
    pub fn reason(&self) -> Reason {
        match self.kind() {
            LabErrorKind::QemuMissing(_)
            | LabErrorKind::Spawn(_)
            | LabErrorKind::QemuFailed { .. }
            | LabErrorKind::NotSaved(_)
            | LabErrorKind::NotRestored { .. } => Reason::QemuFailed,
            LabErrorKind::NotAKernel(_) => Reason::NotAKernel,
            LabErrorKind::Host { .. } | LabErrorKind::Unsendable(_) => Reason::HostIo,
            LabErrorKind::Crashed { .. } => Reason::KernelPanicked,
            LabErrorKind::NeverReady { .. } => Reason::BootTimeout,
            LabErrorKind::ModuleRefused { .. } => Reason::ModuleRefused,
            LabErrorKind::Silent { .. } => Reason::DeadlineExceeded,
            LabErrorKind::Interrupted { .. } => Reason::Interrupted,
            LabErrorKind::Died { .. }
            | LabErrorKind::Garbage { .. }
            | LabErrorKind::LogNotRead
            | LabErrorKind::Unexpected { .. } => Reason::ConnectionLost,
            LabErrorKind::KernelWarned(_) => Reason::KernelWarned,
            LabErrorKind::EndedEarly { .. } | LabErrorKind::Refused { .. } => Reason::TracerDied,
        }
    }

    /// The outcome, the reason and the whole chain of messages.
    pub fn verdict(&self) -> Verdict {
        let mut message = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            message.push_str(": ");
            message.push_str(&error.to_string());
            source = error.source();
        }
        Verdict::because(self.outcome(), self.reason(), message)
    }
}
