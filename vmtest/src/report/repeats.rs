//! The sum of several runs of one matrix, whole or in parts: how often each cell ran, and which cells
//! ended with different verdicts.

use std::{collections::BTreeMap, fmt};

use kernlab_core::outcome::{Outcome, Reason, Severity};
use serde::Serialize;

use super::{CellReport, Report, Tally, pretty_json};

/// The version of a sum's JSON. New fields don't change it; a new meaning of a field does.
pub const SCHEMA: u32 = 1;

/// What several runs say together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repeats {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The names of the runs.
    pub runs: Vec<String>,
    /// How many cells there are, each counted once.
    pub cells: usize,
    /// How many times cells ran, by outcome; a repeated cell counts as often as it was repeated.
    pub outcomes: BTreeMap<String, usize>,
    /// The cells whose verdicts differ, in the order of the first run that has them.
    pub changed: Vec<Changed>,
    /// Whether a cell has different verdicts that are conclusive: a pass and an `infra` don't disagree.
    #[serde(skip)]
    disagree: bool,
    /// The cells that ended alike every time, and not as expected.
    pub failing: Vec<Changed>,
    /// Kernels whose release or package is not the same in all runs: what differs there may be the kernel.
    pub kernels: Vec<String>,
}

/// A cell with its verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// `kernel/btf/backend/tracer/scenario`.
    pub cell: String,
    /// Each verdict, most frequent first.
    pub verdicts: Vec<Counted>,
}

/// A verdict, and where it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// `pass`, or `fail (events-differ)`.
    pub verdict: String,
    /// How many times.
    pub times: usize,
    /// The runs in which it came about, each once.
    pub runs: Vec<String>,
    /// The message of the first time; empty for a pass.
    pub message: String,
}

/// A verdict as it is counted.
type Key = (Outcome, Option<Reason>);

/// How often a cell ended with one verdict.
#[derive(Default)]
struct Times<'a> {
    count: usize,
    runs: Vec<&'a str>,
    message: &'a str,
}

impl Repeats {
    /// Adds up runs.
    pub fn of(reports: &[Report]) -> Self {
        let mut order: Vec<String> = Vec::new();
        let mut cells: BTreeMap<String, BTreeMap<Key, Times<'_>>> = BTreeMap::new();
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for report in reports {
            for cell in &report.cells {
                let id = cell.id();
                let verdicts = cells.entry(id.clone()).or_insert_with(|| {
                    order.push(id);
                    BTreeMap::new()
                });
                for (outcome, reason, message) in attempts(cell) {
                    *outcomes.entry(outcome.name().to_owned()).or_default() += 1;
                    let times = verdicts.entry((outcome, reason)).or_default();
                    if times.count == 0 {
                        times.message = message;
                    }
                    times.count += 1;
                    if times.runs.last() != Some(&report.run.id.as_str()) {
                        times.runs.push(&report.run.id);
                    }
                }
            }
        }
        let mut repeats = Repeats {
            schema: SCHEMA,
            runs: reports.iter().map(|report| report.run.id.clone()).collect(),
            cells: order.len(),
            outcomes,
            changed: Vec::new(),
            disagree: false,
            failing: Vec::new(),
            kernels: other_kernels(reports),
        };
        for id in order {
            let Some(verdicts) = cells.remove(&id) else { continue };
            // An inconclusive attempt does not disagree with the others, and is told nonetheless.
            let is_expected =
                verdicts.keys().all(|(outcome, _)| outcome.severity() == Severity::Expected);
            let differ = verdicts.len() > 1;
            let is_conclusive = |(outcome, _): &&Key| outcome.severity() != Severity::Inconclusive;
            repeats.disagree |= verdicts.keys().filter(is_conclusive).count() > 1;
            if !differ && is_expected {
                continue;
            }
            let cell = Changed { cell: id, verdicts: counted(verdicts) };
            if differ { &mut repeats.changed } else { &mut repeats.failing }.push(cell);
        }
        repeats
    }

    /// The worst that is known of any cell. A cell whose verdicts differ is a failure; an inconclusive one
    /// doesn't disagree with others.
    pub fn severity(&self, reports: &[Report]) -> Severity {
        let worst = reports.iter().map(|report| Tally::of(&report.cells).severity()).max();
        match self.disagree {
            true => Severity::Failure,
            false => worst.unwrap_or(Severity::Inconclusive),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        pretty_json(self)
    }
}

/// Every attempt at a cell: several, if the run repeated it.
fn attempts(cell: &CellReport) -> Vec<(Outcome, Option<Reason>, &str)> {
    match &cell.attempts[..] {
        [] => vec![(cell.outcome, cell.reason, &cell.message)],
        attempts => attempts
            .iter()
            .map(|attempt| (attempt.outcome, attempt.reason, attempt.message.as_str()))
            .collect(),
    }
}

fn counted(verdicts: BTreeMap<Key, Times<'_>>) -> Vec<Counted> {
    let mut counted: Vec<Counted> = verdicts
        .into_iter()
        .map(|((outcome, reason), times)| Counted {
            verdict: outcome.described(reason),
            times: times.count,
            runs: times.runs.into_iter().map(str::to_owned).collect(),
            message: super::in_a_line(times.message),
        })
        .collect();
    counted.sort_by_key(|counted| std::cmp::Reverse(counted.times));
    counted
}

/// Kernels that are not the same in all runs that have them.
fn other_kernels(reports: &[Report]) -> Vec<String> {
    let mut known: BTreeMap<(&str, &str), String> = BTreeMap::new();
    let mut others = Vec::new();
    for kernel in reports.iter().flat_map(|report| &report.kernels) {
        // A run that did not get as far knows no release, and an image need not have a digest.
        let digest = kernel.sha256.as_ref().map(ToString::to_string);
        for (what, this) in [("release", kernel.release.clone()), ("sha256", digest)] {
            let Some(this) = this else { continue };
            let first = known.entry((&kernel.id, what)).or_insert_with(|| this.clone());
            if *first != this && !others.contains(&kernel.id) {
                others.push(kernel.id.clone());
            }
        }
    }
    others
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times: usize = self.outcomes.values().sum();
        let count = |count: usize, one: &str, many: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {many}"),
        };
        writeln!(
            f,
            "{}: {}, {}",
            count(self.runs.len(), "run", "runs"),
            count(self.cells, "cell", "cells"),
            count(times, "verdict", "verdicts")
        )?;
        let outcomes = Outcome::ALL.iter().filter_map(|outcome| {
            Some(format!("{} {outcome}", self.outcomes.get(outcome.name())?))
        });
        writeln!(f, "  {}", outcomes.collect::<Vec<_>>().join(", "))?;
        for kernel in &self.kernels {
            writeln!(f, "{kernel} is not the same kernel in all runs")?;
        }
        for (title, cells) in [
            ("ended with different verdicts", &self.changed),
            ("failed the same way every time", &self.failing),
        ] {
            if cells.is_empty() {
                continue;
            }
            writeln!(f, "\n{} {title}:", count(cells.len(), "cell", "cells"))?;
            for Changed { cell, verdicts } in cells {
                writeln!(f, "  {cell}")?;
                for Counted { verdict, times, runs, message } in verdicts {
                    write!(f, "    {times} x {verdict}, in {}", runs.join(", "))?;
                    writeln!(f, "{}{message}", if message.is_empty() { "" } else { ": " })?;
                }
            }
        }
        if self.changed.is_empty() {
            writeln!(f, "no cell changed its verdict")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::Verdict;

    use super::*;
    use crate::report::{AttemptReport, Kernel, Run};

    fn cell(id: &str, letter: char) -> CellReport {
        let verdict = match letter {
            'p' => Verdict::pass(),
            'f' => Verdict::because(Outcome::Fail, Reason::EventsDiffer, "they differ"),
            _ => Verdict::because(Outcome::Infra, Reason::BootTimeout, "no guest"),
        };
        CellReport::of_verdict(&format!("k/masked/aya/t/{id}"), verdict)
    }

    /// A run with a cell for each letter, by name.
    fn report(name: &str, cells: &[(&str, char)]) -> Report {
        Report {
            run: Run { id: name.to_owned(), ..Run::default() },
            cells: cells.iter().map(|&(id, letter)| cell(id, letter)).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn runs_add_up_and_what_changed_has_its_name() {
        let reports = [
            report("one", &[("a", 'p'), ("b", 'p'), ("c", 'f')]),
            report("two", &[("a", 'p'), ("b", 'f'), ("c", 'f')]),
            // A part.
            report("three", &[("b", 'p')]),
        ];
        let repeats = Repeats::of(&reports);
        assert_eq!(
            repeats.to_string(),
            "3 runs: 3 cells, 7 verdicts\n  4 pass, 3 fail\n\n\
             1 cell ended with different verdicts:\n  k/masked/aya/t/b\n    \
             2 x pass, in one, three\n    1 x fail (events-differ), in two: they differ\n\n\
             1 cell failed the same way every time:\n  k/masked/aya/t/c\n    \
             2 x fail (events-differ), in one, two: they differ\n"
        );
        assert_eq!(repeats.severity(&reports), Severity::Failure);
    }

    #[test]
    fn attempts_of_a_run_count_each() {
        let of_run = report;
        let mut report = of_run("one", &[("a", 'p')]);
        let attempt = |letter| {
            let cell = cell("a", letter);
            AttemptReport {
                outcome: cell.outcome,
                reason: cell.reason,
                message: cell.message,
                duration_ms: 0,
                evidence: String::new(),
            }
        };
        report.cells[0].attempts = vec![attempt('p'), attempt('p'), attempt('i')];
        let repeats = Repeats::of(&[report]);
        assert_eq!((repeats.cells, repeats.outcomes["pass"], repeats.outcomes["infra"]), (1, 2, 1));
        assert_eq!(repeats.changed[0].verdicts[1].verdict, "infra (boot-timeout)");
        // As in a run that repeats its cells: nothing is known of a cell that was not judged once.
        let reports = [of_run("one", &[("a", 'p')]), of_run("two", &[("a", 'i')])];
        assert_eq!(Repeats::of(&reports).severity(&reports), Severity::Inconclusive);
    }

    #[test]
    fn what_never_changed_is_said() {
        let reports = [report("one", &[("a", 'p')]), report("two", &[("a", 'p')])];
        let repeats = Repeats::of(&reports);
        assert_eq!(
            repeats.to_string(),
            "2 runs: 1 cell, 2 verdicts\n  2 pass\nno cell changed its verdict\n"
        );
        assert_eq!(repeats.severity(&reports), Severity::Expected);
    }

    #[test]
    fn another_kernel_is_told() {
        let image = |digit: char| Some(digit.to_string().repeat(64).parse().unwrap());
        let of_image = |release: Option<&str>, sha256| Report {
            kernels: vec![Kernel {
                id: "k".to_owned(),
                arch: None,
                release: release.map(str::to_owned),
                unavailable: None,
                sha256,
            }],
            ..report("one", &[("a", 'p')])
        };
        let of = |release| of_image(release, None);
        let same = [of_image(Some("6.1.0"), image('1')), of_image(None, image('1'))];
        assert!(Repeats::of(&same).kernels.is_empty());
        let other = [of_image(Some("6.1.0"), image('1')), of_image(None, image('2'))];
        assert_eq!(Repeats::of(&other).kernels, ["k"]);
        assert!(Repeats::of(&[of(Some("6.1.0")), of(None)]).kernels.is_empty());
        assert_eq!(Repeats::of(&[of(Some("6.1.0")), of(Some("6.1.1"))]).kernels, ["k"]);
    }
}
