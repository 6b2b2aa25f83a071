//! Static pages of any number of runs: which tool works on which kernel, how that is known, and what
//! changed between runs and between kernels.
//!
//! Pages need no network and no script. The same runs give the same bytes, in whatever order they are
//! named.

mod badge;
mod change;
mod collection;
mod directory;
mod evidence;
mod feed;
mod file_names;
mod input;
mod known;
mod pages;
mod status;
#[cfg(test)]
mod tests;
mod tool;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use self::{collection::Collection, input::Input};
pub use self::{directory::IntoError, input::InputError};

/// What the user chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// The heading of all pages.
    pub title: String,
    /// Where the pages will be, for addresses in the feed and in badges.
    pub url: Option<Address>,
    /// Whether evidence of cells is copied.
    pub evidence: bool,
}

/// The address of a site; it ends with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}?#".contains(c);
        match rest {
            Some(rest)
                if !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(is_plain) =>
            {
                Ok(Address(format!("{}/", text.trim_end_matches('/'))))
            }
            _ => Err(format!("{text:?} is not an address such as https://example.org/kernlab/")),
        }
    }
}

impl Address {
    /// The address of a file of the site.
    fn of(&self, file: &str) -> String {
        format!("{}{file}", self.0)
    }
}

/// All files of a site, by their paths in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site(BTreeMap<String, Vec<u8>>);

/// The pages of one run, by the content of its report; none if that is no report.
#[cfg(any(test, fuzzing))]
pub(crate) fn of_report(text: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut collection = Collection::default();
    collection.add(Input::parse(Path::new("report.json"), text).ok()?).ok()?;
    let options = Options {
        title: "A title".to_owned(),
        url: Some(Address("https://example.org/".to_owned())),
        evidence: false,
    };
    Some(pages::all(&collection.finish().ok()?, &options))
}

/// What is in a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Runs; those that were named twice count once.
    pub runs: usize,
    /// Cells, each with its newest result.
    pub cells: usize,
    /// Files.
    pub files: usize,
    /// Their size, in bytes.
    pub bytes: usize,
}

impl Site {
    /// Renders the pages of these runs: directories with a `report.json`, or such files.
    ///
    /// # Errors
    ///
    /// A report can't be read, or is too large.
    pub fn of(runs: &[PathBuf], options: &Options) -> Result<(Self, Summary), InputError> {
        let mut collection = Collection::default();
        for run in runs {
            collection.add(Input::read(run)?)?;
        }
        let collection = collection.finish()?;
        let site = Site(pages::all(&collection, options));
        let summary = Summary {
            runs: collection.runs.len(),
            cells: collection.current.cells.len(),
            files: site.0.len(),
            bytes: site.0.values().map(Vec::len).sum(),
        };
        Ok((site, summary))
    }

    /// Writes the files into a directory: a new or empty one, or one that an earlier call wrote, from
    /// which the files are removed that are no longer part of the site. No other file is touched.
    ///
    /// # Errors
    ///
    /// The directory is not a site, has a file of somebody else's where a page must be, or can't be
    /// written to.
    pub fn write(&self, into: &Path) -> Result<(), IntoError> {
        directory::write(&self.0, into)
    }
}
