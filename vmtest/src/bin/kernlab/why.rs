//! `kernlab why`: all that a run knows about one cell.

use std::sync::LazyLock;

use clap::Args;
use kernlab_cli::{Exit, Scope};
use kernlab_core::{
    dossier::{
        Dossier,
        diff::{Whole, explain_named, explain_others, lacking},
        missing::{KnownKernel, Need, State},
    },
    outcome::Outcome,
};
use kernlab_kernels::{Selection, State as Availability, chain};
use kernlab_vmtest::{
    dossier::{self, How},
    report::{
        CellReport, Report,
        regression::{EvidenceSource, Explanation, NearestPass, Regression, Side},
        why::Why,
    },
    run::dir::RunDir,
    suite::separation::{Separation, separating},
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
        dir: run.existing(&cell.evidence).unwrap_or_else(|| run.path().to_owned()),
        files: run.files_of(cell),
        stderr,
        lacking: Vec::new(),
        explanations: Vec::new(),
        separation: Separation::default(),
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
    let sources = Sources { run, guest };
    let here = match sources.of(&cell.kernel, Extent::Whole) {
        Ok(here) => here,
        Err(note) => return why.notes.push(note),
    };
    why.lacking = lacking(&here.dossier, &names);
    why.lacking.extend(lacking_targets(cell, here.kernel()));
    let Some(beside) = beside else { return };
    match sources.of(&beside.kernel, Extent::Whole) {
        Ok(there) => {
            let mut changes = explain_named(&there.dossier, &here.dossier, &names);
            let others = explain_others(there.released(), here.released(), &names);
            changes.extend(
                others.into_iter().filter(|change| !changes.contains(change)).collect::<Vec<_>>(),
            );
            let (kernel, beside) = (cell.kernel.clone(), beside.kernel.clone());
            if !changes.is_empty() {
                why.explanations.push(Explanation { kernel, beside, changes });
            }
        }
        Err(note) => why.notes.push(note),
    }
    let mut passing = Vec::new();
    for kernel in why.report.cells.iter().filter(|other| passes_beside(other, cell)) {
        match sources.of(&kernel.kernel, Extent::Functions) {
            Ok(known) => passing.push(known),
            // What is not known of one kernel can't separate it.
            Err(note) => return why.notes.push(note),
        }
    }
    let passing: Vec<_> = passing.iter().map(Known::kernel).collect();
    why.separation = separating(&names, here.kernel(), &passing);
}

/// Whether it is the same suite, and passes on another kernel.
fn passes_beside(other: &CellReport, cell: &CellReport) -> bool {
    other.kernel != cell.kernel
        && (&other.scenario, &other.backend) == (&cell.scenario, &cell.backend)
        && other.outcome == Outcome::Pass
}

/// The places to attach to that a kernel does not have.
fn lacking_targets(cell: &CellReport, kernel: KnownKernel<'_>) -> Vec<String> {
    let targets = cell.tracer.iter().flat_map(|tracer| &tracer.targets);
    let is_tracepoint = |name: &str| {
        let mut all = kernel.whole.into_iter().flat_map(|whole| &whole.offered.tracepoints);
        all.any(|listed| listed.rsplit(':').next() == Some(name))
    };
    let of = |name: &String| match kernel.state(&Need::Function(name.clone())) {
        State::Missing(why) if !is_tracepoint(name) && !name.contains(['*', '?']) => {
            Some(format!("`{name}`, to which it attaches: {why}"))
        }
        _ => None,
    };
    targets.filter_map(of).collect()
}

/// What is known of a kernel.
struct Known {
    dossier: Dossier,
    whole: Option<Whole>,
}

impl Known {
    fn kernel(&self) -> KnownKernel<'_> {
        KnownKernel { dossier: &self.dossier, whole: self.whole.as_ref() }
    }

    fn released(&self) -> (&str, &Whole) {
        static NOTHING: LazyLock<Whole> = LazyLock::new(Whole::default);
        (&self.dossier.release, self.whole.as_ref().unwrap_or(&NOTHING))
    }
}

/// How much of a kernel is asked for beside its dossier.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    Functions,
    Whole,
}

/// Where dossiers come from.
struct Sources<'a> {
    run: &'a RunDir,
    guest: &'a selection::GuestPrograms,
}

impl Sources<'_> {
    /// The dossier that the run kept, or that of the store, which is taken now if there is none. Nothing
    /// is downloaded for it.
    fn of(&self, kernel: &str, extent: Extent) -> Result<Known, String> {
        let taken = self.take(kernel, extent);
        match EvidenceSource::dossier(self.run, kernel) {
            Some(dossier) => Ok(Known { dossier, whole: taken.ok().and_then(|known| known.whole) }),
            None => taken.map_err(|why| format!("there is no dossier of {kernel}: {why}")),
        }
    }

    fn take(&self, kernel: &str, extent: Extent) -> Result<Known, String> {
        let kernels = selection::open(&Scope::default()).map_err(|failure| failure.to_string())?;
        let chosen =
            kernels.select(&Selection::of(&[kernel.to_owned()])).map_err(|error| chain(&error))?;
        let entry = chosen.entries.first().ok_or("no such kernel")?;
        if !matches!(kernels.state(entry), Availability::Stored | Availability::Local) {
            return Err("the kernel is not in the store".to_owned());
        }
        let guest = self.guest.dir(&kernels).map_err(|error| chain(&error))?;
        let how = How { guest: &guest, cold: false, refresh: false };
        let progress = Progress::new();
        let archive =
            dossier::of(&kernels, entry, how, &progress).map_err(|error| chain(&error))?;
        let whole = match extent {
            Extent::Whole => archive.whole(&kernels, how, &progress),
            Extent::Functions => archive
                .function_names(&kernels, how, &progress)
                .map(|function_names| Whole { function_names, ..Whole::default() }),
        };
        // The dossier alone explains a lot.
        Ok(Known { dossier: archive.dossier, whole: whole.ok() })
    }
}
