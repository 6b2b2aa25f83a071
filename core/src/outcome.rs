//! The closed set of verdicts.

mod meaning;

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of one cell.
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
    /// Repeated, the cell ended now with one verdict, now with another.
    Flaky,
    /// The harness failed before anything could be said: boot, QEMU, transfer.
    Infra,
    /// The kernel can't be had.
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

/// Why an outcome other than a pass came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A function or variable that the tracer needs is not in the kernel's symbol table.
    MissingSymbol,
    /// The plan needs type information and the kernel offers none.
    MissingBtf,
    /// The image has type information where the BTF mode means that it has none, or none where the
    /// mode needs some.
    WrongBtfMode,
    /// A structure lacks a field that the tracer reads.
    MissingField,
    /// The type information that was supplied is not that of the kernel.
    ForeignBtf,
    /// There is no type information, and searching memory did not tell where a field is.
    LayoutNotFound,
    /// A function exists with other parameters than the tracer can read.
    SignatureChanged,
    /// The kernel was built without an option that the tracer needs.
    MissingConfig,
    /// The plan depends on something of the kernel that the tracer did not look for.
    FactNotGathered,
    /// The lab tried whether the kernel has something, and could not tell.
    TrialInconclusive,
    /// The verifier refused a program.
    VerifierRejected,
    /// The kernel lacks a BPF helper, map type or program type.
    HelperUnavailable,
    /// A program was loaded and could not be attached.
    AttachRefused,
    /// A BPF object could not be opened or its maps created.
    LoadFailed,
    /// Events differ from the golden snapshot.
    EventsDiffer,
    /// The plan made on the host, from the kernel's dossier, is another one than that of the guest.
    PredictionDiffers,
    /// Events differ from the golden snapshot, and from those of the other backend on the same kernel.
    BackendsDiffer,
    /// Events that the programs counted did not arrive, more are counted as lost than are missing, or the
    /// kernel skipped runs of the programs.
    EventsLost,
    /// An event did not reach the tracer while the workload ran: nothing woke it, or it woke and found none.
    EventsLate,
    /// The tracer left entries behind in a map that must be empty at the end, or programs in the kernel.
    StateLeftBehind,
    /// The workload could not do what it should, so nothing was measured.
    WorkloadFailed,
    /// The tracer program died or answered nonsense.
    TracerDied,
    /// The guest could not be prepared as the suite wants it, or the tracer could not be started.
    SetupFailed,
    /// The tracer was not ready in time.
    NotReady,
    /// The tracer did not end when it was asked to, and was killed.
    StopIgnored,
    /// The tracer ended with another exit code than the suite expects.
    UnexpectedExit,
    /// An assertion of the suite does not hold.
    AssertionFailed,
    /// The verifier processed more instructions than the suite allows.
    TooManyInstructions,
    /// The suite expects this failure on kernels such as this one.
    ExpectedFailure,
    /// The suite expects a failure on kernels such as this one, and there was none.
    ExpectationStale,
    /// Whether the suite expects a failure can't be decided from the kernel's dossier.
    ExpectationUndecided,
    /// There is no golden snapshot for this scenario yet.
    SnapshotMissing,
    /// A named deviation no longer occurs, or occurs differently.
    DeviationStale,
    /// The cell was repeated, and its verdicts differ.
    VerdictsDiffer,
    /// The kernel printed a warning.
    KernelWarned,
    /// The kernel panicked or oopsed.
    KernelPanicked,
    /// The kernel complains that time passed, and the host did not run it for most of that time.
    GuestStarved,
    /// The guest ran out of memory: the suite needs more, or a program took too much.
    OutOfMemory,
    /// The guest never reported that it is ready.
    BootTimeout,
    /// The cell ran out of time.
    DeadlineExceeded,
    /// The guest runs another kernel than the cell is about.
    WrongKernel,
    /// The image is not one that QEMU can boot.
    NotAKernel,
    /// A kernel module that the guest's devices need could not be loaded.
    ModuleRefused,
    /// QEMU is missing, refused to start, or ended while a guest ran.
    QemuFailed,
    /// The guest's agent broke the protocol or the connection was lost.
    ConnectionLost,
    /// A file of the host could not be read or written.
    HostIo,
    /// The kernel is not locked: it has not been resolved yet.
    NotLocked,
    /// No mirror could deliver the kernel.
    Unreachable,
    /// What was delivered is not what the lock promises.
    DigestMismatch,
    /// The package is damaged or not laid out as its kind should be.
    BadPackage,
    /// The kernel has to be built, and the machine lacks what that takes.
    ToolsMissing,
    /// The kernel could not be built.
    BuildFailed,
    /// The run ended before the cell's turn came.
    Interrupted,
    /// The lab could not judge what the guest reported.
    JudgingFailed,
}

impl Reason {
    /// The code in reports: `missing-symbol`.
    pub fn code(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(code)) => code,
            other => unreachable!("a reason serialises to a string, not {other:?}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.code())
    }
}

/// An outcome with its reason and one sentence for the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What became of the cell.
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
    fn reason_codes_are_kebab_case() {
        assert_eq!(Reason::MissingSymbol.code(), "missing-symbol");
        assert_eq!(Reason::NotAKernel.to_string(), "not-a-kernel");
        assert_eq!(Reason::WrongBtfMode.code(), "wrong-btf-mode");
    }

    #[test]
    fn only_a_pass_has_no_reason() {
        assert_eq!(Verdict::pass().reason, None);
    }
}
