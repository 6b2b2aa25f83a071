//! The page of a kernel: what is known of it, what changed since the one before, and what broke.

use std::collections::BTreeSet;

use kernlab_core::{
    dossier::{
        Dossier,
        diff::{Difference, explain_named},
    },
    facts::ProbeResult,
    outcome::Severity,
};
use maud::{Markup, html};

use super::{
    super::{status::Status, tool::Tool},
    Context, context_side,
    index::marks,
    parts::cause,
};
use crate::report::{
    CellReport, Kernel,
    headline::listed,
    html::page,
    regression::{Category, EvidenceSource as _, Finding, Regression},
    table::counted,
};

/// The most causes that the page shows.
const SHOWN: usize = 20;

pub(super) fn render(context: &Context<'_>, kernel: &Kernel) -> Vec<u8> {
    let collection = context.collection;
    let tools: Vec<_> =
        context.tools.iter().filter(|tool| !tool.on(&kernel.id).is_empty()).collect();
    let dossier = collection.dossier(&kernel.id);
    let before = collection.predecessor(kernel);
    let content = html! {
        (facts(context, kernel, dossier.as_ref()))
        h2 { "Tools" }
        (table(context, &tools, kernel))
        @if let Some(before) = before {
            (since(context, before, kernel, dossier.as_ref()))
        }
        (broken(context, kernel, before))
    };
    context.page("../", &title(kernel, &tools), &content)
}

fn title(kernel: &Kernel, tools: &[&Tool<'_>]) -> String {
    let status = |tool: &Tool<'_>| Status::of(tool.on(&kernel.id));
    let fails: Vec<_> =
        tools.iter().filter(|tool| status(tool) == Status::Fails).map(|tool| tool.name).collect();
    let id = &kernel.id;
    match fails.len() {
        0 if tools.iter().all(|tool| status(tool) == Status::Unknown) => {
            format!("Nothing is known of {id}")
        }
        0 => format!("Nothing fails on {id}"),
        1 => format!("{} fails on {id}", fails[0]),
        _ => format!("{} fail on {id}", listed(&fails, "tool")),
    }
}

fn facts(context: &Context<'_>, kernel: &Kernel, dossier: Option<&Dossier>) -> Markup {
    let collection = context.collection;
    let releases = collection.releases(&kernel.id);
    let cells = collection.current.cells.iter().filter(|cell| cell.kernel == kernel.id);
    let runs = cells.filter_map(|cell| collection.run_of(cell));
    let tested = runs.max_by_key(|run| run.started);
    html! {
        dl.facts-list {
            @if let Some(release) = &kernel.release { dt { "Release" } dd { code { (release) } } }
            @if let Some(why) = &kernel.unavailable { dt { "Can't be had" } dd { (why) } }
            @if let Some(arch) = kernel.arch { dt { "Architecture" } dd { (arch.name()) } }
            @if let Some(tested) = tested { dt { "Tested" } dd { (tested.moment()) } }
            @if let Some(dossier) = dossier { (of_dossier(dossier)) }
            @if releases.len() > 1 {
                dt { "Releases" }
                dd { ul { @for (run, release) in releases.iter().rev() {
                    li { code { (release) } " from " (run.day()) " on" }
                } } }
            }
        }
        @if dossier.is_none() {
            p.facts { "No run has a dossier of this kernel: its features and functions are not known here." }
        }
    }
}

fn of_dossier(dossier: &Dossier) -> Markup {
    let features = &dossier.features;
    let helpers = features.helpers.iter().map(|(name, probe)| (format!("bpf_{name}"), *probe));
    let lacking: Vec<_> = helpers
        .chain(features.maps.iter().map(|(name, probe)| (format!("map type {name}"), *probe)))
        .filter(|(_, probe)| *probe == ProbeResult::No)
        .map(|(name, _)| name)
        .collect();
    html! {
        dt { "Machine" } dd { (dossier.machine) }
        dt { "Type information (BTF)" } dd { @if dossier.types.is_some() { "yes" } @else { "no" } }
        dt { "Ring buffer" } dd { (features.ring_buffer) }
        dt { "Uprobes" } dd { @if features.uprobes { "yes" } @else { "no" } }
        @if let Some(fentry) = features.fentry { dt { "fentry, fexit" } dd { (fentry) } }
        @if !lacking.is_empty() {
            dt { "Lacks" }
            dd { @for (number, name) in lacking.iter().enumerate() {
                @if number > 0 { ", " } code { (name) }
            } }
        }
    }
}

fn table(context: &Context<'_>, tools: &[&Tool<'_>], kernel: &Kernel) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Tools" {
            table.grid {
                thead { tr { th scope="col" { "Tool" } th scope="col" { "Result" } th scope="col" { "Cells" } } }
                tbody {
                    @for tool in tools {
                        tr {
                            th scope="row" {
                                a href={ "../" (context.place.tool(tool)) } { (page::name(tool.name)) }
                            }
                            td { (marks(context, "../", tool, kernel)) }
                            td { (crate::report::Tally::of(tool.on(&kernel.id))) }
                        }
                    }
                }
            }
        }
    }
}

/// How the kernel differs from the one before, in all that tools use.
fn since(context: &Context<'_>, before: &Kernel, kernel: &Kernel, new: Option<&Dossier>) -> Markup {
    let old = context.collection.dossier(&before.id);
    html! {
        h2 { "What changed since " (page::name(&before.id)) }
        p { a href={ "../" (context.place.kernel(&before.id)) } { "About " (page::name(&before.id)) } }
        @match (old, new) {
            (Some(old), Some(new)) => {
                (difference(&Difference::between(&old, new)))
                @for tool in context.tools.iter().filter(|tool| tool.cells.iter().any(|c| c.is_of_suite())) {
                    @let changes = explain_named(&old, new, &names(context, tool, before, kernel));
                    @if !changes.is_empty() {
                        h3 { (page::name(tool.name)) }
                        ul { @for change in changes { li { (page::sentence(&change)) } } }
                    }
                }
            },
            _ => p.facts { "Not known: no run has dossiers of both kernels." },
        }
    }
}

fn difference(difference: &Difference) -> Markup {
    html! {
        @if difference.tracers.is_empty() && difference.general.is_empty() {
            p { "Nothing that the lab's own tracers depend on." }
        }
        @for (tracer, changes) in &difference.tracers {
            details {
                summary { (tracer) ": " (counted(changes.len(), "change")) }
                @for change in changes { (page::preformatted(maud::display(change))) }
            }
        }
        @if !difference.general.is_empty() {
            details {
                summary { "features and options: " (counted(difference.general.len(), "change")) }
                @for change in &difference.general { (page::preformatted(maud::display(change))) }
            }
        }
    }
}

/// What a suite's tracer names on one of two kernels.
fn names(
    context: &Context<'_>,
    tool: &Tool<'_>,
    before: &Kernel,
    kernel: &Kernel,
) -> BTreeSet<String> {
    let of = |cell: &&CellReport| context.collection.output(cell);
    let cells: Vec<_> = [before, kernel].into_iter().flat_map(|k| tool.on(&k.id)).collect();
    cells.iter().flat_map(|cell| cell.names(None, &of(cell))).collect()
}

/// What fails here and not on the kernel before.
fn broken(context: &Context<'_>, kernel: &Kernel, before: Option<&Kernel>) -> Markup {
    let side = context_side(context.collection);
    let compared =
        before.and_then(|before| Regression::of_kernels(side, &before.id, &kernel.id).ok());
    let findings = compared.map(|compared| compared.findings).unwrap_or_default();
    let worse = |finding: &&Finding| {
        finding.category.severity() == Severity::Failure && finding.category != Category::Vanished
    };
    let worse: Vec<_> = findings.iter().filter(worse).collect();
    let still: Vec<_> =
        findings.iter().filter(|finding| finding.category == Category::StillFailing).collect();
    let better: Vec<_> = findings
        .iter()
        .filter(|found| matches!(found.category, Category::Fixed | Category::NewlySupported))
        .collect();
    let Some(before) = before else { return html! {} };
    html! {
        h2 { "What broke since " (page::name(&before.id)) }
        @if worse.is_empty() { p { "Nothing." } }
        @for finding in worse.iter().take(SHOWN) { (cause(context, "../", finding)) }
        @if !still.is_empty() {
            h2 { "What fails on both" }
            @for finding in still.iter().take(SHOWN) { (cause(context, "../", finding)) }
        }
        @if !better.is_empty() {
            h2 { "What works here, and not on " (page::name(&before.id)) }
            ul { @for finding in better.iter().take(SHOWN) { li { (page::name(&finding.place())) } } }
        }
    }
}
