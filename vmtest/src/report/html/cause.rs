//! A finding as a part of a page.

use kernlab_core::outcome::Severity;
use maud::{Markup, html};

use super::{
    super::{
        regression::{Category, Explanation, Finding},
        table::counted,
    },
    page::{command, diff, message, name, part, sentence},
};

/// Longer lists of cells are folded.
const UNFOLDED: usize = 8;

/// For the page of a run, with links to its cells.
pub(in crate::report) fn of_run(finding: &Finding) -> Markup {
    let link = |cell: &str| html! { a href={ "#" (cell) } { (name(cell)) } };
    article(finding, &finding.head.join(" or "), "", link)
}

/// For the page of a comparison.
pub(in crate::report) fn of_comparison(finding: &Finding) -> Markup {
    let verdicts = [&finding.base, &finding.head].map(|verdicts| verdicts.join(" or "));
    let verdict = match verdicts.each_ref().map(String::as_str) {
        [one, ""] | ["", one] => one.to_owned(),
        [base, head] if base == head => head.to_owned(),
        [base, head] => format!("was {base}, is {head}"),
    };
    article(finding, finding.category.title(), &verdict, |cell| html! { (name(cell)) })
}

/// For a page of a site, with links to its cells.
pub(crate) fn of_site(finding: &Finding, link: impl Fn(&str) -> Markup) -> Markup {
    article(finding, &finding.head.join(" or "), "", link)
}

fn article(finding: &Finding, what: &str, verdict: &str, show: impl Fn(&str) -> Markup) -> Markup {
    let Finding { category, fingerprint, cells, .. } = finding;
    let colour = colour(*category);
    let id = fingerprint.as_ref().map(|fingerprint| format!("{}-{fingerprint}", category.name()));
    html! {
        article id=[id] class=(colour) {
            h3 { span.cell.(colour) { (what) } " " (name(&finding.place())) }
            (message(&finding.message))
            @if !verdict.is_empty() { p.verdict { (verdict) } }
            (explanation(finding))
            @if let Some(fingerprint) = fingerprint {
                p.fingerprint { "fingerprint " (maud::display(fingerprint)) }
            }
            details.cells open[cells.len() <= UNFOLDED] {
                summary { (counted(cells.len(), "cell")) }
                ul { @for cell in cells { li { (show(cell)) } } }
            }
        }
    }
}

/// What changed in the kernel, the difference it made, and how to reproduce it.
fn explanation(finding: &Finding) -> Markup {
    html! {
        @for explanation in Explanation::together(&finding.explanations) {
            h4 { "What changed in the kernel: " (explanation.subject()) }
            ul { @for change in explanation.changes { li { (sentence(change)) } } }
        }
        @if let Some(text) = &finding.diff { (part("expected and observed events", diff(text))) }
        @if let Some(text) = &finding.events { (part("events before and now", diff(text))) }
        @if finding.category.severity() != Severity::Expected {
            (command("again", &finding.again))
        }
    }
}

/// The outcome whose colour shows how bad a category is.
fn colour(category: Category) -> &'static str {
    match category {
        Category::NewFailure
        | Category::NoLongerSupported
        | Category::MoreInstructions
        | Category::Vanished
        | Category::FailingNotRunBefore
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
