//! Collects the report of a run from its directory after the cells have ended.

use std::{collections::BTreeMap, io};

use kernlab_kernels::Entry;

use super::{
    dir::RunDir,
    evidence::CellEvidence,
    plan::{CellAttempt, RunPlan},
};
use crate::{
    report::{CellReport, Kernel},
    verdict,
};

/// A report for every cell of the plan, in its order: `unwritten` has those of attempts that are not in the
/// directory. A cell that left no report did not run.
pub fn cells(
    dir: &RunDir,
    plan: &RunPlan,
    unwritten: &BTreeMap<String, CellReport>,
) -> io::Result<Vec<CellReport>> {
    let attempt = |attempt: CellAttempt| {
        let name = attempt.to_string();
        if let Some(report) = unwritten.get(&name) {
            return Ok(report.clone());
        }
        let report = CellEvidence::at(dir.path().join(RunDir::evidence(&name))).report()?;
        Ok(report.unwrap_or_else(|| {
            CellReport::of_verdict(&attempt.cell, verdict::of_unfinished_cell())
        }))
    };
    plan.cells
        .iter()
        .map(|cell| {
            let attempts: io::Result<_> = plan.attempts_at(cell).map(attempt).collect();
            Ok(verdict::combine(attempts?))
        })
        .collect()
}

/// The kernels of the plan, in its order, with the release that their guests reported. `entries` are
/// those of the matrix.
pub fn kernels(plan: &RunPlan, entries: &[Entry], cells: &[CellReport]) -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for cell in cells {
        let known = kernels.iter_mut().find(|kernel| kernel.id == cell.kernel);
        match known {
            Some(kernel) => kernel.release = kernel.release.take().or(cell.release.clone()),
            None => kernels.push(Kernel {
                id: cell.kernel.clone(),
                arch: entries.iter().find(|entry| entry.id == cell.kernel).map(|entry| entry.arch),
                release: cell.release.clone(),
                unavailable: plan
                    .unavailable
                    .get(&cell.kernel)
                    .map(|verdict| verdict.message.clone()),
                sha256: plan.kernels.get(&cell.kernel).and_then(|kernel| kernel.sha256),
            }),
        }
    }
    kernels
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Outcome, Reason, Verdict};

    use super::*;

    #[test]
    fn a_cell_without_a_report_did_not_run() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::create(root.path()).unwrap();
        let plan = RunPlan::of(
            vec!["k/masked/aya/t/a".into(), "k/masked/aya/t/b".into()],
            "/nonexistent".into(),
        );
        let mut report = CellReport::of_verdict(&plan.cells[1], Verdict::pass());
        report.release = Some("6.1.0".into());
        let evidence = dir.create_evidence(&plan.cells[1]).unwrap();
        evidence.keep_report(&report).unwrap();

        let failure = Verdict::because(Outcome::Fail, Reason::EventsDiffer, "two events");
        let failed = CellReport::of_verdict(&plan.cells[0], failure);
        let unwritten = [(plan.cells[0].clone(), failed.clone())].into();
        assert_eq!(super::cells(&dir, &plan, &unwritten).unwrap(), [failed, report.clone()]);
        let cells = cells(&dir, &plan, &BTreeMap::new()).unwrap();
        assert_eq!(cells[0].outcome, Outcome::NotRun);
        assert_eq!(cells[1], report);
        let kernels = kernels(&plan, &[], &cells);
        assert_eq!(kernels.len(), 1);
        assert_eq!(kernels[0].release.as_deref(), Some("6.1.0"));
    }
}
