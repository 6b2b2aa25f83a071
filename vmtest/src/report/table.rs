//! The matrix as a table for a terminal.

use std::{collections::BTreeSet, fmt::Write as _};

use kernlab_core::outcome::Outcome;

use super::{CellReport, Report, Tally};

/// One character per cell.
fn symbol(outcome: Outcome) -> char {
    match outcome {
        Outcome::Pass => '.',
        Outcome::Fail => 'F',
        Outcome::Unsupported => '-',
        Outcome::KernelWarning => 'W',
        Outcome::KernelCrash => 'C',
        Outcome::Timeout => 'T',
        Outcome::Infra => 'I',
        Outcome::Unavailable => 'U',
        Outcome::NotRun => 'N',
    }
}

/// Keeps the first of each, in order.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// Scenarios down, kernels across, with a character per backend and a group of them per BTF mode:
/// `.. .F` has four cells. Wraps to `width` columns by starting a new block of kernels.
pub fn matrix(report: &Report, width: usize) -> String {
    let kernels = distinct(report.cells.iter().map(|cell| cell.kernel.as_str()));
    let scenarios = distinct(report.cells.iter().map(|cell| cell.scenario.as_str()));
    let backends = distinct(report.cells.iter().map(|cell| cell.backend.as_str()));

    let label = scenarios.iter().map(|scenario| scenario.len()).max().unwrap_or(0);
    let columns: Vec<(&str, Vec<&str>)> = kernels
        .iter()
        .map(|&kernel| {
            let of_kernel = report.cells.iter().filter(|cell| cell.kernel == kernel);
            (kernel, distinct(of_kernel.map(|cell| cell.btf.as_str())))
        })
        .collect();
    let column_width = |(kernel, modes): &(&str, Vec<&str>)| {
        kernel.len().max(modes.len() * (backends.len() + 1) - 1)
    };

    let mut text = String::new();
    let mut rest = columns.as_slice();
    while !rest.is_empty() {
        let mut used = label;
        let fits = rest
            .iter()
            .take_while(|column| {
                used += 2 + column_width(column);
                used <= width
            })
            .count();
        let (block, further) = rest.split_at(fits.max(1));
        rest = further;

        let _ = write!(text, "{:label$}", "");
        for column in block {
            let _ = write!(text, "  {:1$}", column.0, column_width(column));
        }
        text.push('\n');
        for &scenario in &scenarios {
            let _ = write!(text, "{scenario:label$}");
            for column in block {
                let groups: Vec<String> = column
                    .1
                    .iter()
                    .map(|&mode| {
                        backends
                            .iter()
                            .map(|&backend| find(report, column.0, mode, backend, scenario))
                            .collect()
                    })
                    .collect();
                let _ = write!(text, "  {:1$}", groups.join(" "), column_width(column));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text.push('\n');
    }
    let symbols: Vec<String> = Outcome::ALL
        .iter()
        .filter(|&&outcome| report.cells.iter().any(|cell| cell.outcome == outcome))
        .map(|&outcome| format!("{} {outcome}", symbol(outcome)))
        .collect();
    let _ = writeln!(
        text,
        "{}; a character per backend ({}), a group per BTF mode ({})",
        symbols.join(", "),
        backends.join(", "),
        groups(&columns)
    );
    text
}

/// Which groups a kernel's cells are in: for all kernels, or for each if they differ.
fn groups(columns: &[(&str, Vec<&str>)]) -> String {
    let distinct: BTreeSet<_> = columns.iter().map(|(_, modes)| modes).collect();
    if let [modes] = Vec::from_iter(distinct)[..] {
        return modes.join(", ");
    }
    let of_kernel = |(kernel, modes): &(&str, Vec<&str>)| format!("{kernel}: {}", modes.join(", "));
    columns.iter().map(of_kernel).collect::<Vec<_>>().join("; ")
}

fn find(report: &Report, kernel: &str, btf: &str, backend: &str, scenario: &str) -> char {
    report
        .cells
        .iter()
        .find(|cell| {
            (cell.kernel.as_str(), cell.btf.as_str()) == (kernel, btf)
                && (cell.backend.as_str(), cell.scenario.as_str()) == (backend, scenario)
        })
        .map_or(' ', |cell| symbol(cell.outcome))
}

/// At most so many cells are explained in full; a broken tracer would fill the screen.
const EXPLAINED: usize = 12;

/// Every cell that isn't as it should be, with its reason, its diff and how to see it again.
pub fn findings(report: &Report) -> String {
    let found: Vec<&CellReport> = report
        .cells
        .iter()
        .filter(|cell| !matches!(cell.outcome, Outcome::Pass | Outcome::Unsupported))
        .collect();
    let mut text = String::new();
    for cell in found.iter().take(EXPLAINED) {
        let reason = cell.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let _ = writeln!(text, "{}: {}{reason}", cell.id(), cell.outcome);
        let _ = writeln!(text, "    {}", cell.message);
        for line in cell.diff.iter().flat_map(|diff| diff.lines()) {
            let _ = writeln!(text, "    {line}");
        }
        let _ = writeln!(text, "    again: {}\n", command(cell));
    }
    if found.len() > EXPLAINED {
        let _ = writeln!(text, "... and {} more: see report.json\n", found.len() - EXPLAINED);
    }
    text
}

/// The command that runs one cell again.
fn command(cell: &CellReport) -> String {
    format!(
        "cargo xtask vmtest --kernel {} --btf {} --backend {} --scenario {}",
        cell.kernel, cell.btf, cell.backend, cell.scenario
    )
}

/// One line: how many cells, how they ended, how long it took.
pub fn summary(report: &Report) -> String {
    format!(
        "{} cells on {} kernels in {:.1} s: {}",
        report.cells.len(),
        distinct(report.cells.iter().map(|cell| cell.kernel.as_str())).len(),
        report.run.duration_ms as f64 / 1000.0,
        Tally::of(&report.cells)
    )
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Reason, Verdict};

    use super::*;
    use crate::report::Run;

    fn report() -> Report {
        let mut cells = Vec::new();
        for kernel in ["debian-6.1", "debian-6.12"] {
            for btf in ["embedded", "masked"] {
                for backend in ["libbpf", "aya"] {
                    for scenario in ["sys_write/threads", "inotify/unwatched"] {
                        let verdict = match (kernel, btf, backend, scenario) {
                            ("debian-6.12", "masked", "aya", "sys_write/threads") => {
                                Verdict::because(Outcome::Fail, Reason::EventsDiffer, "they differ")
                            }
                            ("debian-6.12", _, _, "inotify/unwatched") => Verdict::because(
                                Outcome::Unsupported,
                                Reason::MissingSymbol,
                                "no symbol",
                            ),
                            _ => Verdict::pass(),
                        };
                        let id = format!("{kernel}/{btf}/{backend}/{scenario}");
                        cells.push(CellReport::of_verdict(&id, verdict));
                    }
                }
            }
        }
        let run = Run {
            id: "run".into(),
            started: String::new(),
            duration_ms: 1234,
            selectors: vec![],
            jobs: 2,
            exit_code: 1,
        };
        Report { schema: 1, run, kernels: vec![], cells }
    }

    #[test]
    fn kernels_are_side_by_side_where_they_fit() {
        insta::assert_snapshot!(matrix(&report(), 80), @r"
                           debian-6.1  debian-6.12
        sys_write/threads  .. ..       .. .F
        inotify/unwatched  .. ..       -- --

        . pass, F fail, - unsupported; a character per backend (libbpf, aya), a group per BTF mode (embedded, masked)
        ");
    }

    #[test]
    fn kernels_that_do_not_fit_start_a_new_block() {
        assert_eq!(matrix(&report(), 35).matches("sys_write/threads").count(), 2);
        assert_eq!(matrix(&report(), 0).matches("sys_write/threads").count(), 2);
    }

    #[test]
    fn what_is_wrong_is_explained_and_can_be_repeated() {
        insta::assert_snapshot!(findings(&report()), @r"
        debian-6.12/masked/aya/sys_write/threads: fail (events-differ)
            they differ
            again: cargo xtask vmtest --kernel debian-6.12 --btf masked --backend aya --scenario sys_write/threads
        ");
        assert_eq!(
            summary(&report()),
            "16 cells on 2 kernels in 1.2 s: 11 pass, 1 fail, 4 unsupported"
        );
    }
}
