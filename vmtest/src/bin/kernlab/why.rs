//! `kernlab why`: all that a run knows about one cell.

use clap::Args;
use kernlab_cli::{Exit, Scope};
use kernlab_core::{
    dossier::{
        Dossier,
        diff::{explain_named, lacking},
    },
    outcome::Outcome,
};
use kernlab_kernels::{Kernels, Selection, State, chain};
use kernlab_vmtest::{
    dossier::{self, How},
    report::{
        CellReport, Report,
        regression::{EvidenceSource, Explanation, NearestPass, Regression, Side},
        why::Why,
    },
    run::dir::RunDir,
};

use crate::{
    failure::{self, Failure},
    kernels::Progress,
    report, selection,
};

/// Explain how one cell of a run ended: its message and evidence, what its tracer loaded, and how its
/// kernel differs from the nearest one on which it passes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab why debian-6.1/embedded/suite/opens
  kernlab why 'debian-5.10/*/opens' --run 20261128T101500")]
pub(crate) struct Arguments {
    /// The cell, as tables and reports name it, or a glob that matches only one.
    #[arg(value_name = "CELL")]
    cell: String,
    /// The run: its name, its directory, or the path of a report.json. By default the newest.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    guest: selection::GuestPrograms,
}

/// Prints the explanation. How the cell ended does not change the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (report, run) = report::read(arguments.run.as_deref())?;
    let cell = find(&report, &arguments.cell)?;
    let (stdout, stderr) = run.output_of(cell);
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let mut why = Why {
        report: &report,
        cell,
        dir: run.path().join(&cell.evidence),
        files: run.files_of(cell),
        stderr,
        lacking: Vec::new(),
        explanations: Vec::new(),
        notes: Vec::new(),
    };
    if cell.outcome != Outcome::Pass {
        if cell.is_of_suite() {
            let output = format!("{stdout}\n{}", why.stderr);
            explain_suite(&mut why, &run, &output, &arguments.guest);
        } else {
            why.explanations = Regression::explain(Side { report: &report, evidence: &run }, cell);
        }
    }
    failure::print(&why.to_string())?;
    Ok(Exit::Success)
}

/// The cell that the user means.
pub(crate) fn find<'a>(report: &'a Report, given: &str) -> Result<&'a CellReport, Failure> {
    report.cell(given).map_err(|error| Failure::usage(chain(&error)))
}

/// Compares the kernel of a suite's cell with the nearest one on which the suite passes, by what the
/// tracer names.
fn explain_suite(why: &mut Why<'_>, run: &RunDir, output: &str, guest: &selection::GuestPrograms) {
    let cell = why.cell;
    let beside = NearestPass::of(why.report, cell).map(|NearestPass(beside)| beside);
    let names = cell.names(beside, output);
    let here = match dossier_of(&cell.kernel, run, guest) {
        Ok(dossier) => dossier,
        Err(note) => return why.notes.push(note),
    };
    why.lacking = lacking(&here, &names);
    let Some(beside) = beside else { return };
    match dossier_of(&beside.kernel, run, guest) {
        Ok(there) => {
            let changes = explain_named(&there, &here, &names);
            let (kernel, beside) = (cell.kernel.clone(), beside.kernel.clone());
            if !changes.is_empty() {
                why.explanations.push(Explanation { kernel, beside, changes });
            }
        }
        Err(note) => why.notes.push(note),
    }
}

/// The dossier that the run kept, or that of the store, which is taken now if there is none. Nothing
/// is downloaded for it.
fn dossier_of(
    kernel: &str,
    run: &RunDir,
    guest: &selection::GuestPrograms,
) -> Result<Dossier, String> {
    if let Some(dossier) = EvidenceSource::dossier(run, kernel) {
        return Ok(dossier);
    }
    let none = |why: String| format!("there is no dossier of {kernel}: {why}");
    let kernels =
        selection::open(&Scope::default()).map_err(|failure| none(failure.to_string()))?;
    let chosen = kernels
        .select(&Selection::of(&[kernel.to_owned()]))
        .map_err(|error| none(chain(&error)))?;
    let Some(entry) = chosen.entries.first() else { return Err(none("no such kernel".to_owned())) };
    if !matches!(kernels.state(entry), State::Stored | State::Local) {
        return Err(none("the kernel is not in the store".to_owned()));
    }
    take(&kernels, entry, guest).map_err(none)
}

fn take(
    kernels: &Kernels,
    entry: &kernlab_kernels::Entry,
    guest: &selection::GuestPrograms,
) -> Result<Dossier, String> {
    let guest = guest.dir(kernels).map_err(|error| chain(&error))?;
    let how = How { guest: &guest, cold: false, refresh: false };
    let archive = dossier::of(kernels, entry, how, &Progress::new());
    archive.map(|archive| archive.dossier).map_err(|error| chain(&error))
}
