//! What got worse, and why: two runs of one matrix, or two kernels of one run.
//!
//! `docs/report-schema.md` documents the JSON form.

mod category;
mod explain;
mod fingerprint;
pub mod html;
pub mod markdown;
mod place;
mod relevance;
mod text;

use std::collections::BTreeMap;

use kernlab_core::{
    cell::BtfMode,
    dossier::{Dossier, diff::Difference},
    outcome::Severity,
};
use kernlab_kernels::Arch;
use serde::Serialize;

use self::explain::Explainer;
pub(crate) use self::explain::numbers;
pub use self::{
    category::Category,
    explain::{Explanation, NearestPass},
    fingerprint::Fingerprint,
};
use super::{CellReport, Report, Tally, instructions::growth, pretty_json};
use crate::diff;

/// The version of a comparison's JSON. New fields don't change it; a new meaning of a field does.
pub const SCHEMA: u32 = 1;

/// Access to the evidence of a run.
pub trait EvidenceSource {
    /// The events of a cell as text; none if there were none or they are not available.
    fn events(&self, cell: &CellReport) -> Option<String>;
    /// The dossier of a kernel, if there is one.
    fn dossier(&self, kernel: &str) -> Option<Dossier>;
    /// What the tracer of a suite wrote, as far as it is available.
    fn output(&self, _: &CellReport) -> String {
        String::new()
    }
}

/// The evidence of a run of which there is only a report.
#[derive(Clone, Copy, Debug)]
pub struct NoEvidence;

impl EvidenceSource for NoEvidence {
    fn events(&self, _: &CellReport) -> Option<String> {
        None
    }

    fn dossier(&self, _: &str) -> Option<Dossier> {
        None
    }
}

/// A run to compare.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The run's report.
    pub report: &'a Report,
    /// The run's evidence.
    pub evidence: &'a dyn EvidenceSource,
}

/// A comparison of the cells of two runs, or of two kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Regression {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The side to compare with.
    pub base: Subject,
    /// The side that is compared.
    pub head: Subject,
    /// The number of cells that both sides have.
    pub compared: usize,
    /// The number of cells with the same expected verdict and the same events.
    pub same: usize,
    /// The number of cells that passed on both sides, but lack the events of one side.
    pub events_unknown: usize,
    /// The differences, one entry for each cause, ordered by category.
    pub findings: Vec<Finding>,
    /// What changed in the kernel, if two kernels are compared and both have a dossier.
    pub difference: Option<Difference>,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The run's name.
    pub run: String,
    /// The kernel, where two kernels of one run are compared.
    pub kernel: Option<String>,
    /// Its architecture, if the two are of different ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
}

/// The change of all cells with the same cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What happened.
    pub category: Category,
    /// Identifies the cause; none if cells only appeared or vanished.
    pub fingerprint: Option<Fingerprint>,
    /// The distinct verdicts on the base side; none unless both sides have the cells.
    pub base: Vec<String>,
    /// The distinct verdicts on the head side; none if the cells vanished, or are new and as
    /// expected.
    pub head: Vec<String>,
    /// The message of the first cell, from the side that shows the cause.
    pub message: String,
    /// A unified diff of the first cell's expected and observed events.
    pub diff: Option<String>,
    /// A unified diff of the first cell's events on both sides.
    pub events: Option<String>,
    /// Changes between kernels that may be the reason.
    pub explanations: Vec<Explanation>,
    /// `kernel/btf/backend/tracer/scenario`, as on the head side if it has the cell.
    pub cells: Vec<String>,
    /// The command that runs the first of them again.
    pub again: String,
}

impl Regression {
    /// Compares two runs, cell by cell.
    pub fn of_runs(base: Side<'_>, head: Side<'_>) -> Self {
        let subject =
            |side: Side<'_>| Subject { run: side.report.run.id.clone(), kernel: None, arch: None };
        let all = |side| Cells { side, kernel: None };
        Comparison::new(all(base), all(head)).compare(subject(base), subject(head))
    }

    /// The unexpected outcomes of a single run, each cause once, explained by how their kernels
    /// differ from those on which the same scenario passes.
    pub fn causes(run: Side<'_>) -> Vec<Finding> {
        let nothing = Report {
            schema: run.report.schema,
            run: run.report.run.clone(),
            kernels: Vec::new(),
            cells: Vec::new(),
            remarks: Vec::new(),
        };
        let base = Side { report: &nothing, evidence: run.evidence };
        let mut findings = Regression::of_runs(base, run).findings;
        findings.retain(|finding| finding.category.severity() != Severity::Expected);
        findings
    }

    /// How the kernel of a cell differs from the nearest one of the same run on which its scenario
    /// passes. Of a suite, only what its tracer names is known.
    pub fn explain(run: Side<'_>, cell: &CellReport) -> Vec<Explanation> {
        Explainer::new(run, run, None).explain(None, cell)
    }

    /// Compares two kernels of a run. Masked BTF and absent BTF count as the same mode.
    ///
    /// # Errors
    ///
    /// The run has no cells of one of the kernels.
    pub fn of_kernels(run: Side<'_>, base: &str, head: &str) -> Result<Self, NoSuchKernel> {
        for kernel in [base, head] {
            if !run.report.cells.iter().any(|cell| cell.kernel == kernel) {
                return Err(NoSuchKernel {
                    run: run.report.run.id.clone(),
                    kernel: kernel.to_owned(),
                    known: run.report.kernels.iter().map(|kernel| kernel.id.clone()).collect(),
                });
            }
        }
        let arch = |kernel: &str| run.report.arch_of(kernel);
        let subject = |kernel: &str| Subject {
            run: run.report.run.id.clone(),
            kernel: Some(kernel.to_owned()),
            arch: arch(kernel).filter(|_| arch(base) != arch(head)),
        };
        fn of<'a>(side: Side<'a>, kernel: &'a str) -> Cells<'a> {
            Cells { side, kernel: Some(kernel) }
        }
        let comparison = Comparison::new(of(run, base), of(run, head));
        let mut regression = comparison.compare(subject(base), subject(head));
        let dossiers = (run.evidence.dossier(base), run.evidence.dossier(head));
        if let (Some(old), Some(new)) = dossiers {
            regression.difference = Some(Difference::between(&old, &new));
        }
        Ok(regression)
    }

    /// The severity for the exit code. It is inconclusive if nothing could be compared.
    pub fn severity(&self) -> Severity {
        let severities = self.findings.iter().map(|finding| finding.category.severity());
        match severities.max() {
            Some(Severity::Failure) => Severity::Failure,
            _ if self.compared == 0 => Severity::Inconclusive,
            severity => severity.unwrap_or(Severity::Expected),
        }
    }

    /// The number of cells in each category.
    pub fn counts(&self) -> BTreeMap<Category, usize> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.category).or_default() += finding.cells.len();
        }
        counts
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        pretty_json(self)
    }
}

/// A run has no cells of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run {run} has no cells of a kernel {kernel:?}; its kernels are {}", known.join(", "))]
pub struct NoSuchKernel {
    /// The run.
    pub run: String,
    /// The requested kernel.
    pub kernel: String,
    /// The kernels that the run has.
    pub known: Vec<String>,
}

/// The cells of one side.
#[derive(Clone, Copy)]
struct Cells<'a> {
    side: Side<'a>,
    /// If set, only the cells of this kernel.
    kernel: Option<&'a str>,
}

impl<'a> Cells<'a> {
    fn iter(self) -> impl Iterator<Item = &'a CellReport> {
        let is_meant = move |cell: &&CellReport| self.kernel.is_none_or(|id| cell.kernel == id);
        self.side.report.cells.iter().filter(is_meant)
    }

    /// Identifies a cell and its counterpart on the other side.
    fn key(self, cell: &CellReport) -> String {
        if self.kernel.is_some() { place(cell) } else { cell.id() }
    }

    fn by_key(self) -> BTreeMap<String, &'a CellReport> {
        self.iter().map(|cell| (self.key(cell), cell)).collect()
    }

    fn has_kernel(self, kernel: &str) -> bool {
        self.iter().any(|cell| cell.kernel == kernel)
    }

    fn has_mode(self, cell: &CellReport) -> bool {
        self.iter().any(|other| types(other) == types(cell))
    }
}

/// Whether a cell's events are compared with a golden snapshot. Other suites may write what differs from
/// run to run.
fn compares_events(cell: &CellReport) -> bool {
    cell.snapshot.is_some() || !cell.is_of_suite()
}

/// The BTF mode, with absent BTF counted as masked.
fn types(cell: &CellReport) -> &str {
    if cell.btf == BtfMode::Absent.name() { BtfMode::Masked.name() } else { &cell.btf }
}

/// What identifies a cell among those of its kernel.
fn place(cell: &CellReport) -> String {
    format!("{}/{}/{}", types(cell), cell.backend, cell.scenario)
}

/// A comparison in progress.
struct Comparison<'a> {
    base: Cells<'a>,
    head: Cells<'a>,
    explainer: Explainer<'a>,
    compared: usize,
    same: usize,
    events_unknown: usize,
    findings: Vec<Finding>,
}

impl<'a> Comparison<'a> {
    fn new(base: Cells<'a>, head: Cells<'a>) -> Self {
        let explainer = Explainer::new(base.side, head.side, base.kernel);
        let findings = Vec::new();
        Comparison { base, head, explainer, compared: 0, same: 0, events_unknown: 0, findings }
    }

    fn compare(mut self, base: Subject, head: Subject) -> Regression {
        let (before, after) = (self.base.by_key(), self.head.by_key());
        for new in self.head.iter() {
            match before.get(&self.head.key(new)) {
                Some(old) => self.pair(old, new),
                None => self.without_base(new),
            }
        }
        for old in self.base.iter() {
            if !after.contains_key(&self.base.key(old)) {
                self.without_head(old);
            }
        }
        let mut findings = self.findings;
        findings.sort_by_key(|finding| finding.category);
        tell_what_came(&mut findings, self.head.side.report);
        Regression {
            schema: SCHEMA,
            base,
            head,
            compared: self.compared,
            same: self.same,
            events_unknown: self.events_unknown,
            findings,
            difference: None,
        }
    }

    fn pair(&mut self, old: &CellReport, new: &CellReport) {
        self.compared += 1;
        let (before, after) = match compares_events(old) && compares_events(new) {
            true => (self.base.side.evidence.events(old), self.head.side.evidence.events(new)),
            false => (None, None),
        };
        if compares_events(new)
            && Category::both_pass(old, new)
            && (before.is_none() || after.is_none())
        {
            self.events_unknown += 1;
        }
        // If the outcomes differ, their reasons are clearer.
        let events = match (before, after) {
            (Some(before), Some(after)) if old.outcome == new.outcome && before != after => {
                Some(diff::unified(&before, &after, ("base", "head")))
            }
            _ => None,
        };
        let growth = Category::both_pass(old, new).then(|| growth(old, new)).flatten();
        let category = match Category::of(old, new) {
            Some(category) => category,
            None if growth.is_some() => Category::MoreInstructions,
            None if events.is_some() => Category::EventsChanged,
            None => return self.same += 1,
        };
        let growth = growth.filter(|_| category == Category::MoreInstructions);
        let fingerprint = match (category, &events, &growth) {
            (Category::EventsChanged, Some(events), _) => {
                Fingerprint::of_events(new.tracer_name(), events)
            }
            (_, _, Some(growth)) => Fingerprint::of_growth(new.tracer_name(), growth),
            (Category::Fixed | Category::NewlySupported, ..) => Fingerprint::of(old),
            _ => Fingerprint::of(new),
        };
        let of = if category.tells_of_base() { old } else { new };
        let explanations = match category.is_new_trouble() {
            true => self.explainer.explain(Some(old), new),
            false => Vec::new(),
        };
        self.add(
            Finding {
                category,
                fingerprint: Some(fingerprint),
                base: vec![old.verdict()],
                head: vec![new.verdict()],
                message: growth.unwrap_or_else(|| of.message.clone()),
                diff: of.diff.clone(),
                events,
                explanations,
                cells: vec![new.id()],
                again: new.repro_command(),
            },
            // How much a program grew differs between kernels.
            Some(&new.kernel).filter(|_| category == Category::MoreInstructions),
        );
    }

    fn without_base(&mut self, new: &CellReport) {
        let category = match new.outcome.severity() {
            Severity::Failure => Category::NewFailure,
            Severity::Inconclusive => Category::Inconclusive,
            Severity::Expected if self.head.kernel.is_some() && !self.base.has_mode(new) => {
                Category::NotComparable
            }
            Severity::Expected
                if self.head.kernel.is_some() || self.base.has_kernel(&new.kernel) =>
            {
                Category::NewCell
            }
            Severity::Expected => Category::NewKernel,
        };
        let is_trouble = new.outcome.severity() != Severity::Expected;
        let explanations = match category.is_new_trouble() {
            true => self.explainer.explain(None, new),
            false => Vec::new(),
        };
        let finding = Finding {
            category,
            fingerprint: is_trouble.then(|| Fingerprint::of(new)),
            base: Vec::new(),
            head: is_trouble.then(|| new.verdict()).into_iter().collect(),
            message: if is_trouble { new.message.clone() } else { String::new() },
            diff: new.diff.clone(),
            events: None,
            explanations,
            cells: vec![new.id()],
            again: new.repro_command(),
        };
        self.add(finding, (!is_trouble).then_some(&new.kernel));
    }

    fn without_head(&mut self, old: &CellReport) {
        let is_comparable = self.head.kernel.is_none() || self.head.has_mode(old);
        let message = match self.head.kernel {
            Some(kernel) if !is_comparable => {
                format!("{kernel} has no cells of the mode {}", old.btf)
            }
            None if !self.head.has_kernel(&old.kernel) => {
                format!("there are no cells of {} any more", old.kernel)
            }
            _ => String::new(),
        };
        let finding = Finding {
            category: if is_comparable { Category::Vanished } else { Category::NotComparable },
            fingerprint: None,
            base: Vec::new(),
            head: Vec::new(),
            message,
            diff: None,
            events: None,
            explanations: Vec::new(),
            cells: vec![old.id()],
            again: old.repro_command(),
        };
        self.add(finding, Some(&old.kernel));
    }

    /// Adds a finding, merging it with an earlier one of the same cause. With `kernel`, it is
    /// merged only with one of that kernel and with the same message.
    fn add(&mut self, finding: Finding, kernel: Option<&String>) {
        let of_kernel = |cell: &str| {
            kernel.is_none_or(|kernel| {
                cell.strip_prefix(kernel.as_str()).is_some_and(|rest| rest.starts_with('/'))
            })
        };
        let known = self.findings.iter_mut().find(|known| {
            known.category == finding.category
                && known.fingerprint == finding.fingerprint
                && (kernel.is_none() || known.message == finding.message)
                && known.cells.first().is_some_and(|cell| of_kernel(cell))
        });
        match known {
            None => self.findings.push(finding),
            Some(known) => {
                known.cells.extend(finding.cells);
                add_new(&mut known.base, finding.base);
                add_new(&mut known.head, finding.head);
                for explanation in finding.explanations {
                    explanation.join(&mut known.explanations);
                }
            }
        }
    }
}

fn add_new(known: &mut Vec<String>, others: Vec<String>) {
    for other in others {
        if !known.contains(&other) {
            known.push(other);
        }
    }
}

/// Adds the outcomes of a new kernel's cells to its finding.
fn tell_what_came(findings: &mut [Finding], report: &Report) {
    for finding in findings.iter_mut().filter(|finding| finding.category == Category::NewKernel) {
        let Some(first) = finding.cells.first() else { continue };
        let Some(kernel) = report.cells.iter().find(|cell| cell.id() == *first) else { continue };
        let of_kernel = report.cells.iter().filter(|cell| cell.kernel == kernel.kernel);
        finding.message = format!("{}: {}", kernel.kernel, Tally::of(of_kernel));
    }
}

#[cfg(test)]
mod tests;
