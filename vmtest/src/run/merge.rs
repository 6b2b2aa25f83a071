//! Merges the reports of a run's parts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use kernlab_core::outcome::{Outcome, Reason, Verdict};

use super::{
    dir::write_json,
    identity::{self, Identity},
};
use crate::{
    report::{self, CellReport, Kernel, Report, ReportError, Run, SCHEMA, Tally},
    suite::unmatched::{self, Rules},
    verdict,
};

/// Why reports can't be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A report can't be read.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Two shards ran the same cell, so its outcome is ambiguous.
    #[error("{cell} is both in {first} and in {second}")]
    Twice {
        /// The cell.
        cell: String,
        /// The directory of one shard.
        first: PathBuf,
        /// The directory of the other.
        second: PathBuf,
    },
    /// A shard ran a cell that is not in the matrix.
    #[error("{cell} in {dir} is not in the matrix: was the shard run with another kernels.toml?")]
    Stray {
        /// The cell.
        cell: String,
        /// The directory of the shard.
        dir: PathBuf,
    },
    /// A report does not say what its run depends on.
    #[error(
        "{0} was made by an earlier version, which does not say what its run depends on: run it again"
    )]
    Unidentified(PathBuf),
    /// Two reports are not parts of one run.
    #[error("{first} and {second} are not parts of one run: they differ in {difference}")]
    OtherRun {
        /// The directory of one report, or what this command would run.
        first: String,
        /// The directory of the other.
        second: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The merged report would be written over something.
    #[error("there are files in {0} already: name a directory that does not exist or is empty")]
    NotEmpty(PathBuf),
    /// The evidence can't be copied.
    #[error("failed to {action} {path}")]
    Evidence {
        /// What failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

/// Merges the reports and the evidence of `dirs` into the directory `into`, which has no files yet. A
/// cell of `expected` that is in none of them becomes `not-run`. What is no part of the run that
/// `identity` describes, or of the same run as the other parts, is refused. The report has these remarks,
/// those that all parts have, and those on rules that match in no part.
pub fn merge<Name: ToString>(
    expected: &[Name],
    dirs: &[PathBuf],
    into: &Path,
    identity: &Identity,
    remarks: &[String],
) -> Result<Report, MergeError> {
    if fs::read_dir(into).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(MergeError::NotEmpty(into.to_owned()));
    }
    let mut found: BTreeMap<String, (CellReport, &PathBuf)> = BTreeMap::new();
    let mut reports = Vec::new();
    let mut rules = Rules::new();
    let known: BTreeSet<_> = expected.iter().map(ToString::to_string).collect();
    for dir in dirs {
        let mut report = Report::read(&dir.join("report.json"))?;
        if report.run.identity.is_empty() {
            return Err(MergeError::Unidentified(dir.clone()));
        }
        let others = dirs
            .iter()
            .zip(&reports)
            .map(|(dir, report): (_, &Report)| (dir.display().to_string(), identity_of(report)));
        let this = ("the run that is asked for".to_owned(), identity.clone());
        for (first, other) in std::iter::once(this).chain(others) {
            if let Some(difference) = identity::difference(&other, &identity_of(&report)) {
                return Err(MergeError::OtherRun { first, second: dir.clone(), difference });
            }
        }
        // What was computed from some of the cells is computed from all of them below.
        let mut computed = computed_remarks(&report.cells);
        computed.extend(unmatched::remarks(&report.run.rules));
        report.remarks.retain(|remark| !computed.contains(remark));
        unmatched::join(&mut rules, std::mem::take(&mut report.run.rules));
        for cell in std::mem::take(&mut report.cells) {
            let id = cell.id();
            if !known.contains(&id) {
                return Err(MergeError::Stray { cell: id, dir: dir.clone() });
            }
            if let Some((_, first)) = found.insert(id.clone(), (cell, dir)) {
                let (first, second) = (first.clone(), dir.clone());
                return Err(MergeError::Twice { cell: id, first, second });
            }
        }
        reports.push(report);
    }
    for dir in dirs {
        for part in ["cells", "dossiers"] {
            copy(&dir.join(part), &into.join(part))?;
        }
    }
    let lost = Verdict::because(
        Outcome::NotRun,
        Reason::Interrupted,
        "no part has a report of this cell: its job failed, or its artifact was not found",
    );
    let cells: Vec<_> = expected
        .iter()
        .map(ToString::to_string)
        .map(|id| match found.remove(&id) {
            Some((cell, _)) => cell,
            None => CellReport::of_verdict(&id, lost.clone()),
        })
        .collect();
    let mut remarks = remarks.to_vec();
    let first = reports.first().into_iter().flat_map(|report| &report.remarks);
    let of_all = first.filter(|&one| reports.iter().all(|other| other.remarks.contains(one)));
    remarks.extend(of_all.cloned());
    remarks.extend(computed_remarks(&cells));
    remarks.extend(unmatched::remarks(&rules));
    let mut told = BTreeSet::new();
    remarks.retain(|remark| told.insert(remark.clone()));
    let report = Report {
        schema: SCHEMA,
        run: Run {
            id: into.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            started: reports.iter().map(|r| r.run.started.clone()).min().unwrap_or_default(),
            duration_ms: reports.iter().map(|r| r.run.duration_ms).max().unwrap_or(0),
            selectors: reports.iter().flat_map(|r| r.run.selectors.clone()).collect(),
            jobs: reports.iter().map(|r| r.run.jobs).sum(),
            repeat: reports.iter().map(|r| r.run.repeat).min().unwrap_or(NonZeroU32::MIN),
            exit_code: report::exit_of(Tally::of(&cells).severity()) as u8,
            identity: reports.iter().flat_map(|r| r.run.identity.clone()).collect(),
            rules,
        },
        kernels: kernels(reports.into_iter().flat_map(|report| report.kernels)),
        remarks,
        cells,
    };
    let path = into.join("report.json");
    write_json(&path, &report).map_err(|source| MergeError::Evidence {
        action: "write",
        path,
        source,
    })?;
    Ok(report)
}

fn computed_remarks(cells: &[CellReport]) -> Vec<String> {
    [verdict::suite_remarks::remarks(cells), verdict::unsupported_everywhere::remarks(cells)]
        .concat()
}

/// What a report depends on, with the kernels that its cells booted.
fn identity_of(report: &Report) -> Identity {
    let booted = |kernel: &Kernel| {
        Some((format!("kernel {}", kernel.id), kernel.sha256.as_ref()?.to_string()))
    };
    let mut identity = report.run.identity.clone();
    identity.extend(report.kernels.iter().filter_map(booted));
    identity
}

/// Each kernel once. A part that ran cells on it knows more than one that did not.
fn kernels(all: impl Iterator<Item = Kernel>) -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for kernel in all {
        match kernels.iter_mut().find(|known| known.id == kernel.id) {
            None => kernels.push(kernel),
            Some(known) => {
                known.arch = known.arch.or(kernel.arch);
                known.release = known.release.take().or(kernel.release);
                known.sha256 = known.sha256.or(kernel.sha256);
                known.unavailable = known.unavailable.take().or(kernel.unavailable);
            }
        }
    }
    kernels
}

/// Copies the directory of a run.
///
/// # Errors
///
/// A file can't be read or written.
pub fn copy_run(run: &Path, into: &Path) -> Result<(), MergeError> {
    copy(run, into)
}

/// Copies a tree of regular files. Links are left out. A missing directory counts as empty.
fn copy(from: &Path, to: &Path) -> Result<(), MergeError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| MergeError::Evidence { action, path, source }
    };
    fs::create_dir_all(to).map_err(failed("create", to))?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("read", from))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed("read", from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let file_type = entry.file_type().map_err(failed("read", &path))?;
        if file_type.is_dir() {
            copy(&path, &target)?;
        } else if file_type.is_file() {
            fs::copy(&path, &target).map_err(failed("copy", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kernlab_core::cell::Cell;

    use super::*;

    /// Cells of one kernel.
    fn cells(count: usize) -> Vec<Cell> {
        let scenarios = ["threads", "failed_write", "moved_thread"].iter().take(count);
        scenarios.map(|name| format!("a/masked/aya/sys_write/{name}").parse().unwrap()).collect()
    }

    fn sample() -> Identity {
        let pairs = [("program", "kernlab 1"), ("tracers", "a digest")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn make_fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }

    /// Makes the directory of a shard that ran these cells.
    fn ran(root: &Path, name: &str, cells: &[Cell]) -> PathBuf {
        let dir = root.join(name);
        let reports: Vec<_> = cells
            .iter()
            .map(|cell| CellReport::of_verdict(&cell.to_string(), Verdict::pass()))
            .collect();
        for cell in cells {
            let evidence = dir.join("cells").join(cell.to_string());
            fs::create_dir_all(&evidence).unwrap();
            fs::write(evidence.join("events.txt"), cell.to_string()).unwrap();
        }
        let run = Run {
            id: name.to_owned(),
            started: format!("2026-01-0{}T00:00:00Z", name.len()),
            duration_ms: name.len() as u64,
            selectors: vec![name.to_owned()],
            jobs: 2,
            repeat: NonZeroU32::MIN,
            exit_code: 0,
            identity: sample(),
            rules: Rules::new(),
        };
        let report =
            Report { schema: SCHEMA, run, kernels: vec![], cells: reports, remarks: vec![] };
        write_json(&dir.join("report.json"), &report).unwrap();
        dir
    }

    #[test]
    fn shards_make_one_report_with_all_evidence() {
        let root = tempfile::tempdir().unwrap();
        let all = cells(3);
        let dirs = [ran(root.path(), "two", &all[2..]), ran(root.path(), "other", &all[..2])];
        for dir in &dirs {
            let path = dir.join("report.json");
            let mut part = Report::read(&path).unwrap();
            let release = (dir == &dirs[1]).then(|| "6.1.0".to_owned());
            part.kernels.push(Kernel {
                id: "a".to_owned(),
                arch: Some(kernlab_kernels::Arch::X86_64),
                release,
                unavailable: None,
                sha256: None,
            });
            write_json(&path, &part).unwrap();
        }
        let into = root.path().join("all");
        let report = merge(&all, &dirs, &into, &sample(), &[]).unwrap();
        let known = Kernel {
            id: "a".to_owned(),
            arch: Some(kernlab_kernels::Arch::X86_64),
            release: Some("6.1.0".to_owned()),
            unavailable: None,
            sha256: None,
        };
        assert_eq!(report.kernels, [known], "both parts had the kernel");
        let order: Vec<_> = report.cells.iter().map(CellReport::id).collect();
        assert_eq!(order, all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!((report.run.duration_ms, report.run.exit_code), (5, 0));
        assert_eq!(report.run.started, "2026-01-03T00:00:00Z");
        assert_eq!(Report::read(&into.join("report.json")).unwrap(), report);
        for cell in &all {
            assert!(into.join("cells").join(cell.to_string()).join("events.txt").is_file());
        }
    }

    #[test]
    fn only_what_all_parts_remark_is_remarked() {
        let root = tempfile::tempdir().unwrap();
        let all = cells(2);
        let dirs = [ran(root.path(), "one", &all[..1]), ran(root.path(), "other", &all[1..])];
        let rule = |name: &str, remark: Option<&str>| (name.to_owned(), remark.map(str::to_owned));
        let rules = [
            // The second part shows nothing of the first rule, and another part matches the second.
            vec![rule("a", Some("a matches nothing")), rule("b", Some("b matches nothing"))],
            vec![rule("b", None)],
        ];
        for ((dir, own), rules) in dirs.iter().zip(["first", "second"]).zip(rules) {
            let path = dir.join("report.json");
            let mut part = Report::read(&path).unwrap();
            part.run.rules = rules.into_iter().collect();
            part.remarks = vec!["true of all".to_owned(), own.to_owned()];
            part.remarks.extend(unmatched::remarks(&part.run.rules));
            // As it is for the cells of the part alone.
            part.cells.iter_mut().for_each(|cell| cell.remarks = vec![own.to_owned()]);
            part.remarks.extend(computed_remarks(&part.cells));
            write_json(&path, &part).unwrap();
        }
        let given = ["look again".to_owned()];
        let report = merge(&all, &dirs, &root.path().join("all"), &sample(), &given).unwrap();
        let computed = computed_remarks(&report.cells);
        assert!(!computed.is_empty());
        let [of_all, unmatched] = ["true of all", "a matches nothing"].map(str::to_owned);
        let expected = [&given[..], &[of_all], &computed, &[unmatched]].concat();
        assert_eq!(report.remarks, expected);
        let again =
            merge(&all, &[root.path().join("all")], &root.path().join("again"), &sample(), &[]);
        assert_eq!(again.unwrap().run.rules, report.run.rules, "they are kept");
    }

    #[test]
    fn a_lost_cell_is_no_pass() {
        let root = tempfile::tempdir().unwrap();
        let all = cells(2);
        let dirs = [ran(root.path(), "part", &all[..1])];
        let report = merge(&all, &dirs, &root.path().join("all"), &sample(), &[]).unwrap();
        assert_eq!(report.cells[1].outcome, Outcome::NotRun);
        assert_eq!(report.run.exit_code, 3);
    }

    #[test]
    fn parts_of_other_runs_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let all = cells(2);
        let dirs = [ran(root.path(), "one", &all[..1]), ran(root.path(), "two", &all[1..])];
        let path = dirs[1].join("report.json");
        let whole = Report::read(&path).unwrap();
        let merged = |into: &str, edit: &dyn Fn(&mut Report)| {
            let mut edited = whole.clone();
            edit(&mut edited);
            write_json(&path, &edited).unwrap();
            let into = root.path().join(into);
            merge(&all, &dirs, &into, &sample(), &[]).map_err(|error| {
                assert!(!into.exists(), "nothing is written");
                error.to_string()
            })
        };
        let other = |name: &'static str| {
            move |report: &mut Report| {
                report.run.identity.insert(name.to_owned(), "other".to_owned());
            }
        };
        for name in ["program", "tracers"] {
            let error = merged("all", &other(name)).unwrap_err();
            let expected = format!("they differ in {name}: ");
            assert!(error.contains(&expected), "{error}");
        }
        let error = merged("all", &|report| report.run.identity.clear()).unwrap_err();
        assert!(error.contains("was made by an earlier version"), "{error}");
        let kernel_id = &all[0].kernel;
        let image = |digit: &str| {
            let digest = digit.repeat(64).parse().unwrap();
            move |report: &mut Report| {
                let id = kernel_id.clone();
                let sha256 = Some(digest);
                let kernel = Kernel { id, arch: None, release: None, unavailable: None, sha256 };
                report.kernels = vec![kernel];
            }
        };
        let first = dirs[0].join("report.json");
        let mut of_first = Report::read(&first).unwrap();
        image("1")(&mut of_first);
        write_json(&first, &of_first).unwrap();
        let error = merged("all", &image("2")).unwrap_err();
        let expected = format!("they differ in kernel {}: ", all[0].kernel);
        assert!(error.contains(&expected), "{error}");
        merged("all", &image("1")).unwrap();
    }

    #[test]
    fn a_part_is_never_written_over() {
        let root = tempfile::tempdir().unwrap();
        let all = cells(2);
        let dirs = [ran(root.path(), "one", &all)];
        let before = fs::read(dirs[0].join("report.json")).unwrap();
        let evidence = dirs[0].join("cells").join(all[0].to_string()).join("events.txt");
        for into in [dirs[0].clone(), dirs[0].join("."), dirs[0].join("cells")] {
            let error = merge(&all, &dirs, &into, &sample(), &[]).unwrap_err();
            assert!(matches!(error, MergeError::NotEmpty(_)), "{error}");
        }
        assert_eq!(fs::read(dirs[0].join("report.json")).unwrap(), before);
        assert_eq!(fs::read_to_string(evidence).unwrap(), all[0].to_string());
    }

    #[test]
    fn nothing_in_a_part_is_waited_for_or_followed() {
        let root = tempfile::tempdir().unwrap();
        let all = cells(1);
        let dirs = [ran(root.path(), "one", &all)];
        let evidence = dirs[0].join("cells").join(all[0].to_string());
        make_fifo(&evidence.join("pipe"));
        std::os::unix::fs::symlink("/etc/passwd", evidence.join("link")).unwrap();
        let into = root.path().join("all");
        merge(&all, &dirs, &into, &sample(), &[]).unwrap();
        let merged = into.join("cells").join(all[0].to_string());
        assert!(fs::symlink_metadata(merged.join("link")).is_err());
        assert!(fs::symlink_metadata(merged.join("pipe")).is_err());
        // A report that nobody writes.
        let report = dirs[0].join("report.json");
        fs::remove_file(&report).unwrap();
        make_fifo(&report);
        let error = merge(&all, &dirs, &root.path().join("again"), &sample(), &[]).unwrap_err();
        assert!(matches!(error, MergeError::Report(_)), "{error}");
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let all = cells(2);
        let dirs = [ran(root.path(), "one", &all), ran(root.path(), "again", &all[..1])];
        let into = root.path().join("all");
        let twice = merge(&all, &dirs, &into, &sample(), &[]).unwrap_err();
        assert!(matches!(twice, MergeError::Twice { .. }), "{twice}");
        let stray = merge(&all[..1], &dirs[..1], &into, &sample(), &[]).unwrap_err();
        assert!(matches!(stray, MergeError::Stray { .. }), "{stray}");
        let missing =
            merge(&all, &[root.path().join("nowhere")], &into, &sample(), &[]).unwrap_err();
        assert!(matches!(missing, MergeError::Report(_)), "{missing}");
    }
}
