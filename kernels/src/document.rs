//! TOML files with errors that give the file, line and column.

use std::{
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

/// The text of a TOML file, for giving positions in errors.
#[derive(Clone, Debug)]
pub struct Document {
    pub(crate) path: PathBuf,
    text: String,
}

/// A TOML file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file can't be read.
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    /// The file is not TOML, or violates its format.
    #[error("{position}: {message}")]
    Invalid {
        position: Position,
        /// What is wrong and what was expected.
        message: String,
    },
}

/// A place in a text file, written as `file:line:column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

impl Document {
    /// A document whose text is at hand; messages name the path.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Document { path: path.into(), text: text.into() }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Document::new(path, text)),
            Err(source) => Err(DocumentError::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads a file; `None` if it does not exist.
    pub fn read_if_there(path: &Path) -> Result<Option<Self>, DocumentError> {
        match Document::read(path) {
            Err(DocumentError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The document's TOML as a value; an error names path, line and column.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        toml::from_str(&self.text).map_err(|error| {
            let message = error.message().trim_end().replace('\n', ": ");
            self.invalid(error.span().unwrap_or(0..0), message)
        })
    }

    /// An error at these bytes of the text.
    pub fn invalid(&self, span: Range<usize>, message: impl Into<String>) -> DocumentError {
        DocumentError::Invalid { position: self.position(span.start), message: message.into() }
    }

    fn position(&self, offset: usize) -> Position {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Position { path: self.path.clone(), line, column }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_error_names_file_line_and_column() {
        let document = Document::new("kernels.toml", "a = 1\nb = \u{e9}\n");
        let error = document.parse::<BTreeMap<String, u32>>().unwrap_err();
        assert!(error.to_string().starts_with("kernels.toml:2:5: "), "{error}");
        let error = document.invalid(6..7, "expected c");
        assert_eq!(error.to_string(), "kernels.toml:2:1: expected c");
    }

    #[test]
    fn a_missing_file_is_an_error_only_where_it_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent.toml");
        assert!(Document::read_if_there(&path).unwrap().is_none());
        assert!(Document::read(&path).unwrap_err().to_string().starts_with("cannot read "));
    }
}
