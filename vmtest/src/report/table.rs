//! The matrix as a table for a terminal.

use std::fmt::Write as _;

use kernlab_core::outcome::Outcome;
use kernlab_proto::suite::End;

use super::{
    AllowedSplat, Report, Tally, TracerReport,
    grid::{Column, Grid, distinct},
    regression::{Explanation, Finding, Regression, Side},
};

/// The columns of a terminal that can't be asked how wide it is.
pub const WIDTH: usize = 100;

/// A run: the matrix, what is to be said of its cells, and a summary.
pub fn run(run: Side<'_>, width: usize) -> String {
    format!("{}\n{}", matrix(run.report, width), results(run))
}

/// What is to be said of a run's cells, and a summary.
pub fn results(run: Side<'_>) -> String {
    findings(run) + &summary(run.report)
}

/// Scenarios down, kernels across, with a group of characters per BTF mode and a character per
/// backend: `.. .F` is four cells. Kernels that exceed `width` columns start a new block, and so do those
/// of another architecture, which has its name in the corner.
pub fn matrix(report: &Report, width: usize) -> String {
    let grid = Grid::of(report);
    let blocks = grid.blocks();
    let archs = blocks.iter().filter_map(|(arch, _)| *arch);
    let labels = grid.scenarios.iter().copied().chain(archs);
    let label = labels.map(str::len).max().unwrap_or(0);

    let mut text = String::new();
    for (arch, mut rest) in blocks {
        while !rest.is_empty() {
            let mut used = label;
            let fits = rest.iter().take_while(|column| {
                used += 2 + column_width(&grid, column);
                used <= width
            });
            let (block, further) = rest.split_at(fits.count().max(1));
            rest = further;
            text += &table(&grid, &format!("{:label$}", arch.unwrap_or_default()), block);
            text.push('\n');
        }
    }
    let _ = writeln!(text, "{}", grid.legend());
    text
}

/// The table of these kernels. Scenarios are as wide as the text in its corner.
fn table(grid: &Grid<'_>, corner: &str, columns: &[Column<'_>]) -> String {
    let label = corner.len();
    let line = |text: String| text.trim_end().to_owned() + "\n";
    let head =
        columns.iter().map(|column| format!("  {:1$}", column.0, column_width(grid, column)));
    let mut text = line(corner.to_owned() + &head.collect::<String>());
    for &scenario in &grid.scenarios {
        let symbols = columns.iter().map(|column| {
            format!("  {:1$}", grid.symbols(column, scenario), column_width(grid, column))
        });
        text += &line(format!("{scenario:label$}{}", symbols.collect::<String>()));
    }
    text
}

fn column_width(grid: &Grid<'_>, (kernel, modes): &Column<'_>) -> usize {
    kernel.len().max(modes.len() * (grid.backends.len() + 1) - 1)
}

/// A line for each kernel on which a command ran: how it ended, whether the kernel printed splats, and
/// how long it took.
pub fn commands(report: &Report) -> String {
    let head = ["kernel", "release", "exit", "splats", "seconds", "outcome"];
    let mut rows = vec![head.map(str::to_owned)];
    for cell in &report.cells {
        let tracer = cell.tracer.as_ref();
        let exit = tracer.and_then(TracerReport::end).map(|end| match end {
            End::Code(code) => code.to_string(),
            End::Signal(signal) => format!("signal {signal}"),
        });
        let kernel = cell.kernel_and_mode();
        let none = || "-".to_owned();
        let seconds = format!("{:.1}", cell.duration_ms as f64 / 1000.0);
        let release = cell.release.clone().unwrap_or_else(none);
        let splats = match (cell.outcome, cell.allowed.len()) {
            (Outcome::KernelWarning | Outcome::KernelCrash, _) => "yes".to_owned(),
            (_, 0) => "none".to_owned(),
            (_, known) => format!("{known} known"),
        };
        rows.push([kernel, release, exit.unwrap_or_else(none), splats, seconds, cell.verdict()]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for [kernel, release, exit, splats, seconds, outcome] in &rows {
        let [first, second, third, fourth, fifth, _] = widths;
        let _ = writeln!(
            text,
            "{kernel:first$}  {release:second$}  {exit:>third$}  {splats:fourth$}  {seconds:>fifth$}  \
             {outcome}"
        );
    }
    text
}

/// The maximum number of causes that are explained: a broken tracer would fill the screen.
const EXPLAINED: usize = 12;
/// The maximum number of cells that are listed for one cause.
const CELLS: usize = 6;

/// Every cause of unexpected outcomes once, with its cells, its diff and how to run the first cell
/// again; then the known splats that kernels printed, and the remarks.
pub(crate) fn findings(run: Side<'_>) -> String {
    let (report, causes) = (run.report, Regression::causes(run));
    let mut text = String::new();
    for cause in causes.iter().take(EXPLAINED) {
        text += &explained(cause);
    }
    if causes.len() > EXPLAINED {
        let more = counted(causes.len() - EXPLAINED, "more cause");
        let _ = writeln!(text, "... and {more}: see report.json\n");
    }
    for (AllowedSplat { title, reason, link }, count) in report.allowed() {
        let cells = counted(count, "cell");
        let _ = writeln!(text, "{title}: known, in {cells}\n    {reason}: {link}\n");
    }
    for remark in &report.remarks {
        let _ = writeln!(text, "{remark}\n");
    }
    text
}

fn explained(cause: &Finding) -> String {
    let verdict = cause.head.join(" or ");
    let mut text = match &cause.cells[..] {
        [cell] => format!("{cell}: {verdict}\n"),
        cells => format!("{}: {verdict}, {}\n", cause.place(), counted(cells.len(), "cell")),
    };
    let mut lines: Vec<String> = cause.message.lines().map(str::to_owned).collect();
    for explanation in Explanation::together(&cause.explanations) {
        lines.push(format!("{}:", explanation.title()));
        lines.extend(explanation.changes.iter().map(|change| format!("  {change}")));
    }
    if cause.cells.len() > 1 {
        // "and 1 more" takes as much room as that one cell.
        let shown = if cause.cells.len() == CELLS + 1 { CELLS + 1 } else { CELLS };
        lines.extend(cause.cells.iter().take(shown).map(|cell| format!("cell {cell}")));
        if cause.cells.len() > shown {
            lines.push(format!("and {}", counted(cause.cells.len() - shown, "more cell")));
        }
    }
    lines.extend(cause.diff.iter().flat_map(|diff| diff.lines()).map(str::to_owned));
    lines.push(format!("again: {}", cause.again));
    for line in lines {
        let _ = writeln!(text, "    {line}");
    }
    text + "\n"
}

/// `1 cell`, `2 cells`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// One line with the number of cells, their outcomes and the time taken.
pub(crate) fn summary(report: &Report) -> String {
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
    use crate::report::{AllowedSplat, CellReport, Run, regression::NoEvidence, sample};

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
            ..Run::default()
        };
        Report { schema: 1, run, kernels: vec![], cells, remarks: vec![] }
    }

    fn found(report: &Report) -> String {
        findings(Side { report, evidence: &NoEvidence })
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
    fn kernels_of_another_architecture_start_a_new_block() {
        insta::assert_snapshot!(matrix(&sample::architectures(), 80), @r"
        x86_64             debian-6.1  debian-6.12
        sys_write/threads  ..          ..
        inotify/unwatched  ..          ..

        aarch64            debian-6.1-arm64
        sys_write/threads  F.
        inotify/unwatched  ..

        . pass, F fail; a character per backend (libbpf, aya), a group per BTF mode (masked)
        ");
    }

    #[test]
    fn what_is_wrong_is_explained_and_can_be_repeated() {
        insta::assert_snapshot!(found(&report()), @r"
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
        assert!(found(&report).contains(told), "{}", found(&report));
    }

    #[test]
    fn a_cause_is_told_once() {
        insta::assert_snapshot!(found(&sample::suites()));
        let mut report = report();
        for (number, cell) in report.cells.iter_mut().enumerate() {
            // Causes that differ only in numbers would be one.
            let message = format!("died of {}", "x".repeat(number));
            cell.set_verdict(Verdict::because(Outcome::Fail, Reason::TracerDied, message));
        }
        let text = found(&report);
        assert_eq!(text.matches("again: ").count(), EXPLAINED);
        assert!(text.ends_with("... and 4 more causes: see report.json\n\n"), "{text}");
    }
}
