//! From the directory of a run that has ended to its report.

use std::{collections::BTreeMap, io};

use kernlab_core::outcome::{Outcome, Reason, Verdict};

use super::{
    dir::{RunDir, read_json},
    plan::{CellAttempt, RunPlan},
    repeated,
};
use crate::{
    kernels::{UNKNOWN_RELEASE, Unpacked},
    report::{CellReport, Kernel},
};

/// The file of a cell's report in the directory of its evidence.
pub(crate) const CELL_FILE: &str = "cell.json";

/// A report for every cell of the plan, in its order: a cell that left none did not run.
pub fn cells(dir: &RunDir, plan: &RunPlan) -> io::Result<Vec<CellReport>> {
    let attempt = |attempt: CellAttempt| {
        let evidence = RunDir::evidence(&attempt.to_string());
        let report = read_json(&dir.path().join(evidence).join(CELL_FILE))?;
        Ok(report.unwrap_or_else(|| {
            CellReport::of_verdict(
                &attempt.cell,
                Verdict::because(
                    Outcome::NotRun,
                    Reason::Interrupted,
                    "the run ended before this cell had a verdict",
                ),
            )
        }))
    };
    plan.cells
        .iter()
        .map(|cell| {
            let attempts: io::Result<_> = plan.attempts_at(cell).map(attempt).collect();
            Ok(repeated::combine(attempts?))
        })
        .collect()
}

/// A cell whose guest ran another kernel than the one that the run prepared for it says nothing about
/// its own, whatever it says. `kernels` are those of the run, by id.
pub(super) fn expect_releases(cells: &mut [CellReport], kernels: &BTreeMap<String, Unpacked>) {
    for cell in cells {
        let expected = kernels.get(&cell.kernel).map(|kernel| &kernel.release);
        let (Some(told), Some(expected)) = (&cell.release, expected) else {
            continue;
        };
        if told != expected && expected != UNKNOWN_RELEASE {
            let message = format!("the guest ran the kernel {told}, where {expected} had to boot");
            let verdict = Verdict::because(Outcome::Infra, Reason::WrongKernel, message);
            cell.set_verdict(verdict);
        }
    }
}

/// The kernels of the plan, in its order, with the release that their guests told.
pub fn kernels(plan: &RunPlan, cells: &[CellReport]) -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for cell in cells {
        let known = kernels.iter_mut().find(|kernel| kernel.id == cell.kernel);
        match known {
            Some(kernel) => kernel.release = kernel.release.take().or(cell.release.clone()),
            None => kernels.push(Kernel {
                id: cell.kernel.clone(),
                release: cell.release.clone(),
                unavailable: plan
                    .unavailable
                    .get(&cell.kernel)
                    .map(|verdict| verdict.message.clone()),
            }),
        }
    }
    kernels
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::run::dir::write_json;

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
        write_json(&evidence.join(CELL_FILE), &report).unwrap();

        let cells = cells(&dir, &plan).unwrap();
        assert_eq!(cells[0].outcome, Outcome::NotRun);
        assert_eq!(cells[1], report);
        let kernels = kernels(&plan, &cells);
        assert_eq!(kernels.len(), 1);
        assert_eq!(kernels[0].release.as_deref(), Some("6.1.0"));
    }

    #[rstest]
    #[case::its_own("6.1.0", "6.1.0", None)]
    #[case::another("5.10.0", "6.1.0", Some(Reason::WrongKernel))]
    #[case::nobody_knows("5.10.0", UNKNOWN_RELEASE, None)]
    fn a_pass_on_another_kernel_is_none(
        #[case] told: &str,
        #[case] prepared: &str,
        #[case] expected: Option<Reason>,
    ) {
        let mut cell = CellReport::of_verdict("k/masked/aya/t/a", Verdict::pass());
        cell.release = Some(told.to_owned());
        let kernels = BTreeMap::from([("k".to_owned(), Unpacked::sample("k", prepared))]);
        let mut cells = [cell];
        expect_releases(&mut cells, &kernels);
        assert_eq!(cells[0].reason, expected, "{}", cells[0].message);
    }
}
