//! Reading a `report.json`, which may be anything.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Report, SCHEMA};
use crate::untrusted::{self, Links};

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
        let text = untrusted::read(path, Links::Follow)
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

/// What every version of a report has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}
