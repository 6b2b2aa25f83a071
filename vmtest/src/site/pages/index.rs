//! The first page: which tool works on which kernel.

use kernlab_kernels::Arch;
use maud::{Markup, html};

use super::{
    super::{
        status::Status,
        tool::{Kind, Tool},
    },
    Context,
    parts::{cause, change, mark},
};
use crate::report::{
    Kernel,
    grid::{NOT_TOLD, distinct},
    headline::listed,
    html::page,
    table::counted,
};

/// The most changes and causes that the page shows.
const SHOWN: usize = 8;

pub(super) fn render(context: &Context<'_>) -> Vec<u8> {
    let Context { collection, tools, .. } = context;
    let kernels = &collection.current.kernels;
    let failing: Vec<_> = context.causes.iter().filter(|cause| is_failure(cause)).collect();
    let content = html! {
        p.facts {
            (counted(tools.len(), "tool")) " on " (counted(kernels.len(), "kernel")) ", "
            (counted(collection.current.cells.len(), "cell")) ", from "
            a href="runs.html" { (counted(collection.runs.len(), "run")) }
            @if let Some(newest) = collection.runs.last() { ". Newest: " (newest.moment()) }
        }
        @if !tools.is_empty() {
            (filter())
            (grid(context))
            (legend(context))
        }
        @if !failing.is_empty() {
            h2 { "What fails, and why" }
            @for finding in failing.iter().take(SHOWN) { (cause(context, "", finding)) }
            @if failing.len() > SHOWN {
                p { "The pages of the tools have " (counted(failing.len() - SHOWN, "more cause")) "." }
            }
        }
        @if !context.changes.is_empty() {
            h2 { "What changed lately" }
            ul.changes {
                @for changed in context.changes.iter().take(SHOWN) {
                    li {
                        small { (collection.runs[changed.run].day()) }
                        (change(context, "", changed))
                    }
                }
            }
            p { a href="runs.html" { "All runs, and what changed between them" } }
        }
    };
    context.page("", &verdict(context), &content)
}

fn is_failure(cause: &crate::report::regression::Finding) -> bool {
    cause.category.severity() == kernlab_core::outcome::Severity::Failure
}

/// The result in one sentence.
fn verdict(context: &Context<'_>) -> String {
    let kernels = &context.collection.current.kernels;
    let status = |tool: &Tool<'_>| Status::of(tool.cells.iter().copied());
    let (all, count) = (context.tools.len(), counted(kernels.len(), "kernel"));
    let failing: Vec<_> =
        context.tools.iter().filter(|tool| status(tool) == Status::Fails).collect();
    match &failing[..] {
        [] if all == 0 => "Nothing was tested".to_owned(),
        [] => {
            let works = context.tools.iter().filter(|tool| status(tool) == Status::Works).count();
            match works {
                works if works == all && all == 1 => {
                    format!("{} works on {count}", context.tools[0].name)
                }
                works if works == all => format!("All {all} tools work on {count}"),
                works => format!("{works} of {} work on {count}, none fails", counted(all, "tool")),
            }
        }
        [tool] => {
            let by_kernel = tool.by_kernel(kernels);
            let fails = by_kernel.iter().filter(|(_, status)| *status == Status::Fails);
            let fails: Vec<_> = fails.map(|(kernel, _)| kernel.id.as_str()).collect();
            format!("{} fails on {}", tool.name, listed(&fails, "kernel"))
        }
        few => format!("{} of {} fail", few.len(), counted(all, "tool")),
    }
}

/// A filter, which is hidden until the script shows it.
fn filter() -> Markup {
    html! {
        form.filter hidden {
            label { "Tool " input type="search" name="name" autocomplete="off"; }
            label { input type="checkbox" name="fails"; " only what fails" }
        }
    }
}

fn grid(context: &Context<'_>) -> Markup {
    let Context { collection, place, .. } = context;
    let kernels = &collection.current.kernels;
    let kinds = [Kind::Suite, Kind::Tracer];
    let architectures = architectures(context);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Tools and kernels" {
            table.grid {
                thead {
                    @if architectures.len() > 1 {
                        tr {
                            td {}
                            @for (name, count) in &architectures {
                                th scope="colgroup" colspan=(count) { (name) }
                            }
                        }
                    }
                    tr {
                        th scope="col" { "Tool" }
                        @for kernel in kernels {
                            th scope="col" {
                                a href=(place.kernel(&kernel.id)) { (page::name(&kernel.id)) }
                                (about(context, kernel))
                            }
                        }
                    }
                }
                @for kind in kinds {
                    @if context.tools.iter().any(|tool| tool.kind == kind) {
                        tbody {
                            tr.kind {
                                th scope="rowgroup" { (kind.title()) }
                                td colspan=(kernels.len()) {}
                            }
                            @for tool in context.tools.iter().filter(|tool| tool.kind == kind) {
                                (row(context, tool))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn row(context: &Context<'_>, tool: &Tool<'_>) -> Markup {
    let Context { collection, place, .. } = context;
    let fails = Status::of(tool.cells.iter().copied()) == Status::Fails;
    html! {
        tr data-name=(tool.name) data-fails=[fails.then_some("")] {
            th scope="row" { a href=(place.tool(tool)) { (page::name(tool.name)) } }
            @for kernel in &collection.current.kernels {
                td { (marks(context, "", tool, kernel)) }
            }
        }
    }
}

/// A mark for each BTF mode, with the number of failing cells.
pub(super) fn marks(context: &Context<'_>, root: &str, tool: &Tool<'_>, kernel: &Kernel) -> Markup {
    let cells = tool.on(&kernel.id);
    let modes = distinct(cells.iter().map(|cell| cell.btf.as_str()));
    let address = format!("{root}{}", context.place.tool_on(tool, &kernel.id));
    html! {
        @for mode in modes {
            @let of_mode: Vec<_> = cells.iter().copied().filter(|cell| cell.btf == mode).collect();
            @let status = Status::of(of_mode.iter().copied());
            @let failing = of_mode.iter().filter(|cell| Status::of([**cell]) == Status::Fails).count();
            @let note = match (status, of_mode.len()) {
                (Status::Fails, 2..) => format!(" {failing}/{}", of_mode.len()),
                _ => String::new(),
            };
            @let about = format!("{} on {} ({mode})", tool.name, kernel.id);
            (mark(status, &note, &address, &about))
        }
    }
}

/// The architectures with the numbers of their kernels, if any report names them. Kernels are ordered by
/// them.
fn architectures(context: &Context<'_>) -> Vec<(&'static str, usize)> {
    let kernels = &context.collection.current.kernels;
    let blocks = kernels.chunk_by(|one, other| one.arch == other.arch);
    blocks.map(|block| (block[0].arch.map_or(NOT_TOLD, Arch::name), block.len())).collect()
}

/// The release of a kernel, and its BTF modes.
fn about(context: &Context<'_>, kernel: &Kernel) -> Markup {
    let of_kernel = context.collection.current.cells.iter().filter(|cell| cell.kernel == kernel.id);
    let modes = distinct(of_kernel.map(|cell| cell.btf.as_str()));
    html! {
        @match (&kernel.unavailable, &kernel.release) {
            (Some(_), _) => small { "not available" },
            (None, Some(release)) => small.release { (release) },
            (None, None) => {},
        }
        small { (modes.join(", ")) }
    }
}

fn legend(context: &Context<'_>) -> Markup {
    let all = [Status::Works, Status::Fails, Status::Unsupported, Status::Unknown];
    let seen = |status: &Status| {
        let cells = &context.collection.current.cells;
        cells.iter().any(|cell| Status::of([cell]) == *status)
    };
    html! {
        p.facts {
            @for status in all.iter().filter(|status| seen(status)) {
                span.cell.(status.class()) aria-hidden="true" { (status.symbol()) } " "
                (status.word()) ". "
            }
            "A mark for each BTF mode of the kernel; a failure has the number of failing cells."
        }
    }
}
