//! A run as one page of HTML that needs nothing else.

use std::fmt::Write as _;

use kernlab_core::outcome::Severity;

use super::{CellReport, Report, grid::Grid, table};

const STYLE: &str = "\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1b1f24; background: #fff; }
table { border-collapse: collapse; }
th, td { border: 1px solid #d0d7de; padding: .2rem .6rem; text-align: left; }
td.cells { font-family: ui-monospace, monospace; white-space: pre; text-align: center; }
td.cells a { text-decoration: none; padding: 0 .15rem; color: inherit; }
.failure { background: #ffd8d3; font-weight: bold; }
.inconclusive { background: #fff1c2; }
pre { background: #f6f8fa; padding: .6rem; overflow-x: auto; }
.added { color: #116329; } .removed { color: #a40e26; }
";

/// The page. Cells link to their findings, findings to the folders of their evidence, as they are
/// beside `report.json`.
pub fn render(report: &Report) -> String {
    let title = format!("kernlab, {}", report.run.started);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{}</title>\n<style>\n\
         {STYLE}</style>\n<h1>{}</h1>\n<p>{}</p>\n",
        escaped(&title),
        escaped(&title),
        escaped(&table::summary(report))
    );
    kernels(&mut page, report);
    matrix(&mut page, report);
    for cell in report.findings() {
        finding(&mut page, cell);
    }
    page += "</html>\n";
    page
}

fn kernels(page: &mut String, report: &Report) {
    *page += "<table>\n<tr><th>kernel</th><th>release</th></tr>\n";
    for kernel in &report.kernels {
        let release = match (&kernel.unavailable, &kernel.release) {
            (Some(why), _) => format!("can't be had: {why}"),
            (None, Some(release)) => release.clone(),
            (None, None) => "unknown".to_owned(),
        };
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(&kernel.id),
            escaped(&release)
        );
    }
    *page += "</table>\n";
}

fn matrix(page: &mut String, report: &Report) {
    let grid = Grid::of(report);
    *page += "<h2>Cells</h2>\n<table>\n<tr><th>scenario</th>";
    for (kernel, _) in &grid.kernels {
        let _ = write!(page, "<th>{}</th>", escaped(kernel));
    }
    *page += "</tr>\n";
    for scenario in &grid.scenarios {
        let _ = write!(page, "<tr><td>{}</td>", escaped(scenario));
        for kernel in &grid.kernels {
            let groups = grid.cells(kernel, scenario).into_iter().map(|group| {
                let cells = group.into_iter().flatten().map(symbol);
                cells.collect::<String>()
            });
            let groups: Vec<_> = groups.collect();
            let _ = write!(page, "<td class=\"cells\">{}</td>", groups.join(" "));
        }
        *page += "</tr>\n";
    }
    let _ = writeln!(page, "</table>\n<p>{}</p>", escaped(&grid.legend()));
}

fn symbol(cell: &CellReport) -> String {
    let symbol = super::grid::symbol(cell.outcome);
    let title = escaped(&format!("{}: {} {}", cell.id(), cell.outcome, cell.message));
    match severity(cell) {
        None => format!("<span title=\"{title}\">{symbol}</span>"),
        Some(class) => format!(
            "<a class=\"{class}\" title=\"{title}\" href=\"#{}\">{symbol}</a>",
            escaped(&cell.id())
        ),
    }
}

/// The class of a cell that isn't as it should be.
fn severity(cell: &CellReport) -> Option<&'static str> {
    match cell.outcome.severity() {
        Severity::Expected => None,
        Severity::Inconclusive => Some("inconclusive"),
        Severity::Failure => Some("failure"),
    }
}

fn finding(page: &mut String, cell: &CellReport) {
    let reason = cell.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let id = escaped(&cell.id());
    let _ = writeln!(
        page,
        "<h3 id=\"{id}\">{id}: <span class=\"{}\">{}{reason}</span></h3>\n<p>{}</p>",
        severity(cell).unwrap_or_default(),
        cell.outcome,
        escaped(&cell.message)
    );
    if let Some(diff) = &cell.diff {
        let lines: Vec<_> = diff.lines().map(diff_line).collect();
        let _ = writeln!(page, "<pre>{}</pre>", lines.join("\n"));
    }
    let _ = writeln!(page, "<pre>$ {}</pre>", escaped(&cell.again()));
    if !cell.evidence.is_empty() {
        let _ = writeln!(page, "<p><a href=\"{0}/\">{0}</a></p>", escaped(&cell.evidence));
    }
}

fn diff_line(line: &str) -> String {
    let text = escaped(line);
    match line.chars().next() {
        Some('+') => format!("<span class=\"added\">{text}</span>"),
        Some('-') => format!("<span class=\"removed\">{text}</span>"),
        _ => text,
    }
}

/// Text that means nothing but itself, in content and in attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '"' => escaped += "&quot;",
            '\n' | '\t' => escaped.push(character),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn a_run() {
        insta::assert_snapshot!(render(&sample::report()));
    }

    #[test]
    fn nothing_that_a_cell_says_becomes_part_of_the_page() {
        let mut report = sample::report();
        for cell in &mut report.cells {
            cell.message = "<script>alert(1)</script>\" onload=\"x".to_owned();
        }
        let page = render(&report);
        assert!(!page.contains("<script") && !page.contains("\" onload"), "{page}");
    }
}
