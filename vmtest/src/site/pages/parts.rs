//! What several pages show alike.

use kernlab_core::outcome::Outcome;
use maud::{Markup, html};

use super::{
    super::{
        change::Change,
        collection::{Collection, Observation, PastRun},
        status::{Status, of_outcome},
    },
    Context,
};
use crate::report::{
    CellReport,
    grid::symbol,
    headline::listed,
    html::{cause, page},
    in_a_line,
    regression::Finding,
    table::counted,
};

/// The most runs that a row of the history has.
pub(super) const HISTORY: usize = 60;
/// How much of a message a table shows, in characters.
const MESSAGE: usize = 300;

/// A status as a link, with a symbol as well as a colour.
pub(super) fn mark(status: Status, note: &str, address: &str, about: &str) -> Markup {
    let label = format!("{about}: {}", status.word());
    html! {
        a.cell.(status.class()) href=(address) title=(label) {
            span.unseen { (label) }
            span aria-hidden="true" { (status.symbol()) }
            (note)
        }
    }
}

/// The verdict of a cell.
pub(super) fn verdict(cell: &CellReport) -> Markup {
    html! { span.cell.(of_outcome(cell.outcome).class()) { (cell.verdict()) } }
}

/// The beginning of a message.
pub(super) fn message(message: &str) -> Markup {
    let headline = in_a_line(message);
    let shown: String = headline.chars().take(MESSAGE).collect();
    let more = if shown.len() < headline.len() { "…" } else { "" };
    html! { (page::sentence(&shown)) (more) }
}

/// The results of a cell in these runs, oldest first: a character for each run.
pub(super) fn history(collection: &Collection, cell: &CellReport, runs: &[usize]) -> Markup {
    let all = collection.history.get(&cell.id()).map_or(&[][..], Vec::as_slice);
    let mut groups: Vec<(Option<Outcome>, usize)> = Vec::new();
    let mut rest = all.iter().peekable();
    for run in runs {
        while rest.next_if(|observation| observation.run < *run).is_some() {}
        let outcome = rest.peek().filter(|found| found.run == *run).map(|found| found.outcome);
        match groups.last_mut() {
            Some((last, count)) if *last == outcome => *count += 1,
            _ => groups.push((outcome, 1)),
        }
    }
    let told: Vec<_> = groups
        .iter()
        .map(|(outcome, count)| format!("{count} {}", outcome.map_or("without it", Outcome::name)))
        .collect();
    html! {
        span.history role="img" aria-label={ "oldest first: " (told.join(", ")) } {
            @for (outcome, count) in &groups {
                @match outcome {
                    Some(outcome) => span.(of_outcome(*outcome).class()) {
                        (symbol(*outcome).to_string().repeat(*count))
                    },
                    None => span { (" ".repeat(*count)) },
                }
            }
        }
    }
}

/// A change from one run to another, in a line.
pub(super) fn change(context: &Context<'_>, root: &str, change: &Change) -> Markup {
    let (before, now) = (change.before.join(" or "), change.now.join(" or "));
    let class = super::runs::class(change);
    html! {
        span.cell.(class) { (change.category.title()) } " "
        a href={ (root) (context.place.of_change(change)) } {
            (page::name(&change.tool.1)) " on " (page::name(&listed(&change.kernels(), "kernel")))
        }
        " (" (counted(change.cells.len(), "cell")) "): "
        @if before.is_empty() || before == now { (now) } @else { "was " (before) ", is " (now) }
        @if !change.message.is_empty() { div.facts { (message(&change.message)) } }
    }
}

/// A cause of failures, with links to the cells that show it.
pub(super) fn cause(context: &Context<'_>, root: &str, finding: &Finding) -> Markup {
    cause::of_site(finding, |cell| {
        html! { a href={ (root) (context.place.cell(cell)) } { (page::name(cell)) } }
    })
}

/// The day of a cell's newest result, if it is not that of the newest run.
pub(super) fn age(collection: &Collection, cell: &CellReport) -> Option<String> {
    let newest: Option<&Observation> = collection.history.get(&cell.id()).and_then(|a| a.last());
    let day = collection.runs.get(newest?.run)?.day();
    (Some(&day) != collection.runs.last().map(PastRun::day).as_ref()).then_some(day)
}
