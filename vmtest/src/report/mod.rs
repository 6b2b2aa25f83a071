//! The results of a run: one data model and its renderings.
//!
//! `docs/report-schema.md` documents the JSON form.

pub mod counts;
mod find;
pub(crate) mod grid;
pub mod headline;
pub mod html;
pub mod instructions;
pub mod junit;
pub mod markdown;
mod message;
pub mod predictions;
mod read;
pub mod regression;
pub mod repeats;
pub mod repro;
mod safe_path;
#[cfg(test)]
pub(crate) mod sample;
pub mod table;
pub mod timings;
mod tracer;
pub mod why;

use std::{cmp::Reverse, collections::BTreeMap, num::NonZeroU32};

use kernlab_cli::Exit;
use kernlab_core::{
    cell::{CellName, tracer_of},
    outcome::{Outcome, Reason, Severity, Verdict},
    record::Decision,
};
use kernlab_kernels::{Arch, Digest};
use serde::{Deserialize, Serialize};

use self::message::{bounded, headline};
pub(crate) use self::message::{in_a_line, printable};
pub use self::{
    find::FindError,
    read::ReportError,
    safe_path::{inside, link},
    tracer::{LoadedObject, TracerReport},
};
use crate::suite::unmatched::Rules;

/// The version of `report.json`. New fields don't change it; a new meaning of a field does.
pub const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The run itself.
    pub run: Run,
    /// The requested kernels, in the order of the matrix.
    pub kernels: Vec<Kernel>,
    /// The requested cells, in the order of the matrix.
    pub cells: Vec<CellReport>,
    /// What only the cells of a suite on all kernels show together, and the remarks on cells, one
    /// sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// A value as the text of a JSON file.
///
/// # Panics
///
/// The value is no plain data: a map in it has keys that are no text.
pub fn pretty_json(value: &impl Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => text + "\n",
        Err(error) => panic!("it is no plain data: {error}"),
    }
}

impl Report {
    /// The text of a `report.json`.
    pub fn to_json(&self) -> String {
        pretty_json(self)
    }

    /// The architecture of a kernel, if the report names it.
    pub fn arch_of(&self, kernel: &str) -> Option<Arch> {
        self.kernels.iter().find(|known| known.id == kernel)?.arch
    }

    /// Every known splat that a kernel printed, and in how many cells.
    pub fn allowed(&self) -> BTreeMap<&AllowedSplat, usize> {
        let mut counts = BTreeMap::new();
        for splat in self.cells.iter().flat_map(|cell| &cell.allowed) {
            *counts.entry(splat).or_default() += 1;
        }
        counts
    }

    /// The cells with an unexpected outcome: failures first, then inconclusive ones.
    pub fn unexpected_cells(&self) -> Vec<&CellReport> {
        let is_expected = |cell: &&CellReport| cell.outcome.severity() == Severity::Expected;
        let mut found: Vec<_> = self.cells.iter().filter(|cell| !is_expected(cell)).collect();
        found.sort_by_key(|cell| Reverse(cell.outcome.severity()));
        found
    }
}

/// How a run was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name, which is also the name of its directory.
    pub id: String,
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// How long it took.
    pub duration_ms: u64,
    /// The kernel selectors, as given on the command line.
    pub selectors: Vec<String>,
    /// The number of guests that ran in parallel.
    pub jobs: usize,
    /// How often each cell ran.
    #[serde(default = "once")]
    pub repeat: NonZeroU32,
    /// The exit code of the run: see `docs/exit-codes.md`.
    pub exit_code: u8,
    /// What the run depends on: the parts of one run have the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identity: BTreeMap<String, String>,
    /// Rules of which it is enough if they match in some cell of a run: null if one did.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: Rules,
}

impl Default for Run {
    /// One of which nothing is known.
    fn default() -> Self {
        Run {
            id: String::new(),
            started: String::new(),
            duration_ms: 0,
            selectors: Vec::new(),
            jobs: 0,
            repeat: once(),
            exit_code: 0,
            identity: BTreeMap::new(),
            rules: Rules::new(),
        }
    }
}

/// A kernel of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its id in `kernels.toml`.
    pub id: String,
    /// Its architecture; none in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// `uname -r`, if the lock file or a guest has told it.
    pub release: Option<String>,
    /// Why the kernel is not available.
    pub unavailable: Option<String>,
    /// The digest of the file that its cells booted; none if it was never ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// One cell and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellReport {
    /// The kernel's id.
    pub kernel: String,
    /// The BTF mode.
    pub btf: String,
    /// The backend.
    pub backend: String,
    /// `tracer/name`.
    pub scenario: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// Why, if it is no pass.
    pub reason: Option<Reason>,
    /// One sentence; empty for a pass.
    pub message: String,
    /// From the cell's start to its verdict.
    pub duration_ms: u64,
    /// Where that time went, stage by stage.
    pub stages_ms: BTreeMap<String, u64>,
    /// `uname -r` in the guest.
    pub release: Option<String>,
    /// The decision predicted on the host from the kernel's dossier.
    #[serde(default)]
    pub predicted: Option<Decision>,
    /// The decision made in the guest.
    pub plan: Option<Decision>,
    /// A unified diff of expected and observed events.
    pub diff: Option<String>,
    /// The name of the golden snapshot that the events were compared with.
    pub snapshot: Option<String>,
    /// The directory of its evidence, relative to the run's.
    pub evidence: String,
    /// The splats that its kernel printed and `splats.toml` allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<AllowedSplat>,
    /// What the user should know and what does not change the verdict, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Every attempt, if the cell was repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptReport>,
    /// The tracer of a user's suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracer: Option<TracerReport>,
    /// What a cell of a user's own runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<SuiteKind>,
    /// The command that runs a cell of a user's suite again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
}

/// What a cell of a user's own runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuiteKind {
    /// A suite that a `kernlab.toml` describes.
    Described,
    /// A test of a cargo project, which `kernlab test --cargo` found.
    CargoTest,
    /// A program of a command line.
    Command,
}

/// A known splat, which does not affect the verdict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllowedSplat {
    /// What happened and where.
    pub title: String,
    /// Why it doesn't count.
    pub reason: String,
    /// A link to more about it.
    pub link: String,
}

/// One of the attempts at a cell that was repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// Its outcome.
    pub outcome: Outcome,
    /// Why, if it is no pass.
    pub reason: Option<Reason>,
    /// One sentence; empty for a pass.
    pub message: String,
    /// From its start to its verdict.
    pub duration_ms: u64,
    /// The directory of its evidence, relative to the run's.
    pub evidence: String,
}

fn once() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl CellReport {
    /// Whether the kernel's type information was hidden from user space.
    pub fn is_masked(&self) -> bool {
        self.btf == "masked"
    }

    /// The kernel, with the BTF mode if that is not the usual one: `debian-6.1 masked`.
    pub fn kernel_and_mode(&self) -> String {
        let mode = if self.is_masked() { " masked" } else { "" };
        format!("{}{mode}", self.kernel)
    }

    /// The tracer of a scenario; the name of a suite.
    pub fn tracer_name(&self) -> &str {
        tracer_of(&self.scenario)
    }

    /// `kernel/btf/backend/tracer/scenario`.
    pub fn id(&self) -> String {
        format!("{}/{}/{}/{}", self.kernel, self.btf, self.backend, self.scenario)
    }

    /// `fail (events-differ)`.
    pub fn verdict(&self) -> String {
        self.outcome.described(self.reason)
    }

    /// The command that runs the cell again.
    pub fn repro_command(&self) -> String {
        if let Some(again) = &self.again {
            return again.clone();
        }
        let CellReport { kernel, btf, backend, scenario, attempts, .. } = self;
        let repeat = match attempts.len() {
            0 => String::new(),
            count => format!(" --repeat {count}"),
        };
        if self.is_of_suite() || !scenario.contains('/') {
            // A cell that was never begun, of a report that was joined from parts.
            return format!(
                "kernlab test --kernel {kernel} --btf {btf} --suite {scenario}{repeat}"
            );
        }
        format!(
            "cargo xtask vmtest --kernel {kernel} --btf {btf} --backend {backend} --scenario {scenario}{repeat}"
        )
    }

    /// A report for a cell that wrote none itself.
    pub fn of_verdict(cell: &str, verdict: Verdict) -> Self {
        let CellName { kernel, btf, backend, scenario } = CellName::of(cell);
        CellReport {
            kernel: kernel.to_owned(),
            btf: btf.to_owned(),
            backend: backend.to_owned(),
            scenario: scenario.to_owned(),
            outcome: verdict.outcome,
            reason: verdict.reason,
            message: bounded(verdict.message),
            duration_ms: 0,
            stages_ms: BTreeMap::new(),
            release: None,
            predicted: None,
            plan: None,
            diff: None,
            snapshot: None,
            evidence: String::new(),
            allowed: Vec::new(),
            remarks: Vec::new(),
            attempts: Vec::new(),
            tracer: None,
            suite: None,
            again: None,
        }
    }

    /// Replaces the verdict.
    pub fn set_verdict(&mut self, verdict: Verdict) {
        self.outcome = verdict.outcome;
        self.reason = verdict.reason;
        self.message = bounded(verdict.message);
    }
}

/// The number of cells by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Outcome, usize>);

impl Tally {
    /// Counts.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a CellReport>) -> Self {
        let mut counts = BTreeMap::new();
        for cell in cells {
            *counts.entry(cell.outcome).or_default() += 1;
        }
        Tally(counts)
    }

    /// The number of cells with each outcome that occurs.
    pub fn counts(&self) -> impl Iterator<Item = (Outcome, usize)> {
        self.0.iter().map(|(outcome, count)| (*outcome, *count))
    }

    /// The worst severity of all cells: a failure outranks an inconclusive cell. Without any cells
    /// it is inconclusive.
    pub fn severity(&self) -> Severity {
        self.0.keys().map(|outcome| outcome.severity()).max().unwrap_or(Severity::Inconclusive)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<_> = Outcome::ALL
            .iter()
            .filter_map(|outcome| Some(format!("{} {outcome}", self.0.get(outcome)?)))
            .collect();
        if counts.is_empty() { f.write_str("no cells") } else { f.write_str(&counts.join(", ")) }
    }
}

/// How a command ends after a run whose worst cell has this severity.
pub fn exit_of(severity: Severity) -> Exit {
    match severity {
        Severity::Expected => Exit::Success,
        Severity::Failure => Exit::Failure,
        Severity::Inconclusive => Exit::Infrastructure,
    }
}

/// Checks that the report has every requested cell exactly once.
///
/// # Errors
///
/// Some cells are missing, were not requested, or appear more than once.
pub fn census(asked: &[String], cells: &[CellReport]) -> Result<(), CensusError> {
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    for cell in asked {
        *balance.entry(cell.clone()).or_default() -= 1;
    }
    for cell in cells {
        *balance.entry(cell.id()).or_default() += 1;
    }
    balance.retain(|_, count| *count != 0);
    if balance.is_empty() {
        return Ok(());
    }
    let (missing, surplus): (Vec<_>, Vec<_>) =
        balance.into_iter().partition(|&(_, count)| count < 0);
    let names = |cells: Vec<(String, i64)>| cells.into_iter().map(|(cell, _)| cell).collect();
    Err(CensusError { missing: names(missing), surplus: names(surplus) })
}

/// The cells in a report are not those that were requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the census does not add up: missing cells {missing:?}; unexpected or duplicate cells {surplus:?}"
)]
pub struct CensusError {
    /// Requested, but not reported.
    pub missing: Vec<String>,
    /// Reported more often than requested.
    pub surplus: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(scenario: &str, outcome: Outcome) -> CellReport {
        let verdict = Verdict { outcome, reason: None, message: String::new() };
        CellReport::of_verdict(&format!("k/masked/aya/{scenario}"), verdict)
    }

    #[test]
    fn the_worst_cell_decides() {
        let tally = |outcomes: &[Outcome]| {
            Tally::of(&outcomes.iter().map(|&o| cell("t/s", o)).collect::<Vec<_>>())
        };
        assert_eq!(tally(&[Outcome::Pass, Outcome::Unsupported]).severity(), Severity::Expected);
        assert_eq!(tally(&[Outcome::Pass, Outcome::Infra]).severity(), Severity::Inconclusive);
        assert_eq!(tally(&[Outcome::NotRun, Outcome::Timeout]).severity(), Severity::Failure);
        assert_eq!(tally(&[]).severity(), Severity::Inconclusive);
        assert_eq!(
            tally(&[Outcome::Pass, Outcome::Infra, Outcome::Pass]).to_string(),
            "2 pass, 1 infra"
        );
    }

    #[test]
    fn a_lost_cell_and_a_double_one_are_found() {
        let asked = ["k/masked/aya/t/a".to_owned(), "k/masked/aya/t/b".to_owned()];
        let (a, b) = (cell("t/a", Outcome::Pass), cell("t/b", Outcome::Pass));
        assert_eq!(census(&asked, &[b.clone(), a.clone()]), Ok(()));
        let error = census(&asked, &[a.clone(), a]).unwrap_err();
        assert_eq!((error.missing, error.surplus), (vec![b.id()], vec![asked[0].clone()]));
    }
}
