//! How the time of a run was spent.

use std::fmt::Write as _;

use super::Report;

/// The stages of a cell, in order. Those of the tracer program are parts of `trace`.
const STAGES: [&str; 14] = [
    "prepare",
    "first of its kernel",
    "guest",
    "trace",
    "trace/facts",
    "trace/plan",
    "trace/prepare workload",
    "trace/load",
    "trace/attach",
    "trace/workload",
    "trace/finish",
    "trace/start and end",
    "kernel log",
    "judge",
];

/// A line per stage, with the median, the minimum, the maximum and the sum over all cells, and its
/// share of the cells' time.
pub fn profile(report: &Report) -> String {
    let mut text = format!(
        "{:24} {:>9} {:>9} {:>9} {:>10} {:>6}\n",
        "stage of a cell", "median", "min", "max", "sum", "part"
    );
    let all: u64 = report.cells.iter().map(|cell| cell.duration_ms).fold(0, u64::saturating_add);
    let stage = |name: &str| {
        report.cells.iter().filter_map(|cell| cell.stages_ms.get(name).copied()).collect()
    };
    let whole = report.cells.iter().map(|cell| cell.duration_ms).collect();
    for (name, times) in STAGES.map(|name| (name, stage(name))).into_iter().chain([("all", whole)])
    {
        let mut times: Vec<u64> = times;
        times.sort_unstable();
        let (Some(min), Some(max)) = (times.first(), times.last()) else { continue };
        let sum: u64 = times.iter().copied().fold(0, u64::saturating_add);
        let label = name.replace("trace/", "  ");
        let _ = writeln!(
            text,
            "{label:24} {:6} ms {min:6} ms {max:6} ms {:8.1} s {:4.0} %",
            times[times.len() / 2],
            sum as f64 / 1000.0,
            100.0 * sum as f64 / all.max(1) as f64,
        );
    }
    let elapsed = report.run.duration_ms;
    let _ = writeln!(
        text,
        "{} cells, {} at a time, in {:.1} s: {:.0} ms each",
        report.cells.len(),
        report.run.jobs,
        elapsed as f64 / 1000.0,
        elapsed as f64 / report.cells.len().max(1) as f64,
    );
    text
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::Verdict;

    use super::*;
    use crate::report::{CellReport, Run, SCHEMA};

    #[test]
    fn a_profile_has_every_stage_that_was_measured() {
        let cell = |name: &str, times: &[(&str, u64)]| {
            let mut cell = CellReport::of_verdict(name, Verdict::pass());
            cell.duration_ms =
                times.iter().filter(|(stage, _)| !stage.contains('/')).map(|(_, ms)| ms).sum();
            cell.stages_ms = times.iter().map(|&(stage, ms)| (stage.to_owned(), ms)).collect();
            cell
        };
        let report = Report {
            schema: SCHEMA,
            run: Run {
                id: "now".to_owned(),
                started: "now".to_owned(),
                duration_ms: 1500,
                selectors: vec![],
                jobs: 2,
                repeat: std::num::NonZeroU32::MIN,
                exit_code: 0,
                ..Run::default()
            },
            kernels: vec![],
            cells: vec![
                cell("k/masked/aya/t/a", &[("guest", 100), ("trace", 900), ("trace/attach", 300)]),
                cell("k/masked/aya/t/b", &[("guest", 200), ("trace", 700), ("trace/attach", 500)]),
                cell("k/masked/aya/t/c", &[("guest", 100)]),
            ],
            remarks: Vec::new(),
        };
        insta::assert_snapshot!(profile(&report));
    }
}
