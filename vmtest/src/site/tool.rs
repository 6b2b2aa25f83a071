//! What is tested: a suite, or one of the lab's own tracers with its scenarios.

use std::collections::BTreeMap;

use super::{collection::Collection, file_names::FileNames, status::Status};
use crate::report::{CellReport, Kernel};

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A suite of a `kernlab.toml`, or a command.
    Suite,
    /// A tracer of the lab.
    Tracer,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Suite => "suite",
            Kind::Tracer => "tracer",
        }
    }

    /// As a heading.
    pub(super) fn title(self) -> &'static str {
        match self {
            Kind::Suite => "Suites",
            Kind::Tracer => "Tracers",
        }
    }
}

/// A tool, with the newest results of its cells.
pub(super) struct Tool<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    /// The name of its files, without an extension.
    pub(super) file: String,
    /// By kernel, in the order of the collection.
    pub(super) cells: Vec<&'a CellReport>,
}

/// What tells one tool from another.
pub(super) fn key(cell: &CellReport) -> (Kind, &str) {
    match cell.is_of_suite() {
        true => (Kind::Suite, &cell.scenario),
        false => (Kind::Tracer, cell.tracer_name()),
    }
}

impl<'a> Tool<'a> {
    /// All tools, suites first.
    pub(super) fn all(collection: &'a Collection) -> Vec<Self> {
        let mut cells: BTreeMap<(Kind, &str), Vec<&CellReport>> = BTreeMap::new();
        for cell in &collection.current.cells {
            cells.entry(key(cell)).or_default().push(cell);
        }
        let keys: Vec<_> =
            cells.keys().map(|(kind, name)| (format!("{}/{name}", kind.name()), *name)).collect();
        let files = FileNames::of(keys.iter().map(|(key, name)| (key.as_str(), *name)));
        cells
            .into_iter()
            .zip(&keys)
            .map(|(((kind, name), cells), (key, _))| Tool {
                kind,
                name,
                file: files.get(key).to_owned(),
                cells,
            })
            .collect()
    }

    /// Its cells on a kernel.
    pub(super) fn on(&self, kernel: &str) -> Vec<&'a CellReport> {
        self.cells.iter().copied().filter(|cell| cell.kernel == kernel).collect()
    }

    /// What is known of it on each kernel on which it was tested.
    pub(super) fn by_kernel(&self, kernels: &'a [Kernel]) -> Vec<(&'a Kernel, Status)> {
        let with = kernels.iter().map(|kernel| (kernel, self.on(&kernel.id)));
        let tested = with.filter(|(_, cells)| !cells.is_empty());
        tested.map(|(kernel, cells)| (kernel, Status::of(cells))).collect()
    }
}
