//! Golden snapshots that a run wants to write.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use kernlab_core::outcome::{Outcome, Reason, Verdict};

use super::events;
use crate::report::CellReport;

/// What cells propose for each snapshot, as cell and events.
#[derive(Debug, Default)]
pub(crate) struct Proposals(Mutex<BTreeMap<PathBuf, Vec<(String, String)>>>);

impl Proposals {
    /// Proposes a cell's events.
    pub(crate) fn add(&self, snapshot: PathBuf, cell: &str, events: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(snapshot).or_default().push((cell.to_owned(), events.to_owned()));
    }

    /// Writes the snapshots on which all cells agree. Where they don't, nothing is written, and the
    /// cells fail: a snapshot says what is the same on all kernels.
    pub(crate) fn settle(&self, cells: &mut [CellReport]) -> Result<(), (PathBuf, io::Error)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (snapshot, proposed) in all.iter() {
            let Some((first, events)) = proposed.first() else { continue };
            let Some((other, _)) = proposed.iter().find(|(_, others)| others != events) else {
                write(snapshot, events).map_err(|error| (snapshot.clone(), error))?;
                continue;
            };
            for (id, own) in proposed {
                let message = format!(
                    "the events of {first} and {other} differ, so the golden snapshot {} was not written",
                    snapshot.display()
                );
                let verdict = Verdict::because(Outcome::Fail, Reason::EventsDiffer, message);
                for cell in cells.iter_mut().filter(|cell| cell.id() == *id) {
                    cell.set_verdict(verdict.clone());
                    cell.diff = events::diff(events, own);
                }
            }
        }
        Ok(())
    }
}

/// Writes a whole file or nothing.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    let mut file =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> [CellReport; 2] {
        ["a/embedded/suite/s", "b/embedded/suite/s"]
            .map(|id| CellReport::of_verdict(id, Verdict::pass()))
    }

    #[test]
    fn what_all_cells_agree_on_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("new/s.snap");
        let (proposals, mut cells) = (Proposals::default(), cells());
        for cell in &cells {
            proposals.add(snapshot.clone(), &cell.id(), "one\n");
        }
        proposals.settle(&mut cells).unwrap();
        assert_eq!(fs::read_to_string(snapshot).unwrap(), "one\n");
        assert!(cells.iter().all(|cell| cell.outcome == Outcome::Pass));
    }

    #[test]
    fn cells_that_disagree_fail_and_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("s.snap");
        fs::write(&snapshot, "zero\n").unwrap();
        let (proposals, mut cells) = (Proposals::default(), cells());
        for (cell, events) in cells.iter().zip(["one\n", "two\n"]) {
            proposals.add(snapshot.clone(), &cell.id(), events);
        }
        proposals.settle(&mut cells).unwrap();
        assert_eq!(fs::read_to_string(snapshot).unwrap(), "zero\n");
        assert!(cells.iter().all(|cell| cell.reason == Some(Reason::EventsDiffer)));
        assert!(cells[1].diff.as_deref().is_some_and(|diff| diff.contains("+two")));
    }
}
