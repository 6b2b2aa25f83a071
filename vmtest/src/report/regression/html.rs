//! A comparison as one self-contained page of HTML without scripts.

use kernlab_core::outcome::Severity;
use maud::html;

use super::{
    super::{
        html::{cause, page},
        table::counted,
    },
    Category, Regression,
};

/// Renders the page, with regressions first and each cause once.
pub fn render(regression: &Regression) -> String {
    let (head, base) = (regression.head.name(), regression.base.name());
    let sections = SECTIONS.map(|(title, is_of_section)| {
        let findings = regression.findings.iter();
        (title, findings.filter(|found| is_of_section(found.category)).collect::<Vec<_>>())
    });
    let content = html! {
        p.lead { (lead(regression)) }
        p { (regression.tally()) }
        @for (title, findings) in sections.iter().filter(|(_, findings)| !findings.is_empty()) {
            section {
                h2 { (title) }
                @for finding in findings { (cause::of_comparison(finding)) }
            }
        }
        @if let Some(difference) = &regression.difference {
            h2 { "What changed for the tracers from " (difference.old) " to " (difference.new) }
            (page::preformatted(maud::display(difference)))
        }
    };
    page::whole(&format!("kernlab: {head} compared with {base}"), &content)
}

type Section = (&'static str, fn(Category) -> bool);

/// Most important first.
const SECTIONS: [Section; 6] = [
    ("What got worse", |category| category.severity() == Severity::Failure),
    ("Inconclusive", |category| category.severity() == Severity::Inconclusive),
    ("What got better", |category| matches!(category, Category::Fixed | Category::NewlySupported)),
    ("What still fails", |category| category == Category::StillFailing),
    ("Changed results", |category| {
        matches!(category, Category::EventsChanged | Category::UnsupportedOtherwise)
    }),
    ("What is new, or only on one side", |category| {
        matches!(category, Category::NewKernel | Category::NewCell | Category::NotComparable)
    }),
];

/// The result in one sentence.
fn lead(regression: &Regression) -> String {
    let worse: Vec<_> = regression
        .findings
        .iter()
        .filter(|finding| finding.category.severity() == Severity::Failure)
        .collect();
    let cells: usize = worse.iter().map(|finding| finding.cells.len()).sum();
    match (worse.len(), regression.severity()) {
        (0, Severity::Inconclusive) => "Nothing is known to be worse, but not all is known.".into(),
        (0, _) => "Nothing got worse.".into(),
        (causes, _) => {
            format!("{} got worse, for {}.", counted(cells, "cell"), counted(causes, "cause"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::everything, *};

    #[test]
    fn every_category_has_one_section() {
        for finding in everything().findings {
            let sections = SECTIONS.iter().filter(|(_, is_of)| is_of(finding.category)).count();
            assert_eq!(sections, 1, "{}", finding.category);
        }
    }

    #[test]
    fn all_that_can_happen() {
        let page = render(&everything());
        let (_, body) = page.split_once("</style>").unwrap();
        insta::assert_snapshot!(body.replace("><", ">\n<"));
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let page = render(&everything());
        for word in ["http:", "https:", "src=", "@import", "url(", "<script"] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn nothing_that_a_cell_says_becomes_part_of_the_page() {
        let mut regression = everything();
        for finding in &mut regression.findings {
            let hostile = "`</code>` <script>alert(1)</script>\" onload=\"x";
            finding.message = hostile.to_owned();
            finding.diff = Some(hostile.to_owned());
            finding.cells = vec![hostile.to_owned()];
        }
        let page = render(&regression);
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("\" onload"), "{page}");
    }
}
