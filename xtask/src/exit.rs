//! What the exit code of every command means.

use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is as expected.
    Success = 0,
    /// A cell, a test or a check failed.
    Failure = 1,
    /// Wrong usage, as clap says it too: a file that isn't there.
    Usage = 2,
    /// Something is missing or broke: nothing can be said.
    Infrastructure = 3,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// The end of `--help`.
pub(crate) const HELP: &str = "\
Exit codes: 0 all as expected; 1 a cell, test or check failed; 2 wrong usage or configuration; \
3 infrastructure failed, nothing can be said.";
