//! All runs, and what changed from one to the next.

use kernlab_core::outcome::Severity;
use maud::html;

use super::{super::change::Change, Context, parts::change};
use crate::report::{html::page, regression::Category, table::counted};

/// The most changes that are shown of a run.
const SHOWN: usize = 30;

pub(super) fn render(context: &Context<'_>) -> Vec<u8> {
    let runs = &context.collection.runs;
    let content = html! {
        p.facts { "Newest first. Each run is compared with the newest earlier result of each cell." }
        @for (index, run) in runs.iter().enumerate().rev() {
            @let changes: Vec<_> =
                context.changes.iter().filter(|change| change.run == index).collect();
            section.run id={ "run-" (index) } {
                h2 { (run.moment()) }
                p.facts {
                    (page::name(&run.id)) ": " (counted(run.cells, "cell")) " in "
                    (run.duration_ms.div_ceil(1000)) " s, " (run.tally)
                }
                @if changes.is_empty() {
                    p.facts { @if index == 0 { "The first run." } @else { "Nothing changed." } }
                } @else {
                    ul.changes {
                        @for changed in changes.iter().take(SHOWN) {
                            li { (change(context, "", changed)) }
                        }
                        @if changes.len() > SHOWN {
                            li { "and " (counted(changes.len() - SHOWN, "more change")) }
                        }
                    }
                }
            }
        }
    };
    context.page("", &counted(runs.len(), "run"), &content)
}

/// The outcome whose colour a change has.
pub(super) fn class(change: &Change) -> &'static str {
    match (change.category, change.category.severity()) {
        (_, Severity::Failure) => "fail",
        (Category::Fixed | Category::NewlySupported, _) => "pass",
        _ => "unsupported",
    }
}
