//! Golden snapshots that a run wants to write.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use kernlab_kernels::replace_file;

use super::events;
use crate::report::{CellReport, table::counted};

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
    /// cells fail: a snapshot says what is the same on all kernels. Returns a line about each that was
    /// not left alone.
    pub(crate) fn settle(&self, cells: &mut [CellReport]) -> Vec<String> {
        let mut written = Vec::new();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (snapshot, proposed) in all.iter() {
            let Some((first, events)) = proposed.first() else { continue };
            let path = snapshot.display();
            let verdict = match proposed.iter().find(|(_, others)| others != events) {
                Some((other, _)) => Verdict::because(
                    Outcome::Fail,
                    Reason::EventsDiffer,
                    format!(
                        "the events of {first} and {other} differ, so the golden snapshot {path} was not written"
                    ),
                ),
                None => match write(snapshot, events) {
                    Ok(change) => {
                        let lines = counted(events.lines().count(), "line");
                        written.push(format!("{change} {path}: {lines}"));
                        continue;
                    }
                    Err(error) => Verdict::because(
                        Outcome::Infra,
                        Reason::HostIo,
                        format!("the golden snapshot {path} could not be written: {error}"),
                    ),
                },
            };
            for (id, own) in proposed {
                for cell in cells.iter_mut().filter(|cell| cell.id() == *id) {
                    cell.set_verdict(verdict.clone());
                    cell.diff = events::diff(events, own);
                }
            }
        }
        written
    }
}

/// Writes a snapshot. Returns what that changed.
fn write(path: &Path, text: &str) -> io::Result<&'static str> {
    let change = match fs::read_to_string(path) {
        Ok(before) if before == text => return Ok("unchanged:"),
        Ok(_) => "updated",
        Err(_) => "wrote",
    };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    replace_file(path, text.as_bytes())?;
    Ok(change)
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
        let path = snapshot.display();
        assert_eq!(proposals.settle(&mut cells), [format!("wrote {path}: 1 line")]);
        assert_eq!(proposals.settle(&mut cells), [format!("unchanged: {path}: 1 line")]);
        assert_eq!(fs::read_to_string(&snapshot).unwrap(), "one\n");
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
        assert_eq!(proposals.settle(&mut cells), [""; 0]);
        assert_eq!(fs::read_to_string(snapshot).unwrap(), "zero\n");
        assert!(cells.iter().all(|cell| cell.reason == Some(Reason::EventsDiffer)));
        assert!(cells[1].diff.as_deref().is_some_and(|diff| diff.contains("+two")));
    }

    #[test]
    fn a_snapshot_that_can_not_be_written_leaves_the_others_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let (bad, good) = (dir.path().join("file/s.snap"), dir.path().join("s.snap"));
        let (proposals, mut cells) = (Proposals::default(), cells());
        for (cell, snapshot) in cells.iter().zip([&bad, &good]) {
            proposals.add(snapshot.clone(), &cell.id(), "one\n");
        }
        proposals.settle(&mut cells);
        assert_eq!(fs::read_to_string(good).unwrap(), "one\n");
        assert_eq!([cells[0].reason, cells[1].reason], [Some(Reason::HostIo), None]);
        assert!(
            cells[0].message.contains("file/s.snap could not be written"),
            "{}",
            cells[0].message
        );
    }
}
