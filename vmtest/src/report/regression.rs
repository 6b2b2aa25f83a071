//! What a kernel does otherwise than another one of the same run.

use std::{collections::BTreeMap, fmt};

use kernlab_core::{
    cell::BtfMode,
    dossier::diff::Difference,
    outcome::{Outcome, Severity},
};
use serde::Serialize;

use super::{CellReport, Report};

/// A kernel beside the one that is most like it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Regression {
    /// The kernel that was added.
    pub kernel: String,
    /// The one that it is compared with.
    pub neighbour: String,
    /// Cells with another verdict than the neighbour's, in the order of the report.
    pub changes: Vec<CellChange>,
    /// How many cells have the same verdict.
    pub same: usize,
    /// Cells that the neighbour has no counterpart of.
    pub alone: Vec<String>,
    /// What changed in the kernel, from the neighbour on, if both have a dossier.
    pub difference: Option<Difference>,
}

/// A cell with another verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellChange {
    /// `btf/backend/tracer/scenario`
    pub cell: String,
    /// Whether that is bad.
    pub direction: Direction,
    /// The neighbour's verdict.
    pub old: String,
    /// The kernel's.
    pub new: String,
    /// Why, in the kernel's report.
    pub message: String,
}

/// Whether a change is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// It did more, or better, on the neighbour.
    Worse,
    /// It does not work on either, for different reasons.
    Otherwise,
    /// It does more than on the neighbour.
    Better,
}

impl Regression {
    /// Compares two kernels of a run.
    pub fn of(
        report: &Report,
        neighbour: &str,
        kernel: &str,
        difference: Option<Difference>,
    ) -> Self {
        let of_kernel =
            |id: &str| report.cells.iter().filter(|cell| cell.kernel == id).collect::<Vec<_>>();
        let counterparts: BTreeMap<String, &CellReport> =
            of_kernel(neighbour).into_iter().map(|cell| (place(cell), cell)).collect();
        let mut regression = Regression {
            kernel: kernel.to_owned(),
            neighbour: neighbour.to_owned(),
            changes: Vec::new(),
            same: 0,
            alone: Vec::new(),
            difference,
        };
        for new in of_kernel(kernel) {
            let cell = format!("{}/{}/{}", new.btf, new.backend, new.scenario);
            match counterparts.get(&place(new)) {
                None => regression.alone.push(cell),
                Some(old) if (old.outcome, old.reason) == (new.outcome, new.reason) => {
                    regression.same += 1;
                }
                Some(old) => regression.changes.push(CellChange {
                    cell,
                    direction: direction(old.outcome, new.outcome),
                    old: verdict(old),
                    new: verdict(new),
                    message: new.message.clone(),
                }),
            }
        }
        regression
    }
}

/// What identifies a cell among those of its kernel. Without BTF is without BTF, hidden or not.
fn place(cell: &CellReport) -> String {
    let absent = BtfMode::Absent.name();
    let btf = if cell.btf == absent { BtfMode::Masked.name() } else { &cell.btf };
    format!("{btf}/{}/{}", cell.backend, cell.scenario)
}

fn verdict(cell: &CellReport) -> String {
    let reason = cell.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{}{reason}", cell.outcome)
}

fn direction(old: Outcome, new: Outcome) -> Direction {
    let rank = |outcome: Outcome| match (outcome, outcome.severity()) {
        (Outcome::Pass, _) => 0,
        (_, Severity::Expected) => 1,
        _ => 2,
    };
    match rank(new).cmp(&rank(old)) {
        std::cmp::Ordering::Greater => Direction::Worse,
        std::cmp::Ordering::Equal => Direction::Otherwise,
        std::cmp::Ordering::Less => Direction::Better,
    }
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |direction| self.changes.iter().filter(|change| change.direction == direction).count();
        writeln!(
            f,
            "{} beside {}: {} cells are the same, {} worse, {} better, {} otherwise",
            self.kernel,
            self.neighbour,
            self.same,
            count(Direction::Worse),
            count(Direction::Better),
            count(Direction::Otherwise)
        )?;
        for CellChange { cell, old, new, message, .. } in &self.changes {
            writeln!(f, "  {cell}: {old} -> {new}")?;
            if !message.is_empty() {
                writeln!(f, "    {message}")?;
            }
        }
        if !self.alone.is_empty() {
            writeln!(f, "  only here: {}", self.alone.join(", "))?;
        }
        match &self.difference {
            None => Ok(()),
            Some(difference) => {
                let (old, new) = (&difference.old, &difference.new);
                write!(f, "\nwhat changed for the tracers from {old} to {new}:\n\n{difference}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Reason, Verdict};

    use super::*;
    use crate::report::Run;

    fn cell(id: &str, outcome: Outcome) -> CellReport {
        let verdict = match outcome {
            Outcome::Pass => Verdict::pass(),
            other => Verdict::because(other, Reason::MissingSymbol, "no such symbol"),
        };
        CellReport::of_verdict(id, verdict)
    }

    #[test]
    fn what_got_worse_is_told_apart_from_what_got_better() {
        let cells = vec![
            cell("old/embedded/aya/t/same", Outcome::Pass),
            cell("old/embedded/aya/t/lost", Outcome::Pass),
            cell("old/embedded/aya/t/won", Outcome::Unsupported),
            cell("old/masked/aya/t/same", Outcome::Pass),
            cell("new/embedded/aya/t/same", Outcome::Pass),
            cell("new/embedded/aya/t/lost", Outcome::Unsupported),
            cell("new/embedded/aya/t/won", Outcome::Pass),
            cell("new/absent/aya/t/same", Outcome::Pass),
            cell("new/external/aya/t/same", Outcome::Pass),
        ];
        let run = Run {
            id: String::new(),
            started: String::new(),
            duration_ms: 0,
            selectors: vec![],
            jobs: 1,
            repeat: std::num::NonZeroU32::MIN,
            exit_code: 0,
        };
        let report = Report { schema: 1, run, kernels: vec![], cells };
        insta::assert_snapshot!(Regression::of(&report, "old", "new", None), @r"
        new beside old: 2 cells are the same, 1 worse, 1 better, 0 otherwise
          embedded/aya/t/lost: pass -> unsupported (missing-symbol)
            no such symbol
          embedded/aya/t/won: unsupported (missing-symbol) -> pass
          only here: external/aya/t/same
        ");
    }
}
