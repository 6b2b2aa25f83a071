//! Why a cell did not pass.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares the reasons, each with its code in reports and what it means, as a part of a sentence.
macro_rules! reasons {
    ($($name:ident, $code:literal: $meaning:literal;)*) => {
        /// Why an outcome other than a pass came about.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum Reason {
            $(
                #[doc = concat!("`", $code, "`: ", $meaning, ".")]
                #[serde(rename = $code)]
                $name,
            )*
        }

        impl Reason {
            /// All reasons, in the order of their declaration.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// The code in reports: `missing-symbol`.
            pub fn code(self) -> &'static str {
                match self {
                    $(Reason::$name => $code,)*
                }
            }

            /// What it means, as a part of a sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Reason::$name => $meaning,)*
                }
            }
        }
    };
}

reasons! {
    MissingSymbol, "missing-symbol":
        "a function or variable that the tracer needs is not in the kernel's symbol table";
    MissingBtf, "missing-btf": "the plan needs type information and the kernel offers none";
    WrongBtfMode, "wrong-btf-mode":
        "the image has type information where the BTF mode means that it has none, or none where the mode \
         needs some";
    MissingField, "missing-field": "a structure lacks a field that the tracer reads";
    ForeignBtf, "foreign-btf": "the type information that was supplied is not that of the kernel";
    LayoutNotFound, "layout-not-found":
        "there is no type information, and the search of memory did not find a field's offset";
    SignatureChanged, "signature-changed": "a function exists with other parameters than the tracer can read";
    MissingConfig, "missing-config": "the kernel was built without an option that the tracer needs";
    FactNotGathered, "fact-not-gathered":
        "the tracer's plan depends on a fact about the kernel that was not gathered: a bug of kernlab";
    TrialInconclusive, "trial-inconclusive":
        "the trial of a feature was inconclusive";
    VerifierRejected, "verifier-rejected": "the verifier refused a program";
    HelperUnavailable, "helper-unavailable": "the kernel lacks a BPF helper, map type or program type";
    AttachRefused, "attach-refused": "a program was loaded and could not be attached";
    LoadFailed, "load-failed": "a BPF object could not be opened or its maps created";
    EventsDiffer, "events-differ": "events differ from the golden snapshot";
    PredictionDiffers, "prediction-differs":
        "the plan made on the host, from the kernel's dossier, is another one than that of the guest";
    BackendsDiffer, "backends-differ":
        "events differ from the golden snapshot, and from those of the other backend on the same kernel";
    EventsLost, "events-lost":
        "events that the programs counted did not arrive, more are counted as lost than are missing, or \
         the kernel skipped runs of the programs";
    EventsLate, "events-late":
        "an event did not reach the tracer while the workload ran: nothing woke it, or it woke and found \
         none";
    StateLeftBehind, "state-left-behind":
        "the tracer left entries behind in a map that must be empty at the end, or programs in the kernel";
    WorkloadFailed, "workload-failed": "the workload could not do what it should, so nothing was measured";
    TracerDied, "tracer-died": "the tracer program died or answered nonsense";
    SetupFailed, "setup-failed":
        "the guest could not be prepared as the suite wants it, or the tracer could not be started";
    NotReady, "not-ready": "the tracer was not ready in time";
    StopIgnored, "stop-ignored": "the tracer did not end when it was asked to, and was killed";
    UnexpectedExit, "unexpected-exit": "the tracer ended with another exit code than the suite expects";
    AssertionFailed, "assertion-failed": "an assertion of the suite does not hold";
    TooManyInstructions, "too-many-instructions":
        "the verifier processed more instructions than the suite allows";
    ExpectedFailure, "expected-failure": "the suite expects this failure on kernels such as this one";
    ExpectationStale, "expectation-stale":
        "the suite expects a failure on kernels such as this one, and there was none";
    ExpectationUndecided, "expectation-undecided":
        "whether the suite expects a failure can't be decided from the kernel's dossier";
    SnapshotMissing, "snapshot-missing": "there is no golden snapshot yet";
    DeviationStale, "deviation-stale": "a named deviation no longer occurs, or occurs differently";
    VerdictsDiffer, "verdicts-differ": "the cell was repeated, and its verdicts differ";
    KernelWarned, "kernel-warned": "the kernel printed a warning";
    KernelPanicked, "kernel-panicked": "the kernel panicked or oopsed";
    GuestStarved, "guest-starved":
        "the kernel complains that time passed, and the host did not run it for most of that time";
    OutOfMemory, "out-of-memory":
        "the guest ran out of memory: the suite needs more, or a program took too much";
    BootTimeout, "boot-timeout": "the guest never reported that it is ready";
    DeadlineExceeded, "deadline-exceeded": "the cell ran out of time";
    WrongKernel, "wrong-kernel": "the guest runs another kernel than the cell is about";
    NotAKernel, "not-a-kernel": "the image is not one that QEMU can boot";
    ModuleRefused, "module-refused": "a kernel module that the guest's devices need could not be loaded";
    QemuFailed, "qemu-failed": "QEMU is missing, refused to start, or ended while a guest ran";
    ConnectionLost, "connection-lost": "the guest's agent broke the protocol or the connection was lost";
    HostIo, "host-io": "a file of the host could not be read or written";
    NotLocked, "not-locked": "the kernel is not locked: it has not been resolved yet";
    Unreachable, "unreachable": "no mirror could deliver the kernel";
    DigestMismatch, "digest-mismatch": "what was delivered is not what the lock promises";
    BadPackage, "bad-package": "the package is damaged or not laid out as its kind should be";
    ToolsMissing, "tools-missing": "the kernel has to be built, and the machine lacks what that takes";
    BuildFailed, "build-failed": "the kernel could not be built";
    Interrupted, "interrupted": "the run ended before the cell did";
    JudgingFailed, "judging-failed": "the lab could not judge what the guest reported";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_json() {
        assert_eq!(Reason::MissingSymbol.code(), "missing-symbol");
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
        }
    }

    /// `docs/report-schema.md` has a table of all reasons.
    #[test]
    fn every_reason_is_documented() {
        let document = include_str!("../../../docs/report-schema.md");
        for reason in Reason::ALL {
            let row = format!("| `{reason}` | {} |\n", reason.meaning());
            assert!(document.contains(&row), "docs/report-schema.md lacks the row:\n{row}");
        }
    }
}
