//! A run as one self-contained page of HTML, with a script only for the filter and to copy commands.

use kernlab_core::{
    cell::tracer_of,
    outcome::{Outcome, Severity},
    record::Decision,
};
use maud::{Markup, PreEscaped, html};

use self::page::part;
use super::{
    AllowedSplat, CellReport, Report,
    grid::{Grid, distinct, symbol},
    headline, link,
    regression::Finding,
    table,
};
use crate::run::dir::RunDir;

pub(crate) mod cause;
pub(crate) mod page;

const SCRIPT: &str = include_str!("html/filter.js");

/// The evidence of a cell that is shown in the page.
#[derive(Clone, Debug, Default)]
pub struct EvidenceLinks {
    /// The events as text.
    pub events: Option<String>,
    /// The verifier's log.
    pub verifier_log: Option<String>,
    /// The last lines of the console or of the kernel's log.
    pub console: Option<String>,
}

impl EvidenceLinks {
    /// Reads the evidence from the run's directory. Files that can't be read are left out: the page
    /// links to the directory.
    pub fn read(run: &RunDir, cell: &CellReport) -> Self {
        let Some(evidence) = run.evidence_of(cell) else { return EvidenceLinks::default() };
        let last_lines = |text: String| {
            let skipped = text.lines().count().saturating_sub(CONSOLE_LINES);
            text.lines().skip(skipped).map(|line| format!("{line}\n")).collect()
        };
        let console = || evidence.guest().map(last_lines);
        EvidenceLinks {
            events: evidence.events().ok().flatten(),
            verifier_log: evidence.verifier_log(),
            console: if is_expected(cell) { None } else { console() },
        }
    }
}

/// The number of lines of the console that are shown.
const CONSOLE_LINES: usize = 60;

/// Renders the page. `causes` is the result of `Regression::causes` for the same report; `evidence`
/// is called once for each cell. Links to evidence are relative to the directory of `report.json`.
pub fn render(
    report: &Report,
    causes: &[Finding],
    evidence: &dyn Fn(&CellReport) -> EvidenceLinks,
) -> String {
    let grid = Grid::of(report);
    let (found, fine): (Vec<_>, Vec<_>) = report.cells.iter().partition(|cell| !is_expected(cell));
    let content = html! {
        p.facts { (table::summary(report)) ". " (moment(&report.run.started)) }
        @for (splat, count) in report.allowed() {
            p { "known, in " (table::counted(count, "cell")) ": " (allowed(splat)) }
        }
        @for remark in &report.remarks { p { (page::sentence(remark)) } }
        @if !causes.is_empty() {
            h2 { "Problems" }
            @for finding in causes { (cause::of_run(finding)) }
        }
        h2 { "The matrix" }
        (filter(report, &grid))
        (matrix(report, &grid))
        @if !found.is_empty() {
            h2 { "Cells with problems" }
            @for cell in found { (details(&grid, cell, &evidence(cell))) }
        }
        h2 { "All other cells" }
        @for cell in fine { (details(&grid, cell, &evidence(cell))) }
        script { (PreEscaped(page::COPY)) (PreEscaped(SCRIPT)) }
    };
    page::whole(&headline::verdict(report, causes), &content)
}

/// Formats a timestamp of a report as `2026-01-01 00:00:00 UTC`.
fn moment(time: &str) -> String {
    match time.get(..19) {
        Some(to_second) if time.ends_with('Z') => format!("{} UTC", to_second.replace('T', " ")),
        _ => time.to_owned(),
    }
}

fn is_expected(cell: &CellReport) -> bool {
    cell.outcome.severity() == Severity::Expected
}

/// A filter by outcome, kernel and tracer. It is hidden until the script shows it.
fn filter(report: &Report, grid: &Grid<'_>) -> Markup {
    let outcomes = Outcome::ALL
        .iter()
        .filter(|&&outcome| report.cells.iter().any(|cell| cell.outcome == outcome))
        .map(|outcome| outcome.name());
    let kernels = grid.kernels.iter().map(|(kernel, _)| *kernel);
    let blocks = grid.blocks();
    let archs: Vec<_> = blocks.iter().filter_map(|(arch, _)| *arch).collect();
    let choices = [
        ("outcome", outcomes.collect::<Vec<_>>()),
        ("kernel", kernels.collect()),
        ("tracer", distinct(grid.scenarios.iter().map(|scenario| tracer_of(scenario)))),
        ("architecture", archs),
    ];
    html! {
        form.filter hidden {
            @for (name, values) in choices.into_iter().filter(|(_, values)| !values.is_empty()) {
                label {
                    (name) " "
                    select name=(name) {
                        option value="" { "all" }
                        @for value in values { option { (value) } }
                    }
                }
            }
        }
    }
}

fn matrix(report: &Report, grid: &Grid<'_>) -> Markup {
    let blocks = grid.blocks();
    let of_block = |(arch, kernels)| <[_]>::iter(kernels).map(move |kernel| (arch, kernel));
    let columns: Vec<_> = blocks.iter().copied().flat_map(of_block).collect();
    html! {
        p { (grid.legend()) }
        div.scroll tabindex="0" {
            table.grid {
                thead {
                    @if blocks.len() > 1 {
                        tr {
                            td {}
                            @for (arch, kernels) in &blocks {
                                th scope="colgroup" colspan=(kernels.len()) data-architecture=[arch] {
                                    (arch.unwrap_or_default())
                                }
                            }
                        }
                    }
                    tr {
                        th scope="col" { "scenario" }
                        @for (arch, (kernel, modes)) in &columns {
                            th scope="col" data-kernel=(kernel) data-architecture=[arch] {
                                (page::name(kernel))
                                small.release { (release(report, kernel)) }
                                small { (modes.join(", ")) }
                            }
                        }
                    }
                }
                tbody {
                    @for scenario in &grid.scenarios {
                        tr data-tracer=(tracer_of(scenario)) {
                            th scope="row" { (page::name(scenario)) }
                            @for (arch, kernel) in &columns {
                                td data-kernel=(kernel.0) data-architecture=[arch] {
                                    @for group in grid.cells(kernel, scenario) {
                                        span.mode {
                                            @for cell in group.iter().flatten() { (square(cell)) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The release of a kernel, or why it is not available.
fn release(report: &Report, kernel: &str) -> String {
    let known = report.kernels.iter().find(|known| known.id == kernel);
    match known.map(|known| (&known.unavailable, &known.release)) {
        Some((Some(why), _)) => format!("is not available: {why}"),
        Some((None, Some(release))) => release.clone(),
        _ => String::new(),
    }
}

/// A cell in the grid: a letter as well as a colour, for readers who can't tell the colours apart.
fn square(cell: &CellReport) -> Markup {
    let (id, outcome) = (cell.id(), cell.outcome.name());
    html! {
        a.cell.(outcome) href={ "#" (id) } title={ (id) ": " (outcome) } { (symbol(cell.outcome)) }
    }
}

/// Everything about a cell, folded: a failure is shown with its cause, which links here.
fn details(grid: &Grid<'_>, cell: &CellReport, evidence: &EvidenceLinks) -> Markup {
    let (id, outcome) = (cell.id(), cell.outcome.name());
    let texts = [
        ("events", &evidence.events),
        ("the verifier", &evidence.verifier_log),
        ("the kernel", &evidence.console),
    ];
    html! {
        details
            id=(id)
            data-outcome=(outcome)
            data-kernel=(cell.kernel)
            data-architecture=[grid.arch(&cell.kernel)]
            data-tracer=(cell.tracer_name())
        {
            summary {
                (page::name(&id)) " " span.cell.(outcome) { (cell.verdict()) } " " (cell.duration_ms) " ms"
            }
            (page::message(&cell.message))
            @for splat in &cell.allowed {
                p { "the kernel printed, and splats.toml allows: " (allowed(splat)) }
            }
            @if let (Some(predicted), Some(observed)) = (&cell.predicted, &cell.plan) {
                p { "predicted: " (decision(predicted)) br; "in the guest: " (decision(observed)) }
            }
            @if let Some(diff) = &cell.diff {
                (part("expected and observed events", page::diff(diff)))
            }
            @for (title, text) in texts {
                @if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                    (part(title, text))
                }
            }
            (page::command("again", &cell.repro_command()))
            @if let Some(dir) = link(&cell.evidence) {
                p { a href={ (dir) "/" } { "all evidence" } }
            }
        }
    }
}

/// A known splat. Its link is text if it is not an address: the report may come from elsewhere.
fn allowed(AllowedSplat { title, reason, link }: &AllowedSplat) -> Markup {
    let is_address = link.starts_with("https://") || link.starts_with("http://");
    html! {
        b { (title) } ": " (reason) ": "
        @if is_address { a href=(link) { (link) } } @else { (link) }
    }
}

/// A plan in one line.
fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Plan { attach, buffer, layout, .. } => {
            let places: Vec<_> = attach.iter().map(|point| point.target.to_string()).collect();
            format!("{buffer:?} buffer, layout from {layout:?}: {}", places.join(", "))
                .to_lowercase()
        }
        Decision::Unsupported(unsupported) => {
            format!("unsupported ({}): {}", unsupported.reason, unsupported.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            regression::{NoEvidence, Regression, Side},
            sample,
        },
        *,
    };

    fn causes(report: &Report) -> Vec<Finding> {
        Regression::causes(Side { report, evidence: &NoEvidence })
    }

    fn evidence(cell: &CellReport) -> EvidenceLinks {
        let events = matches!(cell.outcome, Outcome::Pass | Outcome::Fail);
        EvidenceLinks {
            events: events.then(|| "pid=<workload> write fd=3\n".to_owned()),
            ..EvidenceLinks::default()
        }
    }

    #[test]
    fn a_run() {
        let report = sample::report();
        let page = render(&report, &causes(&report), &evidence);
        let (body, rest) = page.split_once("<style>").unwrap();
        let rest = rest.split_once("</style>").unwrap().1.split_once("<script>").unwrap().0;
        insta::assert_snapshot!(format!("{body}{rest}").replace("><", ">\n<"));
    }

    #[test]
    fn architectures_have_their_own_columns() {
        let report = sample::architectures();
        let page = render(&report, &causes(&report), &evidence);
        let grid = page.split_once("<thead>").unwrap().1.split_once("</thead>").unwrap().0;
        insta::assert_snapshot!(grid.replace("><", ">\n<"));
        assert!(page.contains("<option>aarch64</option>"), "{page}");
        assert_eq!(page.matches("id=\"debian-6.1-arm64/").count(), 4, "{page}");
        let details = "data-kernel=\"debian-6.1-arm64\" data-architecture=\"aarch64\" data-tracer";
        assert_eq!(page.matches(details).count(), 4, "{page}");
    }

    #[test]
    fn suites_have_their_own_commands_and_remarks() {
        let report = sample::suites();
        let page = render(&report, &causes(&report), &evidence);
        let again = "kernlab test --kernel debian-5.10 --suite opens</pre>";
        assert_eq!(page.matches(again).count(), 2, "of the cause, and of the cell: {page}");
        assert!(page.contains("<p>opens: fail (unexpected-exit) on all 2 kernels"), "{page}");
        assert!(page.contains("opens on debian-5.10, debian-6.1 (embedded)</h3>"), "{page}");
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let report = sample::report();
        let page = render(&report, &causes(&report), &evidence);
        // Links are allowed.
        let page = page.replace("https://example.org", "");
        for word in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn nothing_that_a_cell_says_becomes_part_of_the_page() {
        let mut report = sample::report();
        for cell in &mut report.cells {
            cell.message = "<script>alert(1)</script>\" onload=\"x".to_owned();
        }
        let hostile = |_: &CellReport| EvidenceLinks {
            events: Some("</pre><script>alert(2)</script>".to_owned()),
            ..EvidenceLinks::default()
        };
        let page = render(&report, &causes(&report), &hostile);
        assert_eq!(page.matches("<script").count(), 1, "only ours");
        assert!(!page.contains("\" onload"), "{page}");
    }
}
