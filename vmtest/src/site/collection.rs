//! All runs together: the newest result of each cell, and the results that it had before.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use jiff::Timestamp;
use kernlab_core::{
    dossier::Dossier,
    outcome::{Outcome, Reason},
};
use kernlab_kernels::Arch;

use super::{
    input::{Input, InputError},
    tool,
};
use crate::{
    report::{
        CellReport, Kernel, Report, SCHEMA, Tally, in_a_line,
        regression::{EvidenceSource, Fingerprint, numbers},
    },
    run::dir::RunDir,
};

/// How much of a message is kept of results that are not the newest, in characters.
const MESSAGE: usize = 300;
/// The most entries of the grid, so that hostile runs don't fill a disk.
const GRID: usize = 200_000;

/// A run, without its cells.
#[derive(Clone, Debug)]
pub(super) struct PastRun {
    pub(super) id: String,
    pub(super) started: Timestamp,
    pub(super) duration_ms: u64,
    pub(super) cells: usize,
    pub(super) tally: Tally,
    digest: String,
    dir: RunDir,
    kernels: Vec<Kernel>,
    remarks: Vec<String>,
}

/// What a run says of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    /// The index of the run.
    pub(super) run: usize,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    /// The first line of the message.
    pub(super) message: Rc<str>,
    /// Identifies the cause; none for a pass.
    pub(super) fingerprint: Option<Rc<str>>,
}

/// All runs.
#[derive(Default)]
pub(super) struct Collection {
    /// By time.
    pub(super) runs: Vec<PastRun>,
    /// The newest result of each cell, as the report of one run.
    pub(super) current: Report,
    /// The results of each cell, by time.
    pub(super) history: BTreeMap<String, Vec<Observation>>,
    newest: HashMap<String, (usize, CellReport)>,
    texts: BTreeSet<Rc<str>>,
}

impl Collection {
    /// Adds a run, unless the same was added before.
    pub(super) fn add(&mut self, input: Input) -> Result<(), InputError> {
        if self.runs.iter().any(|run| run.digest == input.digest) {
            return Ok(());
        }
        let Input { report, started, dir, digest, .. } = input;
        let index = self.runs.len();
        self.runs.push(PastRun {
            id: report.run.id,
            started,
            duration_ms: report.run.duration_ms,
            cells: report.cells.len(),
            tally: Tally::of(&report.cells),
            digest,
            dir,
            kernels: report.kernels,
            remarks: report.remarks,
        });
        for cell in report.cells {
            self.observe(index, cell);
        }
        Ok(())
    }

    fn observe(&mut self, run: usize, cell: CellReport) {
        let id = cell.id();
        let known = self.history.get(&id).and_then(|all| all.last());
        if known.is_some_and(|known| known.run == run) {
            // A report that has a cell twice is no report of ours.
            return;
        }
        let message: String = in_a_line(&cell.message).chars().take(MESSAGE).collect();
        let fingerprint = (cell.outcome != Outcome::Pass).then(|| Fingerprint::of(&cell));
        let observation = Observation {
            run,
            outcome: cell.outcome,
            reason: cell.reason,
            message: self.text(&message),
            fingerprint: fingerprint.map(|fingerprint| self.text(&fingerprint.to_string())),
        };
        self.history.entry(id.clone()).or_default().push(observation);
        let is_newer = |other: usize| self.order(other) < self.order(run);
        match self.newest.get(&id) {
            Some((other, _)) if !is_newer(*other) => {}
            _ => drop(self.newest.insert(id, (run, cell))),
        }
    }

    /// Most texts occur many times.
    fn text(&mut self, text: &str) -> Rc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let text: Rc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }

    /// What runs are ordered by, so that the order in which they are named means nothing.
    fn order(&self, run: usize) -> (Timestamp, &str, &str) {
        let run = &self.runs[run];
        (run.started, &run.id, &run.digest)
    }

    /// Brings everything into its order.
    pub(super) fn finish(mut self) -> Result<Self, InputError> {
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        order.sort_by(|&one, &other| self.order(one).cmp(&self.order(other)));
        let mut place = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        let mut runs: Vec<_> = std::mem::take(&mut self.runs).into_iter().map(Some).collect();
        self.runs = order.iter().filter_map(|&old| runs[old].take()).collect();
        for all in self.history.values_mut() {
            all.iter_mut().for_each(|observation| observation.run = place[observation.run]);
            all.sort_by_key(|observation| observation.run);
        }
        let mut cells: Vec<_> = std::mem::take(&mut self.newest)
            .into_values()
            .map(|(run, cell)| (place[run], cell))
            .collect();
        let kernels = self.kernels(&cells);
        let rank: BTreeMap<&str, usize> = kernels.iter().map(|k| k.id.as_str()).zip(0..).collect();
        cells.sort_by_cached_key(|(_, cell)| {
            let (kind, tool) = tool::key(cell);
            let backend = (cell.backend != "libbpf", cell.backend.clone());
            let names = (tool.to_owned(), cell.scenario.clone(), cell.btf.clone(), backend);
            (rank.get(cell.kernel.as_str()).copied(), kind, names)
        });
        let tools: BTreeSet<_> = cells.iter().map(|(_, cell)| tool::key(cell)).collect();
        if tools.len() * kernels.len() > GRID {
            return Err(InputError::TooMany { tools: tools.len(), kernels: kernels.len() });
        }
        let newest = self.runs.last();
        self.current = Report {
            schema: SCHEMA,
            run: newest.map(|run| run.as_run()).unwrap_or_default(),
            kernels,
            cells: cells.into_iter().map(|(_, cell)| cell).collect(),
            remarks: newest.map(|run| run.remarks.clone()).unwrap_or_default(),
        };
        Ok(self)
    }

    /// Each kernel as the newest run knows it, by release.
    fn kernels(&self, cells: &[(usize, CellReport)]) -> Vec<Kernel> {
        let mut all: BTreeMap<String, Kernel> = BTreeMap::new();
        for kernel in self.runs.iter().flat_map(|run| &run.kernels) {
            let mut kernel = kernel.clone();
            let known = all.get(&kernel.id);
            kernel.release = kernel.release.or_else(|| known?.release.clone());
            kernel.arch = kernel.arch.or_else(|| known?.arch);
            all.insert(kernel.id.clone(), kernel);
        }
        for (_, cell) in cells {
            let unknown = || Kernel {
                id: cell.kernel.clone(),
                arch: None,
                release: None,
                unavailable: None,
                sha256: None,
            };
            let kernel = all.entry(cell.kernel.clone()).or_insert_with(unknown);
            kernel.release = kernel.release.take().or_else(|| cell.release.clone());
        }
        let tested: BTreeSet<_> = cells.iter().map(|(_, cell)| cell.kernel.as_str()).collect();
        let mut all: Vec<_> =
            all.into_values().filter(|k| tested.contains(k.id.as_str())).collect();
        all.sort_by_cached_key(|kernel| {
            (kernel.arch.map(Arch::name), version(kernel), kernel.id.clone())
        });
        all
    }

    /// The run that has the newest result of a cell.
    pub(super) fn run_of(&self, cell: &CellReport) -> Option<&PastRun> {
        let newest = self.history.get(&cell.id())?.last()?;
        self.runs.get(newest.run)
    }

    /// The directory of that run.
    pub(super) fn dir_of(&self, cell: &CellReport) -> Option<&RunDir> {
        self.run_of(cell).map(|run| &run.dir)
    }

    /// Releases that a kernel had, each with the first run that had it.
    pub(super) fn releases(&self, kernel: &str) -> Vec<(&PastRun, &str)> {
        let mut releases: Vec<(&PastRun, &str)> = Vec::new();
        for run in &self.runs {
            let known = run.kernels.iter().find(|known| known.id == kernel);
            let Some(release) = known.and_then(|kernel| kernel.release.as_deref()) else {
                continue;
            };
            if releases.last().is_none_or(|(_, last)| *last != release) {
                releases.push((run, release));
            }
        }
        releases
    }

    /// The newest kernel before this one, of the same architecture as far as reports tell.
    pub(super) fn predecessor(&self, kernel: &Kernel) -> Option<&Kernel> {
        let here = version(kernel);
        let kernels = self.current.kernels.iter().rev();
        kernels.filter(|other| other.arch == kernel.arch).find(|other| version(other) < here)
    }
}

/// `[6, 1, 0]` of the release or, if no run has told it, of the digits in the id.
pub(super) fn version(kernel: &Kernel) -> Vec<u64> {
    let digits = || {
        let from = kernel.id.find(|c: char| c.is_ascii_digit()).unwrap_or(kernel.id.len());
        numbers(&kernel.id[from..])
    };
    kernel.release.as_deref().map(numbers).filter(|n| !n.is_empty()).unwrap_or_else(digits)
}

impl PastRun {
    fn as_run(&self) -> crate::report::Run {
        crate::report::Run {
            id: self.id.clone(),
            started: self.started.to_string(),
            duration_ms: self.duration_ms,
            ..crate::report::Run::default()
        }
    }

    /// `2026-01-01 00:00 UTC`.
    pub(super) fn moment(&self) -> String {
        self.started.strftime("%Y-%m-%d %H:%M UTC").to_string()
    }

    /// `2026-01-01`.
    pub(super) fn day(&self) -> String {
        self.started.strftime("%Y-%m-%d").to_string()
    }
}

impl EvidenceSource for Collection {
    fn events(&self, cell: &CellReport) -> Option<String> {
        self.dir_of(cell)?.events(cell)
    }

    fn output(&self, cell: &CellReport) -> String {
        self.dir_of(cell).map(|dir| EvidenceSource::output(dir, cell)).unwrap_or_default()
    }

    /// That of the newest run which has one.
    fn dossier(&self, kernel: &str) -> Option<Dossier> {
        let with = |run: &&PastRun| run.kernels.iter().any(|known| known.id == kernel);
        self.runs
            .iter()
            .rev()
            .filter(with)
            .find_map(|run| EvidenceSource::dossier(&run.dir, kernel))
    }
}
