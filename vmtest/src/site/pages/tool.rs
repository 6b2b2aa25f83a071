//! The page of a tool: on which kernels it works, and why not on others.

use std::collections::BTreeMap;

use kernlab_core::outcome::{Outcome, Severity};
use maud::{Markup, html};

use super::{
    super::{
        badge::Badge,
        change::runs_of,
        collection::version,
        evidence::Piece,
        known::Known,
        status::Status,
        tool::{Kind, Tool},
    },
    Context,
    parts::{HISTORY, age, cause, change, history, message, verdict},
    place::anchor,
};
use crate::report::{
    CellReport, Kernel, grid::distinct, headline::listed, html::page, in_a_line,
    regression::Finding, table::counted,
};

/// The most changes and causes that the page shows.
const SHOWN: usize = 20;

pub(super) fn render(context: &Context<'_>, tool: &Tool<'_>, badge: &Badge) -> Vec<u8> {
    let kernels = &context.collection.current.kernels;
    let by_kernel = tool.by_kernel(kernels);
    let causes = causes(context, tool);
    let runs: Vec<_> = runs_of(context.collection, &tool.cells).into_iter().collect();
    let count = runs.len();
    let runs = &runs[runs.len().saturating_sub(HISTORY)..];
    let changes = context
        .changes
        .iter()
        .filter(|change| (change.tool.0, change.tool.1.as_str()) == (tool.kind, tool.name));
    let changes: Vec<_> = changes.take(SHOWN).collect();
    let content = html! {
        p.facts {
            (kind(tool.kind)) ", " (counted(tool.cells.len(), "cell")) " on "
            (counted(by_kernel.len(), "kernel")) ", from " (counted(count, "run"))
        }
        (summary(context, tool, &by_kernel))
        @if !causes.is_empty() {
            h2 { "Why it fails" }
            @for finding in &causes { (cause(context, "../", finding)) }
        }
        h2 { "Every result" }
        p.facts {
            "History: a character for each run, oldest first; . is a pass, - is unsupported, a letter "
            "is anything else."
        }
        @match tool.kind {
            Kind::Suite => (table(context, tool, &tool.cells, runs, "Results")),
            Kind::Tracer => {
                @for (kernel, status) in &by_kernel { (on(context, tool, kernel, *status, runs)) }
            },
        }
        @if !changes.is_empty() {
            h2 { "What changed between runs" }
            ul.changes {
                @for changed in changes {
                    li {
                        small { (context.collection.runs[changed.run].day()) }
                        (change(context, "../", changed))
                    }
                }
            }
        }
        h2 { "Badge" }
        p { img src={ "../badges/" (tool.file) ".svg" } alt=(badge.text()) height="20"; }
        (badge_text(context, tool, badge))
    };
    context.page("../", &title(tool, &by_kernel), &content)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Suite => "A suite",
        Kind::Tracer => "One of the lab's own tracers",
    }
}

/// The causes of its failures, each with its own cells only: what a thousand tools have in common would
/// otherwise list all cells on all of their pages.
fn causes(context: &Context<'_>, tool: &Tool<'_>) -> Vec<Finding> {
    let own: BTreeMap<_, _> = tool.cells.iter().map(|cell| (cell.id(), *cell)).collect();
    let of_tool = |finding: &Finding| {
        let cells: Vec<_> = finding.cells.iter().filter_map(|id| own.get_key_value(id)).collect();
        let (_, first) = cells.first()?;
        Some(Finding {
            again: first.repro_command(),
            cells: cells.iter().map(|(id, _)| (*id).clone()).collect(),
            ..finding.clone()
        })
    };
    context.causes.iter().filter_map(of_tool).take(SHOWN).collect()
}

fn with(by_kernel: &[(&Kernel, Status)], status: Status) -> Vec<String> {
    let found = by_kernel.iter().filter(|(_, of_kernel)| *of_kernel == status);
    found.map(|(kernel, _)| kernel.id.clone()).collect()
}

/// The verdict in a sentence.
fn title(tool: &Tool<'_>, by_kernel: &[(&Kernel, Status)]) -> String {
    let name = tool.name;
    let names = |status| with(by_kernel, status);
    let (works, fails) = (names(Status::Works), names(Status::Fails));
    match (works.len(), fails.len(), by_kernel.len()) {
        (_, 0, _) if works.is_empty() && names(Status::Unsupported).is_empty() => {
            format!("Nothing is known of {name}")
        }
        (0, 0, _) => {
            format!("{name} is supported on none of {}", counted(by_kernel.len(), "kernel"))
        }
        (works, 0, all) if works == all => format!("{name} works on {}", counted(all, "kernel")),
        (works, 0, all) => format!("{name} works on {works} of {}", counted(all, "kernel")),
        (_, _, _) => match since(by_kernel) {
            Some(first) => format!("{name} fails from {first} on"),
            None => {
                let fails: Vec<_> = fails.iter().map(String::as_str).collect();
                format!("{name} fails on {}", listed(&fails, "kernel"))
            }
        },
    }
}

/// The kernel from which on a tool fails on all newer ones, and works on some older one.
fn since<'a>(by_kernel: &[(&'a Kernel, Status)]) -> Option<&'a str> {
    let mut known: Vec<_> =
        by_kernel.iter().filter(|(_, status)| *status != Status::Unknown).collect();
    known.sort_by_cached_key(|(kernel, _)| version(kernel));
    let first = known.iter().position(|(_, status)| *status == Status::Fails)?;
    let (before, after) = known.split_at(first);
    let is_since = after.len() > 1
        && after.iter().all(|(_, status)| *status == Status::Fails)
        && before.iter().any(|(_, status)| *status == Status::Works);
    is_since.then(|| after[0].0.id.as_str())
}

/// Where it works, where it fails and because of what, and where it can't work.
fn summary(context: &Context<'_>, tool: &Tool<'_>, by_kernel: &[(&Kernel, Status)]) -> Markup {
    let groups = [
        (Status::Works, "Works on"),
        (Status::Fails, "Fails on"),
        (Status::Unsupported, "Not supported on"),
        (Status::Unknown, "Not known on"),
    ];
    html! {
        dl.summary {
            @for (status, title) in groups {
                @let kernels = with(by_kernel, status);
                @if !kernels.is_empty() {
                    dt { span.cell.(status.class()) aria-hidden="true" { (status.symbol()) } " " (title) }
                    dd {
                        @for (number, kernel) in kernels.iter().enumerate() {
                            @if number > 0 { ", " }
                            a href={ "../" (context.place.tool_on(tool, kernel)) } { (page::name(kernel)) }
                            @if let Some(modes) = some_modes(tool, kernel, status) { " (" (modes) ")" }
                        }
                        @for (why, count) in reasons(tool, &kernels, status) {
                            p { "because " (message(&why)) " " small.inline { (counted(count, "cell")) } }
                        }
                    }
                }
            }
        }
    }
}

/// The BTF modes in which a tool has this status on a kernel, unless it has it in all.
fn some_modes(tool: &Tool<'_>, kernel: &str, status: Status) -> Option<String> {
    let cells = tool.on(kernel);
    let all = distinct(cells.iter().map(|cell| cell.btf.as_str()));
    let has_it =
        |mode: &&str| Status::of(cells.iter().copied().filter(|cell| cell.btf == **mode)) == status;
    let with: Vec<_> = all.iter().copied().filter(has_it).collect();
    (!with.is_empty() && with.len() < all.len()).then(|| with.join(", "))
}

/// What the cells say that are no pass, each once, the most frequent first.
fn reasons(tool: &Tool<'_>, kernels: &[String], status: Status) -> Vec<(String, usize)> {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    let is_meant = |cell: &&&CellReport| {
        kernels.contains(&cell.kernel) && Status::of([**cell]) == status && status != Status::Works
    };
    for cell in tool.cells.iter().filter(is_meant) {
        let message = in_a_line(&cell.message);
        match reasons.iter_mut().find(|(known, _)| *known == message) {
            _ if message.is_empty() => {}
            Some((_, count)) => *count += 1,
            None => reasons.push((message, 1)),
        }
    }
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons.truncate(4);
    reasons
}

/// All cells on a kernel; folded where all is well.
fn on(
    context: &Context<'_>,
    tool: &Tool<'_>,
    kernel: &Kernel,
    status: Status,
    runs: &[usize],
) -> Markup {
    let cells = tool.on(&kernel.id);
    let open = matches!(status, Status::Fails) || tool.cells.len() <= SHOWN;
    let title = format!("Results on {}", kernel.id);
    html! {
        details id=(context.place.on(&kernel.id)) open[open] {
            summary {
                h3 { span.cell.(status.class()) { (status.word()) } " " (page::name(&kernel.id)) }
                span.facts {
                    @if let Some(release) = &kernel.release { (release) ", " }
                    (crate::report::Tally::of(cells.iter().copied()))
                }
            }
            p { a href={ "../" (context.place.kernel(&kernel.id)) } { "About " (page::name(&kernel.id)) } }
            (table(context, tool, &cells, runs, &title))
        }
    }
}

/// A row for each cell: of a suite on all kernels, or of a tracer on one.
fn table(
    context: &Context<'_>,
    tool: &Tool<'_>,
    cells: &[&CellReport],
    runs: &[usize],
    title: &str,
) -> Markup {
    let what: &[_] = match tool.kind {
        Kind::Suite => &["Kernel", "BTF"],
        Kind::Tracer => &["Scenario", "BTF", "Backend"],
    };
    let columns = ["Result", "Known", "What it says", "Evidence", "History"];
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table.grid.results {
                thead { tr { @for title in what.iter().chain(&columns) { th scope="col" { (title) } } } }
                tbody { @for cell in cells { (result(context, tool, cell, runs)) } }
            }
        }
    }
}

fn result(context: &Context<'_>, tool: &Tool<'_>, cell: &CellReport, runs: &[usize]) -> Markup {
    let scenario = cell.scenario.strip_prefix(tool.name).unwrap_or(&cell.scenario);
    let scenario = scenario.trim_start_matches('/');
    let loaders = distinct(tool.cells.iter().map(|cell| cell.backend.as_str())).len();
    html! {
        tr id=(anchor(&cell.id())) {
            @if tool.kind == Kind::Tracer {
                th scope="row" { (page::name(scenario)) }
                td { (cell.btf) }
                td { (cell.backend) }
            } @else {
                // Other pages link to the first row of a kernel.
                @let is_first = tool.on(&cell.kernel).first().is_some_and(|first| first.id() == cell.id());
                th scope="row" id=[is_first.then(|| context.place.on(&cell.kernel))] {
                    a href={ "../" (context.place.kernel(&cell.kernel)) } { (page::name(&cell.kernel)) }
                }
                td { (cell.btf) @if loaders > 1 { ", " (cell.backend) } }
            }
            td { (verdict(cell)) @if let Some(day) = age(context.collection, cell) { small { (day) } } }
            td.known { (Known::of(cell).word()) }
            td.says { (says(cell)) }
            td { (pieces(context.evidence.pieces(cell))) }
            td { (history(context.collection, cell, runs)) }
        }
    }
}

/// Why it is no pass, and what was predicted if that is all there is.
fn says(cell: &CellReport) -> Markup {
    html! {
        (message(&cell.message))
        @if cell.outcome.severity() == Severity::Inconclusive {
            @if let Some(predicted) = &cell.predicted { small { "predicted: " (predicted) } }
        }
        @if cell.outcome != Outcome::Pass && let Some(reason) = cell.reason {
            small { (reason.meaning()) }
        }
    }
}

fn pieces(pieces: &[Piece]) -> Markup {
    html! {
        @if !pieces.is_empty() {
            ul.pieces {
                @for Piece { label, path } in pieces { li { a href={ "../" (path) } { (label) } } }
            }
        }
    }
}

fn badge_text(context: &Context<'_>, tool: &Tool<'_>, badge: &Badge) -> Markup {
    let file = format!("badges/{}", tool.file);
    let address = |file: &str| match &context.options.url {
        Some(url) => url.of(file),
        None => file.to_owned(),
    };
    let picture = address(&format!("{file}.svg"));
    let target = address(&context.place.tool(tool));
    let text = badge.text().replace(['[', ']'], "");
    html! {
        (page::command("in Markdown", &format!("[![{text}]({picture})]({target})")))
        (page::command("for the endpoint badge of shields.io", &address(&format!("{file}.json"))))
        @if context.options.url.is_none() {
            p.facts { "The addresses are whole if the site is made with --url." }
        }
    }
}
