//! What happened to cells for one cause, as a part of a page.

use std::fmt::Write as _;

use kernlab_core::outcome::{Severity, Verdict};

use super::{
    super::{
        CellReport,
        regression::{Category, Explanation, Finding},
    },
    page::{diff, escaped, message, part, sentence},
};

/// So many cells are shown unfolded.
const UNFOLDED: usize = 8;

/// In the page of a run, whose cells it links to.
pub(in crate::report) fn of_run(page: &mut String, finding: &Finding) {
    begin(page, finding, &finding.head.join(" or "));
    explain(page, finding);
    let link = |cell: &String| format!("<a href=\"#{0}\">{0}</a>", escaped(cell));
    list(page, &finding.cells, &link);
    *page += "</article>\n";
}

/// In the page of a comparison.
pub(in crate::report) fn of_comparison(page: &mut String, finding: &Finding) {
    begin(page, finding, finding.category.title());
    let verdicts = [&finding.base, &finding.head].map(|verdicts| verdicts.join(" or "));
    match verdicts.each_ref().map(String::as_str) {
        ["", ""] => {}
        [base, head] if base == head || head.is_empty() => {
            let _ = writeln!(page, "<p class=\"verdict\">{}</p>", escaped(base));
        }
        ["", head] => {
            let _ = writeln!(page, "<p class=\"verdict\">{}</p>", escaped(head));
        }
        [base, head] => {
            let (base, head) = (escaped(base), escaped(head));
            let _ = writeln!(page, "<p class=\"verdict\">was {base}, is {head}</p>");
        }
    }
    explain(page, finding);
    list(page, &finding.cells, &|cell| escaped(cell));
    *page += "</article>\n";
}

/// Where, and what.
fn begin(page: &mut String, finding: &Finding, what: &str) {
    let id = match &finding.fingerprint {
        Some(fingerprint) => format!(" id=\"{}-{fingerprint}\"", finding.category.slug()),
        None => String::new(),
    };
    let _ = writeln!(
        page,
        "<article{id} class=\"{colour}\">\n<h3><span class=\"cell {colour}\">{}</span> {}</h3>",
        escaped(what),
        escaped(&finding.place()),
        colour = colour(finding.category)
    );
    if !finding.message.is_empty() {
        message(page, &finding.message);
    }
}

/// The outcome whose colour says how bad it is.
fn colour(category: Category) -> &'static str {
    match category {
        Category::NewFailure
        | Category::NoLongerSupported
        | Category::Vanished
        | Category::StillFailing => "fail",
        Category::Inconclusive => "infra",
        Category::Fixed | Category::NewlySupported => "pass",
        Category::EventsChanged
        | Category::UnsupportedOtherwise
        | Category::NewKernel
        | Category::NewCell
        | Category::NotComparable => "unsupported",
    }
}

/// What changed in the kernel first, then what that did.
fn explain(page: &mut String, finding: &Finding) {
    for explanation in Explanation::together(&finding.explanations) {
        let _ = writeln!(
            page,
            "<h4>What changed in the kernel: {}</h4>\n<ul>",
            escaped(&explanation.subject())
        );
        for change in explanation.changes {
            let _ = writeln!(page, "<li>{}</li>", sentence(change));
        }
        *page += "</ul>\n";
    }
    for (title, text) in [
        ("expected and observed events", &finding.diff),
        ("events before and now", &finding.events),
    ] {
        if let Some(text) = text {
            part(page, title, &diff(text));
        }
    }
    if finding.category.severity() != Severity::Expected
        && let Some(cell) = finding.cells.first()
    {
        part(
            page,
            "again",
            &escaped(&CellReport::of_verdict(cell, Verdict::pass()).repro_command()),
        );
    }
    if let Some(fingerprint) = &finding.fingerprint {
        let _ = writeln!(page, "<p class=\"fingerprint\">fingerprint {fingerprint}</p>");
    }
}

fn list(page: &mut String, cells: &[String], show: &dyn Fn(&String) -> String) {
    let open = if cells.len() <= UNFOLDED { " open" } else { "" };
    let count = match cells.len() {
        1 => "1 cell".to_owned(),
        count => format!("{count} cells"),
    };
    let _ = writeln!(page, "<details class=\"cells\"{open}>\n<summary>{count}</summary>\n<ul>");
    for cell in cells {
        let _ = writeln!(page, "<li>{}</li>", show(cell));
    }
    *page += "</ul>\n</details>\n";
}
