//! Finds the cell that a user means.

use globset::GlobBuilder;

use super::{CellReport, Report};

/// The maximum number of cells that an error lists.
const LISTED: usize = 6;

/// A name that is not that of exactly one cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is no such cell.
    #[error("the run {run} has no cell {given:?}{}", hint(nearest.as_deref()))]
    NoSuchCell {
        /// The run.
        run: String,
        /// What was given.
        given: String,
        /// The most similar name.
        nearest: Option<String>,
    },
    /// The pattern is of several cells.
    #[error("{given:?} matches {count} cells: {}{}", shown.join(", "), rest(*count, shown.len()))]
    Several {
        /// What was given.
        given: String,
        /// How many cells it matches.
        count: usize,
        /// The first of them.
        shown: Vec<String>,
    },
    /// The pattern is malformed.
    #[error("{given:?} is not a valid glob")]
    Glob {
        /// What was given.
        given: String,
        /// The error.
        source: globset::Error,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(": did you mean {name}?")).unwrap_or_default()
}

fn rest(count: usize, shown: usize) -> String {
    match count.saturating_sub(shown) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

impl Report {
    /// The cell with this id, or the only one that the pattern matches. `*` also matches slashes.
    ///
    /// # Errors
    ///
    /// There is no such cell, or more than one.
    pub fn cell(&self, given: &str) -> Result<&CellReport, FindError> {
        let cells = || self.cells.iter().map(|cell| (cell.id(), cell));
        if let Some((_, cell)) = cells().find(|(id, _)| id == given) {
            return Ok(cell);
        }
        let error = |source| FindError::Glob { given: given.to_owned(), source };
        let glob = GlobBuilder::new(given).literal_separator(false).build().map_err(error)?;
        let glob = glob.compile_matcher();
        let found: Vec<_> = cells().filter(|(id, _)| glob.is_match(id)).collect();
        match &found[..] {
            [(_, cell)] => Ok(cell),
            [] => Err(FindError::NoSuchCell {
                run: self.run.id.clone(),
                given: given.to_owned(),
                nearest: cells().map(|(id, _)| id).min_by_key(|id| strsim::osa_distance(given, id)),
            }),
            several => Err(FindError::Several {
                given: given.to_owned(),
                count: several.len(),
                shown: several.iter().take(LISTED).map(|(id, _)| id.clone()).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::sample, *};

    #[rstest]
    #[case("debian-6.1/embedded/suite/opens", Ok("debian-6.1/embedded/suite/opens"))]
    #[case("debian-6.1/*/writes", Ok("debian-6.1/embedded/suite/writes"))]
    #[case(
        "debian-6.1/embeded/suite/open",
        Err(
            "the run 20260101T000000 has no cell \"debian-6.1/embeded/suite/open\": did you mean \
             debian-6.1/embedded/suite/opens?"
        )
    )]
    #[case(
        "*/opens",
        Err(
            "\"*/opens\" matches 2 cells: debian-5.10/embedded/suite/opens, \
             debian-6.1/embedded/suite/opens"
        )
    )]
    #[case("[", Err("\"[\" is not a valid glob"))]
    fn a_cell_is_found_by_its_name(#[case] given: &str, #[case] expected: Result<&str, &str>) {
        let report = sample::suites();
        let found = report.cell(given).map(CellReport::id).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }
}
