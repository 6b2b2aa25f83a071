//! Runs one cell of a user's suite in the guest: prepares the guest, starts the tracer, waits until
//! it is ready, runs the workload, stops the tracer, and reports each step when it happens.
//!
//! The agent starts this program and gives it three pipes. The tracer's standard output and
//! standard error go through this program, which looks in them for the sign that the tracer is
//! ready. With `--pause`, it stops itself (SIGSTOP) before it reads its job, so that a guest can be
//! saved that has the suite's files.

mod collect;
mod conduct;
mod loaded;
mod prepare;
mod process;
mod pump;
mod report;
mod settled;

use std::{env, fs, process::ExitCode};

use kernlab_proto::suite::{JOB_FILE, SuiteJob};
use nix::sys::{
    prctl,
    signal::{Signal, raise},
};

use crate::report::Reports;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kernlab-conductor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    if env::args().nth(1).as_deref() == Some("--pause") {
        raise(Signal::SIGSTOP).map_err(|error| format!("cannot stop itself: {error}"))?;
    }
    let text = fs::read(JOB_FILE).map_err(|error| format!("cannot read {JOB_FILE}: {error}"))?;
    let job: SuiteJob = serde_json::from_slice(&text)
        .map_err(|error| format!("{JOB_FILE} is not a job: {error}"))?;
    // Daemons of the tracer become children of this program, so that it can tell when all are gone.
    prctl::set_child_subreaper(true)
        .map_err(|error| format!("cannot become a subreaper: {error}"))?;
    process::run_before_programs();
    conduct::conduct(&job, &Reports::open())
}
