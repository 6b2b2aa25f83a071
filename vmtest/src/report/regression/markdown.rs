//! A comparison in Markdown, for a comment or the summary of a job.

use std::fmt::Write as _;

use super::{
    super::{
        html,
        markdown::{escaped, fenced},
    },
    Finding, Regression,
};

/// The counts as a table, then every finding; its diffs are folded away.
pub fn render(regression: &Regression) -> String {
    let (head, base) = (regression.head.name(), regression.base.name());
    let mut text = format!("### kernlab: {} beside {}\n\n", escaped(head), escaped(base));
    text += "| what | cells |\n|---|--:|\n";
    let _ = writeln!(text, "| the same | {} |", regression.same);
    for (category, count) in regression.counts() {
        let _ = writeln!(text, "| {category} | {count} |");
    }
    if regression.events_unknown > 0 {
        let _ = writeln!(text, "| events not at hand | {} |", regression.events_unknown);
    }
    for finding in &regression.findings {
        text += &entry(finding);
    }
    if let Some(difference) = &regression.difference {
        let (old, new) = (&difference.old, &difference.new);
        let _ = writeln!(
            text,
            "\n<details><summary>what changed for the tracers from {} to {}</summary>\n",
            html::escaped(old),
            html::escaped(new)
        );
        text += &fenced("text", &difference.to_string());
        text += "</details>\n";
    }
    text
}

fn entry(finding: &Finding) -> String {
    let mut text = format!("\n#### {}\n\n", escaped(&finding.title()));
    if !finding.message.is_empty() {
        let _ = writeln!(text, "{}\n", escaped(&finding.message));
    }
    for explanation in &finding.explanations {
        let _ = writeln!(text, "{}:\n", escaped(&explanation.title()));
        for change in &explanation.changes {
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
