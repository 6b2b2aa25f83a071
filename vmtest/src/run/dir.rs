//! The directory with a run's plan, evidence and report.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kernlab_core::dossier::Dossier;
use kernlab_kernels::replace_file;
use serde::{Serialize, de::DeserializeOwned};

use super::{evidence::CellEvidence, plan::RunPlan};
use crate::{
    report::{CellReport, Report, inside, regression::EvidenceSource},
    untrusted::{self, Links},
};

/// The environment variable that tells cells the directory of their run.
pub const RUN_VARIABLE: &str = "KERNLAB_RUN";

/// `target/kernlab/<run>` in a checkout, `.kernlab/<run>` elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes the directory of a run, named after the time in UTC. Git ignores the runs.
    pub fn create(all: &Path) -> io::Result<Self> {
        fs::create_dir_all(all)?;
        match File::create_new(all.join(".gitignore")) {
            Ok(mut file) => file.write_all(b"*\n")?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
        let mut name = time.clone();
        let mut dir = all.join(&name);
        for number in 2.. {
            match fs::create_dir(&dir) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    name = format!("{time}-{number}");
                    dir = all.join(&name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(RunDir(dir))
    }

    /// Whether a directory is that of a run.
    pub fn is_one(dir: &Path) -> bool {
        dir.join(RunPlan::FILE).is_file()
    }

    /// Points `latest` to this run, which has a report now: one that was killed has none.
    pub fn make_latest(&self) -> io::Result<()> {
        let all = self.0.parent().unwrap_or(Path::new("."));
        let name = self.name();
        // Replaces the link in one step, so that `latest` always points to a run.
        let fresh = all.join(format!(".latest-{name}"));
        symlink(&name, &fresh)?;
        fs::rename(&fresh, all.join("latest")).inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })
    }

    /// The report of the newest run, if that run wrote one.
    pub(crate) fn latest_report(all: &Path) -> Option<Report> {
        read_json(&all.join("latest/report.json")).ok()?
    }

    /// Opens the directory of an existing run.
    pub fn open(path: PathBuf) -> Self {
        RunDir(path)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The run's name: the last part of its path.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The directory of a cell's evidence, relative to the run's directory.
    ///
    /// A colon, as in the name of a Rust test, is written as `%3A`: archives of CI services and other
    /// file systems refuse it.
    pub fn evidence(cell: &str) -> PathBuf {
        Path::new("cells").join(cell.replace(':', "%3A"))
    }

    /// The file with the outcome of preparing a kernel during the run.
    pub(super) fn preparation(&self, kernel: &str) -> PathBuf {
        self.0.join("kernels").join(format!("{kernel}.json"))
    }

    /// The file with the dossier that predicts the plans of a kernel's cells.
    pub fn dossier(&self, kernel: &str) -> PathBuf {
        self.0.join("dossiers").join(format!("{kernel}.json"))
    }

    /// The file with the types of a kernel's external BTF, as far as plans ask for them.
    pub(super) fn external_types(&self, kernel: &str) -> PathBuf {
        self.0.join("dossiers/external").join(format!("{kernel}.json"))
    }

    /// Is this the first call with `what` by any process of the run?
    pub(super) fn is_first(&self, what: &str) -> bool {
        let dir = self.0.join("first");
        fs::create_dir_all(&dir).and_then(|()| File::create_new(dir.join(what))).is_ok()
    }

    /// Makes the directory of a cell's evidence.
    pub(crate) fn create_evidence(&self, cell: &str) -> io::Result<CellEvidence> {
        CellEvidence::create(self.0.join(Self::evidence(cell)))
    }

    /// The evidence of a reported cell; none if the report does not name a directory of this run.
    pub(crate) fn evidence_of(&self, cell: &CellReport) -> Option<CellEvidence> {
        self.existing(&cell.evidence).map(CellEvidence::at)
    }

    /// A path that a report names, if it stays in this directory: links are not followed.
    pub fn existing(&self, path: &str) -> Option<PathBuf> {
        let mut place = self.0.clone();
        for part in inside(path)?.components() {
            place.push(part);
            if fs::symlink_metadata(&place).is_ok_and(|found| found.is_symlink()) {
                return None;
            }
        }
        Some(place)
    }

    /// What the tracer of a user's suite wrote to standard output and to standard error.
    pub fn output_of(&self, cell: &CellReport) -> (Vec<u8>, Vec<u8>) {
        self.evidence_of(cell).map(|evidence| evidence.streams()).unwrap_or_default()
    }

    /// The files of a cell's evidence, by their paths in its directory, and their sizes in bytes.
    pub fn files_of(&self, cell: &CellReport) -> Vec<(PathBuf, u64)> {
        self.evidence_of(cell).map(|evidence| evidence.files()).unwrap_or_default()
    }
}

impl EvidenceSource for RunDir {
    fn events(&self, cell: &CellReport) -> Option<String> {
        self.evidence_of(cell)?.events().ok()?
    }

    fn dossier(&self, kernel: &str) -> Option<Dossier> {
        inside(kernel)?;
        let file = self.existing(&format!("dossiers/{kernel}.json"))?;
        Dossier::from_json(&untrusted::read(&file, Links::Refuse).ok()?).ok()
    }

    fn output(&self, cell: &CellReport) -> String {
        // It is searched for names.
        const LIMIT: u64 = 64 << 20;
        let evidence = self.evidence_of(cell);
        let (stdout, stderr) = evidence.map(|it| it.starts_of_streams(LIMIT)).unwrap_or_default();
        format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }
}

/// Writes `value` as JSON in one step: a reader finds the whole file or none.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    replace_file(path, &serde_json::to_vec_pretty(value)?)
}

/// Reads what [`write_json`] wrote; none if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text of a regular file; none if it does not exist.
pub(crate) fn read_text(path: &Path) -> io::Result<Option<String>> {
    let text = untrusted::read(path, Links::Refuse).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::Verdict;

    use super::*;

    #[test]
    fn evidence_is_only_in_the_dir_of_the_run() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::create(root.path()).unwrap();
        let outside = CellEvidence::at(root.path().to_owned());
        outside.keep_events(Some("outside")).unwrap();
        dir.create_evidence("k/masked/aya/t/s").unwrap().keep_events(Some("inside")).unwrap();
        let mut cell = CellReport::of_verdict("k/masked/aya/t/s", Verdict::pass());
        for (evidence, expected) in
            [("cells/k/masked/aya/t/s", Some("inside")), ("..", None), ("", None), ("cells", None)]
        {
            cell.evidence = evidence.to_owned();
            assert_eq!(dir.events(&cell).as_deref(), expected, "{evidence:?}");
        }
        cell.evidence = outside.path().display().to_string();
        assert_eq!(dir.events(&cell), None);
    }

    #[test]
    fn links_in_a_run_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::create(root.path()).unwrap();
        fs::create_dir(root.path().join("secret")).unwrap();
        fs::write(root.path().join("secret/events.txt"), "secret").unwrap();
        fs::create_dir_all(dir.path().join("cells/file")).unwrap();
        symlink(root.path().join("secret"), dir.path().join("cells/dir")).unwrap();
        let file = root.path().join("secret/events.txt");
        symlink(&file, dir.path().join("cells/file/events.txt")).unwrap();
        let mut cell = CellReport::of_verdict("k/masked/aya/t/s", Verdict::pass());
        for evidence in ["cells/dir", "cells/file"] {
            cell.evidence = evidence.to_owned();
            assert_eq!(dir.events(&cell), None, "{evidence}");
            assert_eq!(dir.files_of(&cell), [], "{evidence}");
        }
    }

    #[test]
    fn latest_points_to_the_newest_run() {
        let root = tempfile::tempdir().unwrap();
        let first = RunDir::create(root.path()).unwrap();
        let second = RunDir::create(root.path()).unwrap();
        assert_ne!(first, second);
        let latest = || fs::read_link(root.path().join("latest"));
        assert!(latest().is_err(), "neither has a report");
        first.make_latest().unwrap();
        second.make_latest().unwrap();
        assert_eq!(latest().unwrap(), Path::new(&second.name()));
        assert_eq!(fs::read_to_string(root.path().join(".gitignore")).unwrap(), "*\n");
    }
}
