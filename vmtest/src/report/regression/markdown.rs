//! A comparison in GitHub's Markdown, for a comment or the summary of a job.

use std::fmt::Write as _;

use maud::html;

use super::{
    super::{
        markdown::{Bounded, escaped, fenced, message},
        printable,
    },
    Explanation, Finding, Regression,
};

/// The counts as a table, then every finding with its diffs folded. What would exceed `limit`
/// bytes is left out and counted.
pub fn render(regression: &Regression, limit: usize) -> String {
    let (head, base) = (regression.head.name(), regression.base.name());
    let mut text = format!("### kernlab: {} compared with {}\n\n", escaped(&head), escaped(&base));
    text += "| what | cells |\n|---|--:|\n";
    let _ = writeln!(text, "| the same | {} |", regression.same);
    for (category, count) in regression.counts() {
        let _ = writeln!(text, "| {category} | {count} |");
    }
    if regression.events_unknown > 0 {
        let _ = writeln!(text, "| events missing | {} |", regression.events_unknown);
    }
    let mut text = Bounded { text, rest: "left out" };
    // Room to say that the list of changes is left out.
    let reserved = if regression.difference.is_some() { 64 } else { 0 };
    text.add(
        limit.saturating_sub(reserved),
        "finding",
        regression.findings.iter().map(entry).collect(),
    );
    if let Some(difference) = &regression.difference {
        let (old, new) = (&difference.old, &difference.new);
        let summary = html! {
            summary { "what changed for the tracers from " (printable(old)) " to " (printable(new)) }
        };
        let mut folded = format!("\n<details>{}\n\n", summary.into_string());
        folded += &fenced("text", &difference.to_string());
        folded += "</details>\n";
        text.add(limit, "list of changes", vec![folded]);
    }
    text.text
}

fn entry(finding: &Finding) -> String {
    let mut text = format!("\n#### {}\n\n", escaped(&finding.title()));
    if !finding.message.is_empty() {
        text += &message(&finding.message);
    }
    for explanation in Explanation::together(&finding.explanations) {
        let _ = writeln!(text, "{}:\n", escaped(&explanation.title()));
        for change in explanation.changes {
            let _ = writeln!(text, "- {}", escaped(change));
        }
        text.push('\n');
    }
    let (cells, more) = finding.listed();
    for cell in cells {
        let _ = writeln!(text, "- {}", escaped(cell));
    }
    if more > 0 {
        let _ = writeln!(text, "- and {more} more");
    }
    let diffs = [("expected, observed", &finding.diff), ("events", &finding.events)];
    for (what, diff) in diffs {
        if let Some(diff) = diff {
            let _ = writeln!(text, "\n<details><summary>{what}</summary>\n");
            text += &fenced("diff", diff);
            text += "</details>\n";
        }
    }
    text
}
