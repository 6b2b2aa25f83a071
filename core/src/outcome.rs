//! The closed set of verdicts.

mod reason;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::reason::Reason;

/// The outcome of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The events equal the golden snapshot.
    Pass,
    /// The tracer did not report what it should have.
    Fail,
    /// The plan says why the tracer can't work on this kernel.
    Unsupported,
    /// The kernel warned while the cell ran, whatever the events say.
    KernelWarning,
    /// The kernel crashed while the cell ran.
    KernelCrash,
    /// The guest was ready, but the cell did not finish in time.
    Timeout,
    /// Repeated, the cell ended with different verdicts.
    Flaky,
    /// The harness failed before anything could be said: boot, QEMU, transfer.
    Infra,
    /// The kernel is not available.
    Unavailable,
    /// The cell was asked for and never started.
    NotRun,
}

impl Outcome {
    /// All outcomes, in the order in which a summary counts them.
    pub const ALL: [Outcome; 10] = [
        Outcome::Pass,
        Outcome::Fail,
        Outcome::Unsupported,
        Outcome::KernelWarning,
        Outcome::KernelCrash,
        Outcome::Timeout,
        Outcome::Flaky,
        Outcome::Infra,
        Outcome::Unavailable,
        Outcome::NotRun,
    ];

    /// What this outcome means for the exit code of a run.
    pub fn severity(self) -> Severity {
        match self {
            Outcome::Pass | Outcome::Unsupported => Severity::Expected,
            Outcome::Fail
            | Outcome::KernelWarning
            | Outcome::KernelCrash
            | Outcome::Timeout
            | Outcome::Flaky => Severity::Failure,
            Outcome::Infra | Outcome::Unavailable | Outcome::NotRun => Severity::Inconclusive,
        }
    }

    /// The name in reports: `kernel-crash`.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Unsupported => "unsupported",
            Outcome::KernelWarning => "kernel-warning",
            Outcome::KernelCrash => "kernel-crash",
            Outcome::Timeout => "timeout",
            Outcome::Flaky => "flaky",
            Outcome::Infra => "infra",
            Outcome::Unavailable => "unavailable",
            Outcome::NotRun => "not-run",
        }
    }
}

impl Outcome {
    /// `fail (events-differ)`.
    pub fn described(self, reason: Option<Reason>) -> String {
        match reason {
            Some(reason) => format!("{self} ({reason})"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What an outcome means for the run it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to do.
    Expected,
    /// Nothing can be said about this cell.
    Inconclusive,
    /// The tracer, or the kernel under it, misbehaved.
    Failure,
}

/// An outcome with its reason and one sentence for the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The outcome of the cell.
    pub outcome: Outcome,
    /// Why; none for a pass.
    pub reason: Option<Reason>,
    /// One sentence: what happened, and what to do about it. Empty for a pass.
    pub message: String,
}

impl Verdict {
    /// The events are as they should be.
    pub fn pass() -> Self {
        Verdict { outcome: Outcome::Pass, reason: None, message: String::new() }
    }

    /// Any other verdict.
    pub fn because(outcome: Outcome, reason: Reason, message: impl Into<String>) -> Self {
        Verdict { outcome, reason: Some(reason), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_names_are_what_serde_writes() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }

    #[test]
    fn only_a_pass_has_no_reason() {
        assert_eq!(Verdict::pass().reason, None);
    }
}
