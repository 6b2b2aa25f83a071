//! One test per cell of the matrix, named `kernel/btf/backend/tracer/scenario`.
//!
//! `cargo xtask vmtest` plans a run and starts these tests through nextest. Without a planned run
//! there are none. They have their own package, so that a run does not wait for crates that only
//! other tests need.

use std::{env, process::ExitCode, sync::Arc};

use kernlab_core::{cell::Cell, outcome::Severity};
use kernlab_kernels::Kernels;
use kernlab_vmtest::run::{
    cell::Runner,
    dir::{RUN_VARIABLE, RunDir},
    life,
    plan::{CellAttempt, RunPlan},
};
use libtest_mimic::{Arguments, Failed, Trial};

/// The main function of the test target.
pub fn main() -> ExitCode {
    if let Err(error) = life::follow() {
        eprintln!("cannot follow the run: {error}");
        return ExitCode::from(2);
    }
    let arguments = Arguments::from_args();
    // nextest asks for one cell, so the thousands of others need no test.
    let only = arguments.filter.as_deref().filter(|_| arguments.exact);
    let cells = match cells(only) {
        Ok(cells) => cells,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    libtest_mimic::run(&arguments, cells).exit_code()
}

fn cells(only: Option<&str>) -> Result<Vec<Trial>, String> {
    let Some(dir) = env::var_os(RUN_VARIABLE) else {
        return Ok(Vec::new());
    };
    let dir = RunDir::open(dir.into());
    let plan = RunPlan::read(dir.path())
        .map_err(|error| format!("failed to read the plan in {}: {error}", dir.path().display()))?;
    let plan = Arc::new(plan);
    plan.attempts()
        .map(|CellAttempt { cell: id, number }| {
            let name = CellAttempt { cell: id.clone(), number }.to_string();
            (name, id, number)
        })
        .filter(|(name, ..)| only.is_none_or(|only| only == name))
        .map(|(name, id, number)| {
            let cell: Cell = id.parse().map_err(|error| format!("{id}: {error}"))?;
            let (plan, dir) = (Arc::clone(&plan), dir.clone());
            Ok(Trial::test(name, move || run(&cell, number, &plan, dir)))
        })
        .collect()
}

fn run(cell: &Cell, number: u32, plan: &RunPlan, dir: RunDir) -> Result<(), Failed> {
    let kernels = Kernels::open().map_err(|error| error.to_string())?;
    let report = Runner::new(kernels, plan.clone(), dir).run_attempt(cell, number)?;
    if report.outcome.severity() == Severity::Expected {
        println!("{}: {}", report.outcome, report.message);
        return Ok(());
    }
    let diff = report.diff.as_deref().unwrap_or_default();
    Err(format!("{}: {}\n{diff}", report.outcome, report.message).into())
}
