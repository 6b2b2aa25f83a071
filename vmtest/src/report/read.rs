//! Reading a `report.json`, which may be anything.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Report, SCHEMA};
use crate::run::dir::LARGEST;

/// A file that is not a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else, or has another schema version.
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
    /// The file can't be read, or is not a report of this schema version.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let text = read_file(path)
            .map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads the content of a `report.json`; errors name its path.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self, ReportError> {
        let not_a_report = |source| ReportError::NotAReport { path: path.to_owned(), source };
        let read = serde_json::from_slice::<Report>(text);
        let schema = match &read {
            Ok(report) => report.schema,
            // Another version may have other fields.
            Err(_) => serde_json::from_slice::<Version>(text).map_err(not_a_report)?.schema,
        };
        if schema != SCHEMA {
            let error = serde::de::Error::custom(format!("its schema is {schema}"));
            return Err(not_a_report(error));
        }
        read.map_err(not_a_report)
    }
}

/// Opens a regular file: a pipe might never end, and a device never does.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 512 MiB")),
        false => Ok(text),
    }
}

/// What every version of a report has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}
