//! The evidence of cells, copied into the site.
//!
//! A run may come from anywhere: nothing outside of its directory is read, and every file becomes text
//! that no browser takes for a page. A file is named by its content, so that what many cells have in
//! common, such as their events, is there once.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use super::{collection::Collection, file_names::digest};
use crate::{
    report::{CellReport, printable},
    untrusted::{self, Links},
};

/// The most that is kept of a file, in bytes: its beginning, and more of its end.
const BEGIN: u64 = 16 << 10;
const END: u64 = 48 << 10;
/// The most that all files may have, in bytes.
const ALL: usize = 24 << 20;

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// What it is.
    pub(super) label: &'static str,
    /// Its path in the site.
    pub(super) path: String,
}

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pieces: BTreeMap<String, Vec<Piece>>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    size: usize,
    /// The number of cells for which no more was copied.
    pub(super) left_out: usize,
}

impl Evidence {
    /// That of all cells: failures first, because there is a limit for all together.
    pub(super) fn of(collection: &Collection) -> Self {
        Self::within(ALL, collection)
    }

    /// The same with another limit.
    fn within(limit: usize, collection: &Collection) -> Self {
        let mut evidence = Evidence::default();
        let mut cells: Vec<_> = collection.current.cells.iter().collect();
        cells.sort_by_key(|cell| Reverse(cell.outcome.severity()));
        for cell in cells {
            evidence.copy(limit, collection, cell);
        }
        evidence
    }

    /// The evidence of a cell.
    pub(super) fn pieces(&self, cell: &CellReport) -> &[Piece] {
        self.pieces.get(&cell.id()).map_or(&[], Vec::as_slice)
    }

    fn copy(&mut self, limit: usize, collection: &Collection, cell: &CellReport) {
        let mut pieces = Vec::new();
        let mut is_whole = true;
        let diff = cell.diff.as_deref().map(|diff| ("difference", shortened(diff.as_bytes())));
        let evidence = collection.dir_of(cell).and_then(|dir| dir.evidence_of(cell));
        let files = evidence.map(|evidence| evidence.texts(cell.outcome)).unwrap_or_default();
        let files = files.into_iter().filter_map(|(label, path)| Some((label, read(&path).ok()?)));
        for (label, text) in diff.into_iter().chain(files).filter(|(_, text)| !text.is_empty()) {
            let path = format!("evidence/{}.txt", &digest(text.as_bytes())[..32]);
            if !self.files.contains_key(&path) {
                if self.size + text.len() > limit {
                    is_whole = false;
                    continue;
                }
                self.size += text.len();
                self.files.insert(path.clone(), text.into_bytes());
            }
            pieces.push(Piece { label, path });
        }
        self.left_out += usize::from(!is_whole);
        if !pieces.is_empty() {
            self.pieces.insert(cell.id(), pieces);
        }
    }
}

/// A regular file as text, or its beginning and end.
fn read(path: &Path) -> io::Result<String> {
    let mut file = untrusted::open(path, Links::Refuse)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    if length <= BEGIN + END {
        file.take(BEGIN + END).read_to_end(&mut bytes)?;
        return Ok(text(&bytes));
    }
    (&mut file).take(BEGIN).read_to_end(&mut bytes)?;
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(length - END))?;
    file.take(END).read_to_end(&mut end)?;
    Ok(joined(&bytes, length - BEGIN - END, &end))
}

/// Like above, for bytes in memory.
fn shortened(bytes: &[u8]) -> String {
    let (begin, end) = (BEGIN as usize, END as usize);
    match bytes.len().checked_sub(begin + end) {
        None | Some(0) => text(bytes),
        Some(left) => joined(&bytes[..begin], left as u64, &bytes[bytes.len() - end..]),
    }
}

fn joined(begin: &[u8], left: u64, end: &[u8]) -> String {
    format!("{}\n\n[{left} bytes are left out here]\n\n{}", text(begin), text(end))
}

fn text(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes).replace("\r\n", "\n"))
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Outcome, Verdict};

    use super::*;

    #[test]
    fn a_large_file_is_shortened_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let bytes = [vec![b'a'; 100_000], vec![b'z'; 100_000]].concat();
        std::fs::write(&path, &bytes).unwrap();
        let text = read(&path).unwrap();
        assert_eq!(text, shortened(&bytes));
        assert!(text.starts_with("aaa") && text.ends_with("zzz"));
        assert!(text.contains("[134464 bytes are left out here]"), "{}", text.len());
        let small = [vec![b'a'; 65_536]].concat();
        std::fs::write(&path, &small).unwrap();
        assert_eq!(read(&path).unwrap().as_bytes(), small);
    }

    #[test]
    fn the_evidence_of_failures_comes_first() {
        let cell = |name: &str, outcome| {
            let verdict = Verdict { outcome, reason: None, message: String::new() };
            let mut cell = CellReport::of_verdict(&format!("k/masked/suite/{name}"), verdict);
            cell.diff = Some(name.repeat(100));
            cell
        };
        let cells = vec![cell("a", Outcome::Pass), cell("b", Outcome::Fail)];
        let mut collection = Collection::default();
        collection.current.cells = cells;
        let evidence = Evidence::within(150, &collection);
        let [pass, fail] =
            [0, 1].map(|cell| evidence.pieces(&collection.current.cells[cell]).len());
        assert_eq!((pass, fail, evidence.left_out), (0, 1, 1));
        assert_eq!(Evidence::of(&collection).left_out, 0);
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(text(b"a\x1b[0m\0\xff\r\nb\t"), "a\u{fffd}[0m\u{fffd}\u{fffd}\nb\t");
    }
}
