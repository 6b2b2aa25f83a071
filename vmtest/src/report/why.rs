//! Why one cell ended as it did: all that a run knows about it, in one text.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use kernlab_core::outcome::Outcome;

use super::{
    CellReport, LoadedObject, Report, SuiteKind, TracerReport,
    regression::{Explanation, NearestPass},
    table::counted,
};
use crate::{
    suite::{run::SUITE, separation::Separation},
    terminal::shown,
};

/// How many of the last lines of standard error are shown.
const STDERR_LINES: usize = 20;
/// How many files are named: a guest may send thousands.
const FILES: usize = 100;

/// What is known about a cell.
#[derive(Clone, Debug)]
pub struct Why<'a> {
    /// The run.
    pub report: &'a Report,
    /// The cell.
    pub cell: &'a CellReport,
    /// The directory of the cell's evidence.
    pub dir: PathBuf,
    /// The files in it, and their sizes in bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// What the tracer wrote to standard error.
    pub stderr: String,
    /// What the kernel lacks of all that the tracer names.
    pub lacking: Vec<String>,
    /// Differences from a kernel on which the cell passes.
    pub explanations: Vec<Explanation>,
    /// What an expectation could say.
    pub separation: Separation,
    /// Why something is not known.
    pub notes: Vec<String>,
}

impl CellReport {
    /// Whether it is a cell of a user's suite, or of a command.
    pub fn is_of_suite(&self) -> bool {
        // Reports of earlier versions have only the command.
        self.backend == SUITE || self.suite.is_some() || self.again.is_some()
    }

    /// The names that a suite's tracer uses, as far as one sees: words of the message and of its
    /// output, the names and types of its BPF objects here, and on a kernel on which it passes, and where
    /// it attaches.
    pub fn names(&self, beside: Option<&CellReport>, output: &str) -> BTreeSet<String> {
        let tracers = [Some(self), beside].into_iter().flatten().filter_map(|c| c.tracer.as_ref());
        let objects = tracers.flat_map(|tracer| tracer.programs.iter().chain(&tracer.maps));
        let objects = objects.flat_map(|object| [object.name.as_str(), object.kind.as_str()]);
        let targets = self.tracer.iter().flat_map(|tracer| &tracer.targets);
        [self.message.as_str(), output]
            .into_iter()
            .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
            .chain(objects)
            .chain(targets.map(String::as_str))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Why { cell, .. } = self;
        writeln!(f, "{}: {}", cell.id(), cell.verdict())?;
        if let Some(reason) = cell.reason {
            writeln!(f, "  {}", reason.meaning())?;
        }
        let release = cell.release.as_deref().unwrap_or("it was not booted");
        let seconds = cell.duration_ms as f64 / 1000.0;
        writeln!(f, "  kernel {}: {release}; the cell took {seconds:.1} s", cell.kernel)?;
        block(f, "message", cell.message.lines())?;
        block(f, "remarks", &cell.remarks)?;
        let attempts = cell.attempts.iter().zip(1..).map(|(attempt, number)| {
            format!("{number}: {}, {}", attempt.outcome.described(attempt.reason), attempt.evidence)
        });
        block(f, "attempts", attempts)?;
        let diff = cell.diff.as_deref().unwrap_or_default();
        block(f, "expected and observed events", diff.lines())?;
        self.last_lines(f)?;
        if let Some(tracer) = &cell.tracer {
            block(f, "the program", tracer_lines(tracer))?;
        }
        self.kernels(f)?;
        let shown = &self.files[..self.files.len().min(FILES)];
        let width = shown.iter().map(|(path, _)| path.as_os_str().len()).max().unwrap_or(0);
        let files = shown.iter().map(|(path, size)| {
            format!("{:width$}  {}", path.display(), counted(usize_of(*size), "byte"))
        });
        let more = self.files.len() - shown.len();
        let more = (more > 0).then(|| format!("and {}", counted(more, "more file")));
        block(f, &format!("evidence in {}", self.dir.display()), files.chain(more))?;
        writeln!(f, "\nagain: {}", cell.repro_command())?;
        if cell.suite == Some(SuiteKind::Described) {
            writeln!(f, "open a shell: kernlab shell --after {}", cell.id())?;
        }
        Ok(())
    }
}

impl Why<'_> {
    fn last_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.stderr.lines().collect();
        let last = &lines[lines.len().saturating_sub(STDERR_LINES)..];
        // A message may end with the same lines.
        if self.cell.message.ends_with(&last.join("\n")) {
            return Ok(());
        }
        let title = match lines.len() > last.len() {
            true => format!("the last of {} lines of standard error", lines.len()),
            false => "standard error".to_owned(),
        };
        block(f, &title, last)
    }

    /// What the kernels' dossiers say.
    fn kernels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = &self.cell.kernel;
        block(f, &format!("what {kernel} lacks of what the program names"), &self.lacking)?;
        for explanation in Explanation::together(&self.explanations) {
            block(f, &explanation.title(), explanation.changes)?;
        }
        if self.cell.outcome != Outcome::Pass
            && let Some(pass) = NearestPass::of(self.report, self.cell)
        {
            let beside = &pass.0.kernel;
            let used = tracer_differences(self.cell, pass.0);
            block(f, &format!("loaded on {kernel}, but not on {beside}"), used.0)?;
            // If it ended by itself, nothing that it had loaded was seen.
            let was_seen =
                |tracer: &TracerReport| tracer.ready_ms.is_some() || !tracer.programs.is_empty();
            if self.cell.tracer.as_ref().is_some_and(was_seen) {
                block(f, &format!("what it loaded on {beside} and not on {kernel}"), used.1)?;
            }
            let command = format!("kernlab kernels diff {beside} {kernel}");
            block(f, &format!("the nearest kernel on which it passes: {beside}"), [command])?;
        }
        self.expectation(f)?;
        block(f, "not known", &self.notes)
    }

    /// Conditions for an expectation, if that is what the user wants.
    fn expectation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Separation { conditions, by_chance } = &self.separation;
        let title = match by_chance {
            false => "what separates this kernel from those on which it passes, for `expect`",
            true => {
                "what separates this kernel from those on which it passes, by chance, as nothing that the \
                 program names does"
            }
        };
        block(f, title, conditions.iter().map(|condition| format!("when = '{condition}'")))
    }
}

/// Lines with a title; nothing without lines.
fn block(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl IntoIterator<Item = impl AsRef<str>>,
) -> fmt::Result {
    for (number, line) in lines.into_iter().enumerate() {
        if number == 0 {
            writeln!(f, "\n{title}")?;
        }
        writeln!(f, "  {}", shown(line.as_ref()))?;
    }
    Ok(())
}

fn tracer_lines(tracer: &TracerReport) -> Vec<String> {
    let mut end =
        tracer.end().map_or_else(|| "its end was not seen".to_owned(), |end| end.to_string());
    if let Some(duration) = tracer.duration_ms {
        end += &format!(" after {duration} ms");
    }
    if let Some(ready) = tracer.ready_ms {
        end += &format!(", ready after {ready} ms");
    }
    let mut lines = vec![end];
    for program in &tracer.programs {
        let LoadedObject { name, kind, verified_instructions, missed_runs, load_us } = program;
        let mut line = format!("program {} ({kind})", named(name));
        if let Some(count) = verified_instructions {
            line += &format!(", {count} instructions verified");
        }
        if let Some(count) = missed_runs {
            line += &format!(", {count} runs skipped by the kernel");
        }
        if let Some(time) = load_us {
            line += &format!(", loaded in {} ms", time.div_ceil(1000));
        }
        lines.push(line);
    }
    let maps = tracer.maps.iter().map(|map| format!("map {} ({})", named(&map.name), map.kind));
    lines.extend(maps);
    lines
}

fn named(name: &str) -> &str {
    if name.is_empty() { "without a name" } else { name }
}

/// The BPF objects that only one of two cells has: those of the first, and those of the second.
fn tracer_differences(cell: &CellReport, other: &CellReport) -> (Vec<String>, Vec<String>) {
    let objects = |cell: &CellReport| {
        cell.tracer.as_ref().map(TracerReport::object_names).unwrap_or_default()
    };
    let (here, there) = (objects(cell), objects(other));
    let only = |ours: &BTreeSet<String>, theirs| ours.difference(theirs).cloned().collect();
    (only(&here, &there), only(&there, &here))
}

fn usize_of(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn everything_about_a_cell() {
        let mut report = sample::suites();
        let map = |name: &str, kind: &str| LoadedObject {
            name: name.to_owned(),
            kind: kind.to_owned(),
            verified_instructions: None,
            missed_runs: None,
            load_us: None,
        };
        let program = LoadedObject {
            name: "handle_open".to_owned(),
            kind: "tracing".to_owned(),
            verified_instructions: Some(812),
            missed_runs: Some(2),
            load_us: None,
        };
        for cell in &mut report.cells {
            cell.release = Some(format!("{}-cloud", cell.kernel.replace("debian-", "")));
        }
        report.cells[0].tracer = Some(TracerReport {
            exit_code: Some(1),
            duration_ms: Some(70),
            programs: vec![program.clone()],
            maps: vec![map("events", "perf_event_array"), map("aaaab4e8.rodata", "array")],
            ..TracerReport::default()
        });
        report.cells[2].set_verdict(kernlab_core::outcome::Verdict::pass());
        report.cells[2].tracer = Some(TracerReport {
            programs: vec![program],
            maps: vec![map("events", "ringbuf"), map("aaab1b58.rodata", "array")],
            ..TracerReport::default()
        });
        let why = Why {
            report: &report,
            cell: &report.cells[0],
            dir: "/runs/r/cells/c".into(),
            files: vec![("console.log".into(), 1234), ("stderr.txt".into(), 1)],
            stderr: "one\ntwo\u{1b}[0m\n".to_owned(),
            lacking: vec!["no map type `ringbuf`".to_owned()],
            explanations: vec![Explanation {
                kernel: "debian-5.10".to_owned(),
                beside: "debian-6.1".to_owned(),
                changes: vec!["map type ringbuf: no on 5.10, yes on 6.1".to_owned()],
            }],
            separation: Separation {
                conditions: vec!["!map_type.ringbuf".to_owned()],
                by_chance: false,
            },
            notes: Vec::new(),
        };
        insta::assert_snapshot!(why);
    }

    #[test]
    fn names_are_words_of_the_output_and_of_objects() {
        let report = sample::suites();
        let cell = &report.cells[0];
        let names = cell.names(None, "failed to attach 'vfs_create': -ENOENT");
        assert!(["vfs_create", "libbpf", "ENOENT"].iter().all(|name| names.contains(*name)));
        assert!(!names.contains(""));
    }
}
