//! Dossiers: facts about a kernel, gathered in a guest once and kept in the store.

mod archive;

use std::{io, time::Duration};

use kernlab_core::{
    btf::BtfError,
    outcome::{Outcome, Reason, Verdict},
};
use serde::de::DeserializeOwned;

pub use self::archive::{Archive, How, of, of_kernel};
use crate::{
    checkpoints::Checkpoints,
    lab::{Exit, Job, LabError, Limits},
    machine::{self, MachineError},
};
use kernlab_kernels::{Kernels, Observer, StoreError, Unpacked, chain};

/// The timeout of an examination with acceleration; it needs a tenth of that.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout of a transfer of megabytes through a serial port, which is slow with PREEMPT_RT.
const LONG_TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes that a guest may send: its whole BTF, or the names of all functions.
const ROOM: u64 = 64 << 20;

/// Why a kernel has no dossier.
#[derive(Debug, thiserror::Error)]
pub enum DossierError {
    /// The kernel is not available.
    #[error(transparent)]
    Kernel(#[from] kernlab_kernels::Error),
    /// The machine can't be set up.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest failed. It is boxed because it carries its evidence.
    #[error(transparent)]
    Guest(Box<LabError>),
    /// The tracer program failed.
    #[error("the examination of the guest {what}; stderr: {said}")]
    Examination {
        /// How it failed.
        what: String,
        /// Its standard error.
        said: String,
    },
    /// The kernel printed a splat during the examination.
    #[error("the kernel printed {0:?} while it was examined")]
    Splat(String),
    /// The dossier can't be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the kernel or of its dossier can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// The error.
        source: io::Error,
    },
    /// The kernel's BTF is not valid.
    #[error("the BTF of {0} is not valid")]
    Btf(String, #[source] BtfError),
}

impl DossierError {
    /// The verdict on a cell that can't be decided without the dossier.
    pub(crate) fn verdict(&self) -> Verdict {
        let (outcome, reason) = match self {
            DossierError::Kernel(error) => (Outcome::Unavailable, error.reason()),
            DossierError::Machine(error) => (Outcome::Infra, error.reason()),
            // If it was silent, that is no timeout of the cell.
            DossierError::Guest(error)
                if matches!(error.outcome(), Outcome::Infra | Outcome::Timeout) =>
            {
                (Outcome::Infra, error.reason())
            }
            DossierError::Store(_) | DossierError::Read { .. } => (Outcome::Infra, Reason::HostIo),
            // The host is not at fault: this kernel can't be examined.
            DossierError::Guest(_)
            | DossierError::Examination { .. }
            | DossierError::Splat(_)
            | DossierError::Btf(..) => (Outcome::Infra, Reason::ExpectationUndecided),
        };
        Verdict::because(outcome, reason, chain(self))
    }
}

impl From<LabError> for DossierError {
    fn from(error: LabError) -> Self {
        DossierError::Guest(Box::new(error))
    }
}

fn ask_for_json<T: DeserializeOwned>(
    question: &str,
    kernels: &Kernels,
    kernel: &Unpacked,
    how: How<'_>,
    observer: &dyn Observer,
) -> Result<T, DossierError> {
    let answer = ask(question, TIMEOUT, kernels, kernel, how, observer)?;
    serde_json::from_slice(&answer).map_err(|error| invalid(&error))
}

fn invalid(error: &serde_json::Error) -> DossierError {
    DossierError::Examination {
        what: format!("gave an invalid answer: {}", chain(error)),
        said: String::new(),
    }
}

/// Runs a command of the tracer program in a guest, and returns the content of its result pipe.
fn ask(
    question: &str,
    timeout: Duration,
    kernels: &Kernels,
    kernel: &Unpacked,
    how: How<'_>,
    observer: &dyn Observer,
) -> Result<Vec<u8>, DossierError> {
    let store = kernels.store();
    let bootable = machine::of_kernel(store, kernel, how.guest, &["kernlab-tracer"], observer)?;
    let mut guest = Checkpoints::of(store).start(&bootable, how.cold, observer)?;
    let limits = Limits { stdout: 64 << 10, stderr: 64 << 10, result: ROOM };
    let job = Job::new(["/bin/kernlab-tracer", question]).timeout(timeout).limits(limits);
    let output = guest.run(&job)?;
    let kernel_log = guest.kernel_log()?.to_owned();
    if output.exit != Exit::Code(0) || output.dropped > 0 {
        let what = match output.dropped {
            0 => format!("ended with {:?}", output.exit),
            dropped => format!("exceeded the output limit by {dropped} bytes"),
        };
        let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        return Err(DossierError::Examination { what, said });
    }
    if let Some(splat) = kernlab_splat::scan(&kernel_log).into_iter().next() {
        return Err(DossierError::Splat(splat.title));
    }
    Ok(output.result)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::lab::{GuestEvidence, LabErrorKind, Phase};

    fn guest(kind: LabErrorKind) -> DossierError {
        LabError::new(kind, GuestEvidence::default()).into()
    }

    #[rstest]
    #[case::the_guest_was_lost(
        guest(LabErrorKind::Died { phase: Phase::Work, last_words: "none".to_owned() }),
        Reason::ConnectionLost
    )]
    #[case::the_guest_was_silent(
        guest(LabErrorKind::Silent { doing: "while it worked", waited: TIMEOUT }),
        Reason::DeadlineExceeded
    )]
    #[case::the_kernel_complained(
        DossierError::Splat("WARNING".to_owned()),
        Reason::ExpectationUndecided
    )]
    fn what_needs_the_dossier_fails_for_its_reason(
        #[case] error: DossierError,
        #[case] expected: Reason,
    ) {
        let verdict = error.verdict();
        assert_eq!((verdict.outcome, verdict.reason), (Outcome::Infra, Some(expected)));
        assert!(!verdict.message.is_empty());
    }
}
