//! What a run found out: one data model, and its renderings.
//!
//! `docs/report-schema.md` documents the JSON form.

mod grid;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod predictions;
pub mod regression;
#[cfg(test)]
mod sample;
pub mod table;
pub mod timings;

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use kernlab_core::{
    outcome::{Outcome, Reason, Severity, Verdict},
    record::Decision,
};
use serde::{Deserialize, Serialize};

/// The version of `report.json`. Fields may be added without a new number; none changes its meaning.
pub const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The run itself.
    pub run: Run,
    /// The kernels asked for, in the order of the matrix.
    pub kernels: Vec<Kernel>,
    /// The cells asked for, in the order of the matrix.
    pub cells: Vec<CellReport>,
}

/// A file that is not a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else, or of a version that is not known here.
    #[error("{path} is not a report of schema {SCHEMA}")]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Report {
    /// Reads a `report.json`.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is not one that is known here.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let text =
            fs::read(path).map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
        let not_a_report = |source| ReportError::NotAReport { path: path.to_owned(), source };
        let Version { schema } = serde_json::from_slice(&text).map_err(not_a_report)?;
        if schema != SCHEMA {
            let error = serde::de::Error::custom(format!("its schema is {schema}"));
            return Err(not_a_report(error));
        }
        serde_json::from_slice(&text).map_err(not_a_report)
    }

    /// The text of a `report.json`.
    pub fn to_json(&self) -> String {
        match serde_json::to_string_pretty(self) {
            Ok(text) => text + "\n",
            Err(error) => unreachable!("a report is plain data: {error}"),
        }
    }

    /// Every known splat that a kernel printed, and in how many cells.
    pub fn allowed(&self) -> BTreeMap<&AllowedSplat, usize> {
        let mut counts = BTreeMap::new();
        for splat in self.cells.iter().flat_map(|cell| &cell.allowed) {
            *counts.entry(splat).or_default() += 1;
        }
        counts
    }

    /// Every cell that isn't as it should be: what failed first, what can't be told after it.
    pub fn findings(&self) -> Vec<&CellReport> {
        let is_expected = |cell: &&CellReport| cell.outcome.severity() == Severity::Expected;
        let mut found: Vec<_> = self.cells.iter().filter(|cell| !is_expected(cell)).collect();
        found.sort_by_key(|cell| Reverse(cell.outcome.severity()));
        found
    }
}

/// What every version of a report has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// The circumstances of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name: that of its directory.
    pub id: String,
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// How long it took.
    pub duration_ms: u64,
    /// What selected kernels, as it was given.
    pub selectors: Vec<String>,
    /// Guests at a time.
    pub jobs: usize,
    /// How often each cell ran.
    #[serde(default = "once")]
    pub repeat: NonZeroU32,
    /// How the run ends for a shell: see `docs/exit-codes.md`.
    pub exit_code: u8,
}

/// A kernel of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The entry's id.
    pub id: String,
    /// `uname -r`, as far as the lock or a guest told it.
    pub release: Option<String>,
    /// Why the kernel can't be had.
    pub unavailable: Option<String>,
}

/// One cell and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellReport {
    /// The entry's id.
    pub kernel: String,
    /// The BTF mode.
    pub btf: String,
    /// The backend.
    pub backend: String,
    /// `tracer/name`.
    pub scenario: String,
    /// What became of it.
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
    /// What was decided on the host, from the kernel's dossier.
    #[serde(default)]
    pub predicted: Option<Decision>,
    /// What the plan decided in the guest.
    pub plan: Option<Decision>,
    /// Expected against observed events, as a unified diff.
    pub diff: Option<String>,
    /// The golden snapshot that it was compared with, by name.
    pub snapshot: Option<String>,
    /// The directory of its evidence, relative to the run's.
    pub evidence: String,
    /// What its kernel printed, and `splats.toml` allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<AllowedSplat>,
    /// Every attempt, if the cell was repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptReport>,
}

/// A splat that is known, and had no consequence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllowedSplat {
    /// What happened and where.
    pub title: String,
    /// Why it doesn't count.
    pub reason: String,
    /// Where one can read more about it.
    pub link: String,
}

/// One of the attempts at a cell that was repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// What became of it.
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

/// A message in two: what happened, and the lines that show it, if it has such. Splats have.
fn headline(message: &str) -> (&str, Option<&str>) {
    match message.split_once('\n') {
        Some((headline, lines)) => (headline, Some(lines)),
        None => (message, None),
    }
}

/// Text without control characters, which no document may contain.
fn printable(text: &str) -> String {
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_shown(&c) { c } else { '\u{fffd}' }).collect()
}

fn once() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl CellReport {
    /// `kernel/btf/backend/tracer/scenario`.
    pub fn id(&self) -> String {
        format!("{}/{}/{}/{}", self.kernel, self.btf, self.backend, self.scenario)
    }

    /// The command that runs the cell again.
    pub fn repro_command(&self) -> String {
        let CellReport { kernel, btf, backend, scenario, attempts, .. } = self;
        let repeat = match attempts.len() {
            0 => String::new(),
            count => format!(" --repeat {count}"),
        };
        format!(
            "cargo xtask vmtest --kernel {kernel} --btf {btf} --backend {backend} --scenario {scenario}{repeat}"
        )
    }

    /// A report for a cell that told nothing itself.
    pub fn of_verdict(cell: &str, verdict: Verdict) -> Self {
        let mut parts = cell.splitn(4, '/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        CellReport {
            kernel: next(),
            btf: next(),
            backend: next(),
            scenario: next(),
            outcome: verdict.outcome,
            reason: verdict.reason,
            message: verdict.message,
            duration_ms: 0,
            stages_ms: BTreeMap::new(),
            release: None,
            predicted: None,
            plan: None,
            diff: None,
            snapshot: None,
            evidence: String::new(),
            allowed: Vec::new(),
            attempts: Vec::new(),
        }
    }

    /// Replaces the verdict.
    pub fn set_verdict(&mut self, verdict: Verdict) {
        self.outcome = verdict.outcome;
        self.reason = verdict.reason;
        self.message = verdict.message;
    }
}

/// How many cells had which outcome.
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

    /// What the cells together mean: a failure outranks everything, then what is inconclusive. No
    /// cell at all is inconclusive.
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

/// The exit code that tells a shell what the cells together mean.
pub fn exit_code(severity: Severity) -> u8 {
    match severity {
        Severity::Expected => 0,
        Severity::Failure => 1,
        Severity::Inconclusive => 3,
    }
}

/// Every cell that was asked for exactly once.
///
/// # Errors
///
/// Cells that are missing, that nobody asked for, or that appear more than once.
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

/// The report is not of the cells that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the census does not add up: missing {missing:?}, not asked for or counted twice {surplus:?}"
)]
pub struct CensusError {
    /// Asked for, and not reported.
    pub missing: Vec<String>,
    /// Reported more often than asked for.
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
