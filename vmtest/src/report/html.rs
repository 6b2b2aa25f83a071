//! A run as one page of HTML that needs nothing else: no network, and a script only for the filter.

use std::{fmt::Write as _, path::Path};

use kernlab_core::{outcome::Outcome, record::Decision};

use self::page::{escaped, part};
use super::{
    AllowedSplat, CellReport, Report,
    grid::{Grid, distinct, symbol},
    regression::Finding,
    table,
};
use crate::run::evidence::CellEvidence;

pub(super) mod cause;
pub(super) mod page;

const SCRIPT: &str = include_str!("html/filter.js");

/// What a cell left beside its report.
#[derive(Clone, Debug, Default)]
pub struct EvidenceLinks {
    /// The events as text.
    pub events: Option<String>,
    /// What the verifier said.
    pub verifier_log: Option<String>,
    /// The last lines of the console, or of the kernel's log.
    pub console: Option<String>,
}

impl EvidenceLinks {
    /// Reads what is in the run's directory. What can't be read is not shown: the page links to it.
    pub fn read(run: &Path, cell: &CellReport) -> Self {
        let evidence = CellEvidence::at(run.join(&cell.evidence));
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

/// How much of the console is shown.
const CONSOLE_LINES: usize = 60;

/// The page. `causes` are what `Regression::causes` says of the same report; `evidence` is asked once
/// for each cell. Links to directories of evidence are as they are beside `report.json`.
pub fn render(
    report: &Report,
    causes: &[Finding],
    evidence: &dyn Fn(&CellReport) -> EvidenceLinks,
) -> String {
    let grid = Grid::of(report);
    let mut page = page::begin(&format!("kernlab, {}", moment(&report.run.started)));
    let _ = writeln!(page, "<p>{}</p>", escaped(&table::summary(report)));
    for (splat, count) in report.allowed() {
        let _ = writeln!(page, "<p>known, in {count} cells: {}</p>", allowed(splat));
    }
    if !causes.is_empty() {
        page += "<h2>What is not as it should be</h2>\n";
        causes.iter().for_each(|finding| cause::of_run(&mut page, finding));
    }
    page += "<h2>The matrix</h2>\n";
    filter(&mut page, report, &grid);
    matrix(&mut page, report, &grid);
    let (found, fine): (Vec<_>, Vec<_>) = report.cells.iter().partition(|cell| !is_expected(cell));
    if !found.is_empty() {
        page += "<h2>Cells that are not as they should be</h2>\n";
        found.into_iter().for_each(|cell| details(&mut page, cell, &evidence(cell)));
    }
    page += "<h2>All other cells</h2>\n";
    fine.into_iter().for_each(|cell| details(&mut page, cell, &evidence(cell)));
    let _ = writeln!(page, "<script>\n{SCRIPT}</script>\n</html>");
    page
}

/// `2026-01-01 00:00:00 UTC` of a time as reports have it.
fn moment(time: &str) -> String {
    match time.get(..19) {
        Some(to_second) if time.ends_with('Z') => format!("{} UTC", to_second.replace('T', " ")),
        _ => time.to_owned(),
    }
}

fn is_expected(cell: &CellReport) -> bool {
    matches!(cell.outcome, Outcome::Pass | Outcome::Unsupported)
}

/// Choices by outcome, kernel and tracer; shown by the script that makes them work.
fn filter(page: &mut String, report: &Report, grid: &Grid<'_>) {
    let outcomes = Outcome::ALL
        .iter()
        .filter(|&&outcome| report.cells.iter().any(|cell| cell.outcome == outcome))
        .map(|outcome| outcome.name());
    let kernels = grid.kernels.iter().map(|(kernel, _)| *kernel);
    let tracers = distinct(grid.scenarios.iter().map(|scenario| tracer(scenario)));
    *page += "<form class=\"filter\" hidden>\n";
    for (name, values) in [
        ("outcome", outcomes.collect::<Vec<_>>()),
        ("kernel", kernels.collect()),
        ("tracer", tracers),
    ] {
        let _ =
            write!(page, "<label>{name} <select name=\"{name}\"><option value=\"\">all</option>");
        for value in values.into_iter().map(escaped) {
            let _ = write!(page, "<option>{value}</option>");
        }
        *page += "</select></label>\n";
    }
    *page += "</form>\n";
}

fn tracer(scenario: &str) -> &str {
    scenario.split('/').next().unwrap_or_default()
}

fn matrix(page: &mut String, report: &Report, grid: &Grid<'_>) {
    let _ = writeln!(page, "<p>{}</p>", escaped(&grid.legend()));
    *page += "<div class=\"scroll\" tabindex=\"0\">\n<table class=\"grid\">\n<thead>\n<tr><th scope=\"col\">scenario</th>";
    for (kernel, modes) in &grid.kernels {
        let known = report.kernels.iter().find(|known| known.id == **kernel);
        let release = known.and_then(|known| match (&known.unavailable, &known.release) {
            (Some(why), _) => Some(format!("can't be had: {why}")),
            (None, release) => release.clone(),
        });
        let _ = write!(
            page,
            "<th scope=\"col\" data-kernel=\"{0}\">{0}<small>{1}</small><small>{2}</small></th>",
            escaped(kernel),
            escaped(&release.unwrap_or_default()),
            escaped(&modes.join(", "))
        );
    }
    *page += "</tr>\n</thead>\n<tbody>\n";
    for scenario in &grid.scenarios {
        let _ = write!(
            page,
            "<tr data-tracer=\"{}\"><th scope=\"row\">{}</th>",
            escaped(tracer(scenario)),
            page::name(scenario)
        );
        for kernel in &grid.kernels {
            let group = |group: Vec<Option<&CellReport>>| {
                let cells: String = group.into_iter().flatten().map(square).collect();
                format!("<span class=\"mode\">{cells}</span>")
            };
            let groups: String = grid.cells(kernel, scenario).into_iter().map(group).collect();
            let _ = write!(page, "<td data-kernel=\"{}\">{groups}</td>", escaped(kernel.0));
        }
        *page += "</tr>\n";
    }
    *page += "</tbody>\n</table>\n</div>\n";
}

/// A cell in the grid: a letter beside its colour, for those who don't tell colours apart.
fn square(cell: &CellReport) -> String {
    let id = escaped(&cell.id());
    format!(
        "<a class=\"cell {0}\" href=\"#{id}\" title=\"{id}: {0}\">{1}</a>",
        cell.outcome,
        symbol(cell.outcome)
    )
}

/// All that is known of a cell, folded: what is wrong is told with its cause, which links here.
fn details(page: &mut String, cell: &CellReport, evidence: &EvidenceLinks) {
    let reason = cell.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let id = escaped(&cell.id());
    let _ = writeln!(
        page,
        "<details id=\"{id}\" data-outcome=\"{outcome}\" data-kernel=\"{}\" data-tracer=\"{}\">\n\
         <summary>{id} <span class=\"cell {outcome}\">{outcome}{reason}</span> {} ms</summary>",
        escaped(&cell.kernel),
        escaped(tracer(&cell.scenario)),
        cell.duration_ms,
        outcome = cell.outcome,
    );
    if !cell.message.is_empty() {
        page::message(page, &cell.message);
    }
    for splat in &cell.allowed {
        let _ =
            writeln!(page, "<p>the kernel printed, and splats.toml allows: {}</p>", allowed(splat));
    }
    if let (Some(predicted), Some(observed)) = (&cell.predicted, &cell.plan) {
        let _ = writeln!(
            page,
            "<p>predicted: {}<br>in the guest: {}</p>",
            escaped(&decision(predicted)),
            escaped(&decision(observed))
        );
    }
    if let Some(diff) = &cell.diff {
        part(page, "expected and observed events", &page::diff(diff));
    }
    for (title, text) in [
        ("events", &evidence.events),
        ("the verifier", &evidence.verifier_log),
        ("the kernel", &evidence.console),
    ] {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            part(page, title, &escaped(text));
        }
    }
    part(page, "again", &escaped(&cell.repro_command()));
    if !cell.evidence.is_empty() {
        let _ = writeln!(page, "<p><a href=\"{0}/\">all evidence</a></p>", escaped(&cell.evidence));
    }
    *page += "</details>\n";
}

/// A known splat. A report may come from elsewhere: what is no address is no link.
fn allowed(splat: &AllowedSplat) -> String {
    let [title, reason, link] =
        [&splat.title, &splat.reason, &splat.link].map(|text| escaped(text));
    let is_address = link.starts_with("https://") || link.starts_with("http://");
    let link = if is_address { format!("<a href=\"{link}\">{link}</a>") } else { link };
    format!("<b>{title}</b>: {reason}: {link}")
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
    use kernlab_core::dossier::Dossier;

    use super::{
        super::{
            regression::{self, Regression, Side},
            sample,
        },
        *,
    };

    struct Nothing;

    impl regression::EvidenceSource for Nothing {
        fn events(&self, _: &CellReport) -> Option<String> {
            None
        }

        fn dossier(&self, _: &str) -> Option<Dossier> {
            None
        }
    }

    fn causes(report: &Report) -> Vec<Finding> {
        Regression::causes(Side { report, evidence: &Nothing })
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
        insta::assert_snapshot!(format!("{body}{rest}"));
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let report = sample::report();
        let page = render(&report, &causes(&report), &evidence);
        // A link is no need.
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
