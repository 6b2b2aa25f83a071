//! Reads the reports of runs, which may come from anywhere.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::file_names::digest;
use crate::{
    report::{Report, ReportError},
    run::dir::RunDir,
    untrusted::{self, Links},
};

/// The most cells that a report may have.
const CELLS: usize = 200_000;
/// The longest name of a kernel, BTF mode, backend or scenario, in bytes.
const NAME: usize = 200;

/// A run that can't be part of a site.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It is not a report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// When it began is not known, so that it has no place among other runs.
    #[error("{path} has {started:?} as the time at which the run started")]
    Time {
        /// The report.
        path: PathBuf,
        /// What it says.
        started: String,
        /// Why that is no time.
        source: jiff::Error,
    },
    /// It is larger than a report of any sensible run.
    #[error("{path} is too large: {what}")]
    TooLarge {
        /// The report.
        path: PathBuf,
        /// What there is too much of.
        what: String,
    },
    /// All runs together are.
    #[error("{tools} tools on {kernels} kernels are too many for one site")]
    TooMany {
        /// Suites and tracers.
        tools: usize,
        /// Kernels.
        kernels: usize,
    },
}

/// A run.
pub(super) struct Input {
    pub(super) report: Report,
    pub(super) started: Timestamp,
    /// Where its evidence is, if it was kept.
    pub(super) dir: RunDir,
    /// Of the whole report.
    pub(super) digest: String,
}

impl Input {
    /// Reads a directory with a `report.json`, or such a file.
    pub(super) fn read(path: &Path) -> Result<Self, InputError> {
        let path = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
        Input::parse(&path, &bytes(&path)?)
    }

    /// Reads the content of a `report.json`; errors name its path.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, InputError> {
        let report = Report::parse(path, text)?;
        let too_large = |what: String| InputError::TooLarge { path: path.to_owned(), what };
        if report.cells.len() > CELLS {
            return Err(too_large(format!("{} cells", report.cells.len())));
        }
        let names = report
            .cells
            .iter()
            .flat_map(|cell| [&cell.kernel, &cell.btf, &cell.backend, &cell.scenario]);
        let names = names.chain(report.kernels.iter().map(|kernel| &kernel.id));
        if let Some(name) = names.chain([&report.run.id]).find(|name| name.len() > NAME) {
            return Err(too_large(format!("a name has {} bytes", name.len())));
        }
        let started: Timestamp = report.run.started.parse().map_err(|source| InputError::Time {
            path: path.to_owned(),
            started: report.run.started.chars().take(NAME).collect(),
            source,
        })?;
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Input { digest: digest(text), dir: RunDir::open(dir), report, started })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, InputError> {
    untrusted::read(path, Links::Follow)
        .map_err(|source| ReportError::Read { path: path.to_owned(), source }.into())
}
