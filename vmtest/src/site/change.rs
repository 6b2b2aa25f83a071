//! What changed from run to run, each cause once.

use std::collections::{BTreeMap, BTreeSet};

use kernlab_core::{cell::CellName, outcome::Severity};

use super::{
    collection::{Collection, Observation},
    tool,
};
use crate::report::{CellReport, grid::distinct, regression::Category};

/// A change of all cells of a tool that have it for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The index of the run that has it first.
    pub(super) run: usize,
    pub(super) category: Category,
    /// The tool's kind and name.
    pub(super) tool: (tool::Kind, String),
    /// The verdicts before, each once; none if the cells are new.
    pub(super) before: Vec<String>,
    /// The verdicts now.
    pub(super) now: Vec<String>,
    /// How the first of the cells says it.
    pub(super) message: String,
    /// Ids, in the order of the collection.
    pub(super) cells: Vec<String>,
}

impl Change {
    /// Whether a tool worked, or a new kernel should have it work, and it doesn't.
    pub(super) fn is_regression(&self) -> bool {
        self.category.severity() == Severity::Failure
    }

    /// The kernels of its cells.
    pub(super) fn kernels(&self) -> Vec<&str> {
        distinct(self.cells.iter().map(|cell| CellName::of(cell).kernel))
    }

    /// All changes, those of the newest run first, the worst of a run first.
    pub(super) fn all(collection: &Collection) -> Vec<Self> {
        let first_runs = first_runs(collection);
        let mut found: BTreeMap<(usize, Category, (tool::Kind, String), String), Self> =
            BTreeMap::new();
        for cell in &collection.current.cells {
            let id = cell.id();
            let (kind, tool) = tool::key(cell);
            let first = first_runs.get(&(kind, tool)).copied();
            for (before, now) in steps(collection.history.get(&id).map_or(&[], Vec::as_slice)) {
                let Some(category) = category(before, now, first) else { continue };
                let cause = now.fingerprint.as_deref().unwrap_or_default().to_owned();
                let tool = (kind, tool.to_owned());
                let key = (now.run, category, tool.clone(), cause);
                let change = found.entry(key).or_insert_with(|| Change {
                    run: now.run,
                    category,
                    tool,
                    before: Vec::new(),
                    now: Vec::new(),
                    message: now.message.to_string(),
                    cells: Vec::new(),
                });
                change.add(before, now, cell);
            }
        }
        let mut changes: Vec<_> = found.into_values().collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.run));
        changes
    }

    fn add(&mut self, before: Option<&Observation>, now: &Observation, cell: &CellReport) {
        let before = before.map(Observation::verdict);
        for (known, verdict) in [(&mut self.before, before), (&mut self.now, Some(now.verdict()))] {
            if let Some(verdict) = verdict.filter(|verdict| !known.contains(verdict)) {
                known.push(verdict);
            }
        }
        self.cells.push(cell.id());
    }
}

/// Each result with the one before it. One that says nothing is passed over: what fails after a guest
/// was lost, and passed before, is a regression.
fn steps(history: &[Observation]) -> impl Iterator<Item = (Option<&Observation>, &Observation)> {
    let mut last: Option<&Observation> = None;
    history
        .iter()
        .filter(|now| now.outcome.severity() != Severity::Inconclusive)
        .map(move |now| (last.replace(now), now))
}

fn category(
    before: Option<&Observation>,
    now: &Observation,
    first: Option<usize>,
) -> Option<Category> {
    let is_failure = now.outcome.severity() == Severity::Failure;
    match before {
        Some(before) => {
            let category =
                Category::between((before.outcome, before.reason), (now.outcome, now.reason))?;
            // The same failure is no news.
            let is_same = before.fingerprint == now.fingerprint;
            (category != Category::StillFailing || !is_same).then_some(category)
        }
        // What fails on a new kernel is news, and what fails in the tool's first run is not.
        None => (is_failure && first.is_some_and(|first| first < now.run))
            .then_some(Category::NewFailure),
    }
}

/// The first run of each tool.
fn first_runs(collection: &Collection) -> BTreeMap<(tool::Kind, &str), usize> {
    let mut first = BTreeMap::new();
    for cell in &collection.current.cells {
        let Some(run) = collection.history.get(&cell.id()).and_then(|all| all.first()) else {
            continue;
        };
        let known = first.entry(tool::key(cell)).or_insert(run.run);
        *known = run.run.min(*known);
    }
    first
}

/// The runs that have any of these cells.
pub(super) fn runs_of(collection: &Collection, cells: &[&CellReport]) -> BTreeSet<usize> {
    let histories = cells.iter().filter_map(|cell| collection.history.get(&cell.id()));
    histories.flatten().map(|observation| observation.run).collect()
}

impl Observation {
    /// `fail (events-differ)`.
    pub(super) fn verdict(&self) -> String {
        self.outcome.described(self.reason)
    }
}
