//! What each reason means, in words.

use super::Reason;

impl Reason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Reason; 54] = [
        Reason::MissingSymbol,
        Reason::MissingBtf,
        Reason::WrongBtfMode,
        Reason::MissingField,
        Reason::ForeignBtf,
        Reason::LayoutNotFound,
        Reason::SignatureChanged,
        Reason::MissingConfig,
        Reason::FactNotGathered,
        Reason::TrialInconclusive,
        Reason::VerifierRejected,
        Reason::HelperUnavailable,
        Reason::AttachRefused,
        Reason::LoadFailed,
        Reason::EventsDiffer,
        Reason::PredictionDiffers,
        Reason::BackendsDiffer,
        Reason::EventsLost,
        Reason::EventsLate,
        Reason::StateLeftBehind,
        Reason::WorkloadFailed,
        Reason::TracerDied,
        Reason::SetupFailed,
        Reason::NotReady,
        Reason::StopIgnored,
        Reason::UnexpectedExit,
        Reason::AssertionFailed,
        Reason::TooManyInstructions,
        Reason::ExpectedFailure,
        Reason::ExpectationStale,
        Reason::ExpectationUndecided,
        Reason::SnapshotMissing,
        Reason::DeviationStale,
        Reason::VerdictsDiffer,
        Reason::KernelWarned,
        Reason::KernelPanicked,
        Reason::GuestStarved,
        Reason::OutOfMemory,
        Reason::BootTimeout,
        Reason::DeadlineExceeded,
        Reason::WrongKernel,
        Reason::NotAKernel,
        Reason::ModuleRefused,
        Reason::QemuFailed,
        Reason::ConnectionLost,
        Reason::HostIo,
        Reason::NotLocked,
        Reason::Unreachable,
        Reason::DigestMismatch,
        Reason::BadPackage,
        Reason::ToolsMissing,
        Reason::BuildFailed,
        Reason::Interrupted,
        Reason::JudgingFailed,
    ];

    /// What it means, as a part of a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Reason::MissingSymbol => {
                "a function or variable that the tracer needs is not in the kernel's symbol table"
            }
            Reason::MissingBtf => "the plan needs type information and the kernel offers none",
            Reason::WrongBtfMode => {
                "the image has type information where the BTF mode means that it has none, or none \
                 where the mode needs some"
            }
            Reason::MissingField => "a structure lacks a field that the tracer reads",
            Reason::ForeignBtf => {
                "the type information that was supplied is not that of the kernel"
            }
            Reason::LayoutNotFound => {
                "there is no type information, and searching memory did not tell where a field is"
            }
            Reason::SignatureChanged => {
                "a function exists with other parameters than the tracer can read"
            }
            Reason::MissingConfig => "the kernel was built without an option that the tracer needs",
            Reason::TrialInconclusive => {
                "the lab tried whether the kernel has something, and could not tell"
            }
            Reason::FactNotGathered => {
                "the tracer's plan depends on a fact about the kernel that was not gathered: a bug of \
                 kernlab"
            }
            Reason::VerifierRejected => "the verifier refused a program",
            Reason::HelperUnavailable => "the kernel lacks a BPF helper, map type or program type",
            Reason::AttachRefused => "a program was loaded and could not be attached",
            Reason::LoadFailed => "a BPF object could not be opened or its maps created",
            Reason::EventsDiffer => "events differ from the golden snapshot",
            Reason::PredictionDiffers => {
                "the plan made on the host, from the kernel's dossier, is another one than that of \
                 the guest"
            }
            Reason::BackendsDiffer => {
                "events differ from the golden snapshot, and from those of the other backend on \
                 the same kernel"
            }
            Reason::EventsLost => {
                "events that the programs counted did not arrive, more are counted as lost than are \
                 missing, or the kernel skipped runs of the programs"
            }
            Reason::EventsLate => {
                "an event did not reach the tracer while the workload ran: nothing woke it, or it woke \
                 and found none"
            }
            Reason::StateLeftBehind => {
                "the tracer left entries behind in a map that must be empty at the end, or \
                 programs in the kernel"
            }
            Reason::WorkloadFailed => {
                "the workload could not do what it should, so nothing was measured"
            }
            Reason::TracerDied => "the tracer program died or answered nonsense",
            Reason::SetupFailed => {
                "the guest could not be prepared as the suite wants it, or the tracer could not be \
                 started"
            }
            Reason::NotReady => "the tracer was not ready in time",
            Reason::StopIgnored => "the tracer did not end when it was asked to, and was killed",
            Reason::UnexpectedExit => {
                "the tracer ended with another exit code than the suite expects"
            }
            Reason::AssertionFailed => "an assertion of the suite does not hold",
            Reason::TooManyInstructions => {
                "the verifier processed more instructions than the suite allows"
            }
            Reason::ExpectedFailure => "the suite expects this failure on kernels such as this one",
            Reason::ExpectationStale => {
                "the suite expects a failure on kernels such as this one, and there was none"
            }
            Reason::ExpectationUndecided => {
                "whether the suite expects a failure can't be decided from the kernel's dossier"
            }
            Reason::SnapshotMissing => "there is no golden snapshot for this scenario yet",
            Reason::DeviationStale => "a named deviation no longer occurs, or occurs differently",
            Reason::VerdictsDiffer => "the cell was repeated, and its verdicts differ",
            Reason::KernelWarned => "the kernel printed a warning",
            Reason::KernelPanicked => "the kernel panicked or oopsed",
            Reason::GuestStarved => {
                "the kernel complains that time passed, and the host did not run it for most of \
                 that time"
            }
            Reason::OutOfMemory => {
                "the guest ran out of memory: the suite needs more, or a program took too much"
            }
            Reason::BootTimeout => "the guest never reported that it is ready",
            Reason::DeadlineExceeded => "the cell ran out of time",
            Reason::WrongKernel => "the guest runs another kernel than the cell is about",
            Reason::NotAKernel => "the image is not one that QEMU can boot",
            Reason::ModuleRefused => {
                "a kernel module that the guest's devices need could not be loaded"
            }
            Reason::QemuFailed => "QEMU is missing, refused to start, or ended while a guest ran",
            Reason::ConnectionLost => {
                "the guest's agent broke the protocol or the connection was lost"
            }
            Reason::HostIo => "a file of the host could not be read or written",
            Reason::NotLocked => "the kernel is not locked: it has not been resolved yet",
            Reason::Unreachable => "no mirror could deliver the kernel",
            Reason::DigestMismatch => "what was delivered is not what the lock promises",
            Reason::BadPackage => "the package is damaged or not laid out as its kind should be",
            Reason::ToolsMissing => {
                "the kernel has to be built, and the machine lacks what that takes"
            }
            Reason::BuildFailed => "the kernel could not be built",
            Reason::Interrupted => "the run ended before the cell's turn came",
            Reason::JudgingFailed => "the lab could not judge what the guest reported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_reason_once() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason}");
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
