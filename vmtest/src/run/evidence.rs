//! The files that a cell writes.

use std::{fs, io, path::PathBuf};

use super::dir::{read_json, read_text, write_json};
use crate::{
    lab::{JobOutput, LabError},
    report::CellReport,
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
        let console = fs::read(self.console_file()).unwrap_or_default();
        String::from_utf8_lossy(&console).into_owned()
    }

    /// Keeps the kernel's log.
    pub(crate) fn keep_kernel_log(&self, log: &str) -> io::Result<()> {
        fs::write(self.0.join(Self::KERNEL_LOG), log)
    }

    /// Keeps the tracer's output.
    pub(crate) fn keep_output(&self, output: &JobOutput) -> io::Result<()> {
        for (name, bytes) in [
            ("record.json", &output.result),
            ("stdout.txt", &output.stdout),
            ("stderr.txt", &output.stderr),
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
        let text = format!("{}\n\nboot it again with: {}\n", evidence.console, evidence.reproduce);
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

    /// Keeps the cell's report.
    pub(crate) fn keep_report(&self, report: &CellReport) -> io::Result<()> {
        write_json(&self.0.join(Self::REPORT), report)
    }

    /// The cell's report, if the cell wrote one.
    pub(crate) fn report(&self) -> io::Result<Option<CellReport>> {
        read_json(&self.0.join(Self::REPORT))
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

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.join(name)).ok()
    }

    #[cfg(test)]
    pub(crate) fn keep_events(&self, events: &str) {
        fs::write(self.0.join(Self::EVENTS), events).unwrap();
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}
