//! The matrix as a table for a terminal.

use std::fmt::Write as _;

use kernlab_core::outcome::Outcome;

use super::{
    AllowedSplat, CellReport, Report, Tally,
    grid::{Grid, distinct},
};

/// Scenarios down, kernels across, with a group of characters per BTF mode and a character per
/// backend: `.. .F` is four cells. Kernels that exceed `width` columns start a new block.
pub fn matrix(report: &Report, width: usize) -> String {
    let grid = Grid::of(report);
    let label = grid.scenarios.iter().map(|scenario| scenario.len()).max().unwrap_or(0);
    let column_width = |(kernel, modes): &(&str, Vec<&str>)| {
        kernel.len().max(modes.len() * (grid.backends.len() + 1) - 1)
    };

    let mut text = String::new();
    let mut rest = grid.kernels.as_slice();
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
        for &scenario in &grid.scenarios {
            let _ = write!(text, "{scenario:label$}");
            for column in block {
                let _ =
                    write!(text, "  {:1$}", grid.symbols(column, scenario), column_width(column));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{}", grid.legend());
    text
}

/// The maximum number of cells explained in full: a broken tracer would fill the screen.
const EXPLAINED: usize = 12;

/// Every cell with an unexpected outcome, with its reason, its diff and how to run it again; then
/// the known splats that kernels printed.
pub fn findings(report: &Report) -> String {
    let (lacking, found): (Vec<_>, Vec<_>) =
        report.findings().into_iter().partition(|cell| cell.outcome == Outcome::Unavailable);
    let mut text = String::new();
    for cell in found.iter().take(EXPLAINED) {
        let _ = writeln!(text, "{}: {}", cell.id(), cell.verdict());
        for line in cell.message.lines() {
            let _ = writeln!(text, "    {line}");
        }
        for line in cell.diff.iter().flat_map(|diff| diff.lines()) {
            let _ = writeln!(text, "    {line}");
        }
        let _ = writeln!(text, "    again: {}\n", cell.repro_command());
    }
    if found.len() > EXPLAINED {
        let _ = writeln!(text, "... and {} more: see report.json\n", found.len() - EXPLAINED);
    }
    // Usually these are all cells of a kernel, for one reason.
    let of = |cell: &CellReport| (cell.kernel.clone(), cell.reason, cell.message.clone());
    for alike in lacking.chunk_by(|one, other| of(one) == of(other)) {
        let cell = alike[0];
        let count = alike.len();
        let _ = writeln!(text, "{}: {}, {count} cells", cell.kernel, cell.verdict());
        let _ = writeln!(text, "    {}\n", cell.message);
    }
    for (AllowedSplat { title, reason, link }, count) in report.allowed() {
        let _ = writeln!(text, "{title}: known, in {count} cells\n    {reason}: {link}\n");
    }
    text
}

/// `1 cell`, `2 cells`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// One line with the number of cells, their outcomes and the time taken.
pub fn summary(report: &Report) -> String {
    format!(
        "{} on {} in {:.1} s: {}",
        counted(report.cells.len(), "cell"),
        counted(distinct(report.cells.iter().map(|cell| cell.kernel.as_str())).len(), "kernel"),
        report.run.duration_ms as f64 / 1000.0,
        Tally::of(&report.cells)
    )
}

#[cfg(test)]
mod tests {
    use kernlab_core::outcome::{Outcome, Reason, Verdict};

    use super::*;
    use crate::report::{AllowedSplat, CellReport, Run};

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
            repeat: std::num::NonZeroU32::MIN,
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

    #[test]
    fn what_is_known_is_told_once() {
        let mut report = report();
        for cell in &mut report.cells[..3] {
            cell.allowed.push(AllowedSplat {
                title: "WARNING in do_it".to_owned(),
                reason: "a bug of this kernel".to_owned(),
                link: "https://example.org/1".to_owned(),
            });
        }
        let told = "\nWARNING in do_it: known, in 3 cells\n    a bug of this kernel: https://example.org/1\n";
        assert!(findings(&report).contains(told), "{}", findings(&report));
    }
}
