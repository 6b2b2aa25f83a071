//! Changes between kernels that may explain why a cell behaves differently.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use kernlab_core::{
    dossier::{
        Dossier,
        diff::{Rank, explain, explain_named},
    },
    outcome::Outcome,
    scenario::Scenario,
};
use serde::Serialize;

use super::{
    super::{CellReport, Report},
    Side, add_new, place, relevance,
};

/// Changes in a kernel that affect the scenarios of some cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The kernel whose cells behave differently.
    pub kernel: String,
    /// The kernel that it is compared with.
    pub beside: String,
    /// One sentence each.
    pub changes: Vec<String>,
}

impl Explanation {
    /// Adds its new changes to `others`.
    pub(super) fn join(self, others: &mut Vec<Explanation>) {
        let same = |other: &&mut Explanation| {
            (&other.kernel, &other.beside) == (&self.kernel, &self.beside)
        };
        match others.iter_mut().find(same) {
            None => others.push(self),
            Some(other) => add_new(&mut other.changes, self.changes),
        }
    }
}

/// The same changes in several kernels, for display.
pub(in crate::report) struct Together<'a> {
    kernels: Vec<&'a str>,
    beside: &'a str,
    /// As worded for the first of the kernels.
    pub(in crate::report) changes: &'a [String],
}

impl Explanation {
    /// Merges explanations that are the same except for kernels and releases.
    pub(in crate::report) fn together(explanations: &[Explanation]) -> Vec<Together<'_>> {
        let alike = |one: &[String], other: &[String]| {
            one.iter().map(|s| without_releases(s)).eq(other.iter().map(|s| without_releases(s)))
        };
        let mut all: Vec<Together<'_>> = Vec::new();
        for Explanation { kernel, beside, changes } in explanations {
            let known = all
                .iter_mut()
                .find(|known| known.beside == beside && alike(known.changes, changes));
            match known {
                Some(known) => known.kernels.push(kernel),
                None => all.push(Together { kernels: vec![kernel], beside, changes }),
            }
        }
        all
    }
}

impl Together<'_> {
    /// `debian-6.19 compared with debian-6.18`.
    pub(in crate::report) fn subject(&self) -> String {
        format!("{} compared with {}", self.kernels.join(", "), self.beside)
    }

    /// `how debian-6.19 differs from debian-6.18`.
    pub(in crate::report) fn title(&self) -> String {
        let differ = if self.kernels.len() == 1 { "differs" } else { "differ" };
        format!("how {} {differ} from {}", self.kernels.join(", "), self.beside)
    }
}

/// A sentence without words such as `6.19`.
fn without_releases(sentence: &str) -> String {
    let is_release = |word: &str| {
        let word = word.trim_end_matches([',', ';', ':']);
        word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let words = sentence.split(' ').map(|word| if is_release(word) { "" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Finds explanations, reading each dossier once.
pub(super) struct Explainer<'a> {
    base: Side<'a>,
    head: Side<'a>,
    /// The base kernel, if two kernels of one run are compared.
    old_kernel: Option<&'a str>,
    dossiers: RefCell<Dossiers>,
}

/// By side and kernel; none if a kernel has no dossier.
type Dossiers = BTreeMap<(Which, String), Option<Rc<Dossier>>>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Base,
    Head,
}

impl<'a> Explainer<'a> {
    pub(super) fn new(base: Side<'a>, head: Side<'a>, old_kernel: Option<&'a str>) -> Self {
        Explainer { base, head, old_kernel, dossiers: RefCell::default() }
    }

    /// Why a cell may behave differently from its counterpart: what changed in its kernel since the
    /// other run or, if nothing did, how its kernel differs from the nearest one of the same run on
    /// which the scenario passes.
    pub(super) fn explain(&self, old: Option<&CellReport>, new: &CellReport) -> Vec<Explanation> {
        let is_of_a_kernel = matches!(
            new.outcome,
            Outcome::Fail | Outcome::Unsupported | Outcome::KernelWarning | Outcome::KernelCrash
        );
        let subject = match Scenario::by_id(&new.scenario) {
            _ if !is_of_a_kernel => return Vec::new(),
            _ if new.is_of_suite() => None,
            None => return Vec::new(),
            scenario => scenario,
        };
        let Some(dossier) = self.dossier(Which::Head, &new.kernel) else { return Vec::new() };
        let changed = |which, kernel: &str, beside: String| {
            let other = self.dossier(which, kernel)?;
            let changes = match subject {
                Some(scenario) => explain(&other, &dossier, scenario),
                None => {
                    let named = explain_named(&other, &dossier, &self.names(new));
                    named.into_iter().map(|change| (Rank::Symbol, change)).collect()
                }
            };
            let changes = relevance::order(changes, new);
            let kernel = new.kernel.clone();
            (!changes.is_empty()).then_some(Explanation { kernel, beside, changes })
        };
        let since = match (self.old_kernel, old) {
            (Some(kernel), _) => {
                return changed(Which::Head, kernel, kernel.to_owned()).into_iter().collect();
            }
            (None, Some(old)) if old.outcome == Outcome::Pass => {
                let beside = format!("{} of {}", old.kernel, self.base.report.run.id);
                changed(Which::Base, &old.kernel, beside)
            }
            (None, _) => None,
        };
        let neighbour = || {
            let kernel = self.nearest_that_passes(new, &dossier)?;
            changed(Which::Head, kernel, kernel.to_owned())
        };
        since.or_else(neighbour).into_iter().collect()
    }

    /// What the tracer of a suite names here, and where it passes.
    fn names(&self, cell: &CellReport) -> BTreeSet<String> {
        let beside = NearestPass::of(self.head.report, cell).map(|NearestPass(beside)| beside);
        cell.names(beside, &self.head.evidence.output(cell))
    }

    /// The nearest kernel with a dossier.
    fn nearest_that_passes(&self, cell: &CellReport, dossier: &Dossier) -> Option<&'a str> {
        let release =
            |other: &CellReport| Some(self.dossier(Which::Head, &other.kernel)?.release.clone());
        let nearest = nearest(self.head.report, cell, &dossier.release, &release);
        nearest.map(|other| other.kernel.as_str())
    }

    fn dossier(&self, which: Which, kernel: &str) -> Option<Rc<Dossier>> {
        let side = match which {
            Which::Base => self.base,
            Which::Head => self.head,
        };
        let mut dossiers = self.dossiers.borrow_mut();
        let kept = dossiers
            .entry((which, kernel.to_owned()))
            .or_insert_with(|| side.evidence.dossier(kernel).map(Rc::new));
        kept.clone()
    }
}

/// The cell of the same suite or scenario that passes on the nearest kernel of a run.
#[derive(Clone, Copy, Debug)]
pub struct NearestPass<'a>(pub &'a CellReport);

impl<'a> NearestPass<'a> {
    /// By the releases that guests reported; none if there is none, or the cell's guest did not
    /// report its own.
    pub fn of(report: &'a Report, cell: &CellReport) -> Option<Self> {
        let release = cell.release.as_ref()?;
        nearest(report, cell, release, &|other| other.release.clone()).map(NearestPass)
    }
}

/// The passing cell on the kernel with the newest release up to this one, or else on the oldest of
/// the newer ones. Kernels of another architecture differ in more, so they count only where there is no
/// other.
fn nearest<'a>(
    report: &'a Report,
    cell: &CellReport,
    release: &str,
    release_of: &dyn Fn(&CellReport) -> Option<String>,
) -> Option<&'a CellReport> {
    let sought = place(cell);
    let is_neighbour = |other: &&CellReport| {
        other.kernel != cell.kernel && other.outcome == Outcome::Pass && place(other) == sought
    };
    let cells = report.cells.iter().filter(is_neighbour);
    let cells: BTreeMap<(Vec<u64>, &str), &CellReport> = cells
        .filter_map(|other| Some(((numbers(&release_of(other)?), other.kernel.as_str()), other)))
        .collect();
    let (here, arch) = (numbers(release), report.arch_of(&cell.kernel));
    let (alike, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        cells.into_iter().partition(|(_, other)| report.arch_of(&other.kernel) == arch);
    let cells = if alike.is_empty() { others } else { alike };
    let older = cells.iter().rev().find(|((release, _), _)| *release <= here);
    older.or_else(|| cells.iter().next()).map(|(_, cell)| *cell)
}

/// `[6, 19, 14]` of `6.19.14+deb13-cloud-amd64`.
pub(crate) fn numbers(release: &str) -> Vec<u64> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    release[..end].split('.').map_while(|number| number.parse().ok()).collect()
}
