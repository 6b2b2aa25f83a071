//! Writes reports to descriptor 3.

use std::{fs::File, io::Write as _, os::fd::FromRawFd as _};

use kernlab_proto::suite::SuiteReport;

/// The descriptor that the agent gives its programs for results.
const RESULT: i32 = 3;

/// The receiver of reports.
pub(crate) struct Reports(File);

impl Reports {
    /// Takes over the descriptor. It is not inherited by the programs that are started later.
    pub(crate) fn open() -> Self {
        // SAFETY: the call only sets a flag of the descriptor.
        let _ = unsafe { libc::fcntl(RESULT, libc::F_SETFD, libc::FD_CLOEXEC) };
        // SAFETY: the agent opened the descriptor for this program, and nothing else uses it.
        Reports(unsafe { File::from_raw_fd(RESULT) })
    }

    /// Sends a report.
    pub(crate) fn send(&self, report: &SuiteReport) -> Result<(), String> {
        let mut line = serde_json::to_vec(report).map_err(|error| error.to_string())?;
        line.push(b'\n');
        (&self.0).write_all(&line).map_err(|error| format!("cannot report: {error}"))
    }
}
