//! The files that a cell writes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::{Component, Path, PathBuf},
};

use kernlab_core::{object_record::ObjectRecord, outcome::Outcome};

use super::dir::{read_json, read_text, write_json};
use crate::{
    lab::{JobOutput, LabError},
    report::CellReport,
    terminal,
    untrusted::{self, Links},
    verdict::Judgement,
};

/// The directory of a cell's evidence. Only this type knows the names of the files in it.
#[derive(Clone, Debug)]
pub(crate) struct CellEvidence(PathBuf);

impl CellEvidence {
    const REPORT: &str = "cell.json";
    const EVENTS: &str = "events.txt";
    const CONSOLE: &str = "console.log";
    const PRIMED_CONSOLE: &str = "primed.log";
    const KERNEL_LOG: &str = "kernel.log";
    const VERIFIER_LOG: &str = "verifier.log";
    const LOST_GUEST: &str = "guest.txt";
    const STDOUT: &str = "stdout.txt";
    const STDERR: &str = "stderr.txt";
    const COLLECTED: &str = "collected";

    /// The evidence in a directory, which may not exist.
    pub(crate) fn at(dir: PathBuf) -> Self {
        CellEvidence(dir)
    }

    /// Makes the directory.
    pub(crate) fn create(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(CellEvidence(dir))
    }

    /// The file that captures the console of the cell's guest.
    pub(crate) fn console_file(&self) -> PathBuf {
        self.0.join(Self::CONSOLE)
    }

    /// The file that captures the console of the guest that is primed and saved, and runs no cell.
    pub(crate) fn primed_console_file(&self) -> PathBuf {
        self.0.join(Self::PRIMED_CONSOLE)
    }

    /// What the console printed; empty if the file can't be read.
    pub(crate) fn console(&self) -> String {
        let console = untrusted::read(&self.console_file(), Links::Refuse).unwrap_or_default();
        String::from_utf8_lossy(&console).into_owned()
    }

    /// Keeps the kernel's log.
    pub(crate) fn keep_kernel_log(&self, log: &str) -> io::Result<()> {
        fs::write(self.0.join(Self::KERNEL_LOG), log)
    }

    /// Keeps what a suite's tracer wrote, and the conductor's reports, as far as they arrived.
    pub(crate) fn keep_streams(
        &self,
        stdout: &[u8],
        stderr: &[u8],
        reports: &[u8],
    ) -> io::Result<()> {
        let mut kept = Ok(());
        for (name, bytes) in
            [("record.jsonl", reports), (Self::STDOUT, stdout), (Self::STDERR, stderr)]
        {
            if !bytes.is_empty() {
                kept = kept.and(fs::write(self.0.join(name), bytes));
            }
        }
        kept
    }

    /// Keeps the files that were brought back from a guest. Their paths are the guest's, so nothing
    /// but names is taken from them. Returns those that this machine can't keep, and why.
    pub(crate) fn keep_collected(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> BTreeMap<String, String> {
        let kept = files.iter().map(|(path, bytes)| {
            let place = self.0.join(Self::COLLECTED).join(collected_name(path)?);
            fs::create_dir_all(place.parent().unwrap_or(&self.0))?;
            // Two paths of the guest may be one here.
            File::create_new(place)?.write_all(bytes)
        });
        let failed = files.keys().zip(kept).filter_map(|(path, kept)| {
            let error = kept.err()?;
            Some((path.clone(), error.to_string()))
        });
        failed.collect()
    }

    /// What a suite's tracer wrote to standard output and to standard error.
    pub(crate) fn streams(&self) -> (Vec<u8>, Vec<u8>) {
        let read = |name| untrusted::read(&self.0.join(name), Links::Refuse).unwrap_or_default();
        (read(Self::STDOUT), read(Self::STDERR))
    }

    /// The same, at most so many bytes of each.
    pub(crate) fn starts_of_streams(&self, limit: u64) -> (Vec<u8>, Vec<u8>) {
        let read = |name| {
            untrusted::read_start(&self.0.join(name), Links::Refuse, limit).unwrap_or_default()
        };
        (read(Self::STDOUT), read(Self::STDERR))
    }

    /// Keeps the tracer's output.
    pub(crate) fn keep_output(&self, output: &JobOutput) -> io::Result<()> {
        for (name, bytes) in [
            ("record.json", &output.result),
            (Self::STDOUT, &output.stdout),
            (Self::STDERR, &output.stderr),
        ] {
            if !bytes.is_empty() {
                fs::write(self.0.join(name), bytes)?;
            }
        }
        Ok(())
    }

    /// Keeps the evidence of a lost guest.
    pub(crate) fn keep_lost_guest(&self, error: &LabError) -> io::Result<()> {
        let evidence = error.evidence();
        let text = format!("{}\n\nto boot it again: {}\n", evidence.console, evidence.reproduce);
        fs::write(self.0.join(Self::LOST_GUEST), text)
    }

    /// Keeps what a verdict rests on.
    pub(crate) fn keep_judgement(&self, judgement: &Judgement) -> io::Result<()> {
        let Judgement { events, verifier_log, .. } = judgement;
        for (name, text) in [(Self::EVENTS, events), (Self::VERIFIER_LOG, verifier_log)] {
            if let Some(text) = text {
                fs::write(self.0.join(name), text)?;
            }
        }
        Ok(())
    }

    /// Keeps the verifier's logs of a BPF object's programs.
    pub(crate) fn keep_verifier_logs(&self, record: &ObjectRecord) {
        let logs = record.programs.iter().filter_map(|program| {
            let log = program.verifier_log.as_ref()?;
            Some(format!("{}:\n{}\n", program.name, log.trim_end()))
        });
        let text: String = logs.collect();
        if !text.is_empty() {
            let _ = fs::write(self.0.join(Self::VERIFIER_LOG), text);
        }
    }

    /// Keeps the cell's report.
    pub(crate) fn keep_report(&self, report: &CellReport) -> io::Result<()> {
        write_json(&self.0.join(Self::REPORT), report)
    }

    /// The cell's report, if the cell wrote one.
    pub(crate) fn report(&self) -> io::Result<Option<CellReport>> {
        read_json(&self.0.join(Self::REPORT))
    }

    /// The files that a person reads about a cell with this outcome, which may not exist, and what each
    /// of them is.
    pub(crate) fn texts(&self, outcome: Outcome) -> Vec<(&'static str, PathBuf)> {
        const ALL: [(&str, &str); 7] = [
            ("events", CellEvidence::EVENTS),
            ("standard output", CellEvidence::STDOUT),
            ("standard error", CellEvidence::STDERR),
            ("verifier", CellEvidence::VERIFIER_LOG),
            ("lost guest", CellEvidence::LOST_GUEST),
            ("kernel log", CellEvidence::KERNEL_LOG),
            ("console", CellEvidence::CONSOLE),
        ];
        // Of a pass there is little to tell.
        let count = if outcome == Outcome::Pass { 2 } else { ALL.len() };
        ALL[..count].iter().map(|(label, name)| (*label, self.0.join(name))).collect()
    }

    /// The events as text, if there are any.
    pub(crate) fn events(&self) -> io::Result<Option<String>> {
        read_text(&self.0.join(Self::EVENTS))
    }

    /// The verifier's log, if there is one.
    pub(crate) fn verifier_log(&self) -> Option<String> {
        self.text(Self::VERIFIER_LOG)
    }

    /// What to read about the guest: the end of its console, or its kernel's log.
    pub(crate) fn guest(&self) -> Option<String> {
        self.text(Self::LOST_GUEST).or_else(|| self.text(Self::KERNEL_LOG))
    }

    /// All files, by their paths in the directory, and their sizes in bytes. Links are not followed.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        let mut dirs = vec![self.0.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => dirs.push(path),
                    Ok(metadata) if metadata.is_file() => {
                        let path = path.strip_prefix(&self.0).unwrap_or(&path).to_owned();
                        files.push((path, metadata.len()));
                    }
                    _ => {}
                }
            }
        }
        files.sort();
        files
    }

    fn text(&self, name: &str) -> Option<String> {
        read_text(&self.0.join(name)).ok()?
    }

    /// Keeps the events as they were compared.
    pub(crate) fn keep_events(&self, events: Option<&str>) -> io::Result<()> {
        events.map_or(Ok(()), |events| fs::write(self.0.join(Self::EVENTS), events))
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// What the archives of CI services accept in no name: github.com/actions/toolkit,
/// packages/artifact/src/internal/upload/path-and-artifact-name-validation.ts.
const NOT_IN_ARCHIVES: [char; 7] = ['"', ':', '<', '>', '|', '*', '?'];

/// Where a file of a guest is kept, below the directory of collected files. Line ends, characters that act
/// on a terminal, and those that no archive takes are written as `%1b`: not every tool that is given a name
/// is careful.
fn collected_name(path: &str) -> io::Result<PathBuf> {
    let names = Path::new(path).components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    let mut place = PathBuf::new();
    for name in names {
        let mut kept = String::with_capacity(name.len());
        for character in name.chars() {
            let is_refused = NOT_IN_ARCHIVES.contains(&character);
            if is_refused || character.is_control() || terminal::acts(character) {
                let _ = write!(kept, "%{:02x}", u32::from(character));
            } else {
                kept.push(character);
            }
        }
        place.push(kept);
    }
    match place.as_os_str().is_empty() {
        true => Err(io::Error::new(io::ErrorKind::InvalidFilename, "it has no name")),
        false => Ok(place),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::absolute("/etc/passwd", "etc/passwd")]
    #[case::above("../../../x", "x")]
    #[case::above_in_the_middle("a/../../b/./c", "a/b/c")]
    #[case::with_an_escape("/tmp/\u{1b}[2J\n\u{202e}\u{9b}", "tmp/%1b[2J%0a%202e%9b")]
    #[case::with_a_zero("/a\0b", "a%00b")]
    #[case::that_no_archive_takes("/tmp/a:b*?\"<>|", "tmp/a%3ab%2a%3f%22%3c%3e%7c")]
    #[case::plain("/tmp/a=b c ä", "tmp/a=b c ä")]
    fn names_of_a_guest_stay_below_its_directory(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(collected_name(path).unwrap(), Path::new(expected));
    }

    #[test]
    fn what_can_not_be_kept_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let evidence = CellEvidence::create(dir.path().join("cell")).unwrap();
        let long = format!("/{}", "n".repeat(300));
        let paths = ["/", "..", "/a", "/a/b", "/../a", "/well", &long];
        let files = paths.map(|path| (path.to_owned(), path.as_bytes().to_vec())).into();
        let failed = evidence.keep_collected(&files);
        let expected = ["..", "/", "/a", "/a/b", &long];
        assert_eq!(failed.keys().collect::<Vec<_>>(), expected);
        let names: Vec<_> = evidence.files().into_iter().map(|(path, _)| path).collect();
        assert_eq!(names, [Path::new("collected/a"), Path::new("collected/well")]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
