//! What a single program did, passed on to whoever started this command: its output and its exit
//! code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use kernlab_cli::Exit;
use kernlab_core::outcome::{Outcome, Reason};
use kernlab_vmtest::{
    lab::Stream,
    report::{CellReport, TracerReport},
    verdict::without_stderr,
};

use crate::failure::{self, Failure};

/// Passes a program's output on as it is. If nobody reads its standard output any more, as behind
/// head(1), this process ends as the program itself would, and its guests with it.
pub(crate) fn write_to(stream: Stream, bytes: &[u8]) {
    let written = match stream {
        Stream::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        // Nobody has to read it.
        Stream::Stderr => io::stderr().write_all(bytes).or(Ok(())),
        Stream::Result | Stream::KernelLog => Ok(()),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(UNREAD),
        Err(error) => failure::note_lost_output(&error),
        Ok(()) => {}
    }
}

/// As a shell reports a program that SIGPIPE killed.
const UNREAD: i32 = 128 + 13;

/// The lab could not run the only program.
pub(crate) fn not_run(failure: &Failure) -> ExitCode {
    match failure.report() {
        Exit::Usage => Exit::Usage.into(),
        Exit::Success | Exit::Failure | Exit::Infrastructure => ExitCode::from(NOT_RUN),
    }
}

/// `git bisect run` takes this code as "skip", and env(1) and container engines use it for faults of
/// their own.
const NOT_RUN: u8 = 125;
/// As timeout(1).
const OVERDUE: u8 = 124;

/// The exit code of the program on a single kernel, as a shell's `$?`.
pub(crate) fn exit_code(cell: &CellReport) -> ExitCode {
    let end = cell.tracer.as_ref().and_then(TracerReport::end);
    match (cell.outcome, cell.reason, end) {
        (Outcome::Pass, ..) => ExitCode::SUCCESS,
        (Outcome::Timeout, ..) => ExitCode::from(OVERDUE),
        (Outcome::Fail, Some(Reason::UnexpectedExit), Some(end)) => {
            ExitCode::from(u8::try_from(end.status()).unwrap_or(1))
        }
        (Outcome::Infra | Outcome::Unavailable | Outcome::NotRun, ..) => ExitCode::from(NOT_RUN),
        _ => Exit::Failure.into(),
    }
}

/// Says on standard error how a program ended, unless it ended well, and what else the user should know.
pub(crate) fn explain(cell: &CellReport, heading: &str) {
    if cell.outcome != Outcome::Pass {
        // Its output has been shown.
        let message = without_stderr(&cell.message);
        say!("{heading}{}: {message}", cell.verdict());
    }
    for remark in &cell.remarks {
        say!("{heading}{remark}");
    }
}
