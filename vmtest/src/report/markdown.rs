//! A run in GitHub's Markdown, for the summary of a job, a comment or a release note.

use std::fmt::Write as _;

use maud::html;

use super::{AllowedSplat, CellReport, Report, grid::Grid, headline, printable, table};

/// The maximum size of a job's summary on GitHub, in bytes.
pub const GITHUB_LIMIT: usize = 1 << 20;

/// The summary, the matrix as a table, and every cell with an unexpected outcome, with its diff.
/// Findings that would exceed `limit` bytes are left out and counted.
pub fn render(report: &Report, limit: usize) -> String {
    let mut text = format!("### kernlab: {}\n\n", escaped(&table::summary(report)));
    for kernel in &report.kernels {
        if let Some(why) = &kernel.unavailable {
            let _ = writeln!(text, "- **{}** can't be had: {}", escaped(&kernel.id), escaped(why));
        }
    }
    for (AllowedSplat { title, reason, link }, count) in report.allowed() {
        let [title, reason, link] = [title, reason, link].map(|text| escaped(text));
        let cells = table::counted(count, "cell");
        let _ = writeln!(text, "- known, in {cells}: **{title}**: {reason}: <{link}>");
    }
    for remark in &report.remarks {
        let _ = writeln!(text, "- {}", escaped(remark));
    }
    matrix(&mut text, report);
    let findings = report.findings();
    if findings.is_empty() {
        return text;
    }
    text += "\n#### What is not as it should be\n";
    for (index, cell) in findings.iter().enumerate() {
        let finding = finding(cell);
        let left = format!("\n{} more are in report.json.\n", findings.len() - index);
        if text.len() + finding.len() + left.len() > limit {
            text += &left;
            break;
        }
        text += &finding;
    }
    text
}

fn matrix(text: &mut String, report: &Report) {
    let grid = Grid::of(report);
    for (arch, kernels) in grid.blocks() {
        let names: Vec<_> = kernels.iter().map(|(kernel, _)| escaped(kernel)).collect();
        let corner = arch.map_or("scenario".to_owned(), |arch| format!("scenario on {arch}"));
        let _ = writeln!(text, "\n| {} | {} |", escaped(&corner), names.join(" | "));
        let _ = writeln!(text, "|---|{}", ":-:|".repeat(names.len()));
        for scenario in &grid.scenarios {
            let cells = kernels.iter().map(|kernel| code(&grid.symbols(kernel, scenario)));
            let cells: Vec<_> = cells.collect();
            let _ = writeln!(text, "| {} | {} |", escaped(scenario), cells.join(" | "));
        }
    }
    let _ = writeln!(text, "\n{}", escaped(&grid.legend()));
}

fn finding(cell: &CellReport) -> String {
    // Markdown takes this line as HTML, so it is escaped as such.
    let summary = html! {
        summary { b { (printable(&cell.id())) } ": " (cell.verdict()) }
    };
    let mut text = format!("\n<details>{}\n\n{}", summary.into_string(), message(&cell.message));
    if let Some(diff) = &cell.diff {
        text += &fenced("diff", diff);
    }
    text += &fenced("console", &format!("$ {}", cell.repro_command()));
    text += "</details>\n";
    text
}

/// A message: its headline, and the lines that follow as a block.
pub(super) fn message(message: &str) -> String {
    let (headline, lines) = headline(message);
    let lines = lines.map(|lines| fenced("text", lines)).unwrap_or_default();
    format!("{}\n\n{lines}", escaped(headline))
}

/// A block of code, in a fence longer than any in its content.
pub(super) fn fenced(language: &str, content: &str) -> String {
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n\n", printable(content.trim_end()))
}

/// A code span whose content has no backtick.
fn code(content: &str) -> String {
    if content.trim().is_empty() { String::new() } else { format!("`{content}`") }
}

/// What GitHub does not show, and takes for the end of a word.
const BREAK: &str = "<!-- -->";

/// Escapes text and puts it on one line. `@name` and `#12` are no words that GitHub would take for a user,
/// who gets a message, or an issue: maps of bpftrace are named like users.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in printable(text).chars() {
        match character {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '\n' => escaped.push(' '),
            '@' => escaped += &format!("@{BREAK}"),
            '#' => escaped += &format!("\\#{BREAK}"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' => {
                escaped.push('\\');
                escaped.push(character);
            }
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn a_run() {
        insta::assert_snapshot!(render(&sample::report(), GITHUB_LIMIT));
    }

    #[test]
    fn architectures() {
        insta::assert_snapshot!(render(&sample::architectures(), GITHUB_LIMIT));
    }

    #[test]
    fn suites() {
        insta::assert_snapshot!(render(&sample::suites(), GITHUB_LIMIT));
    }

    #[test]
    fn a_run_that_is_too_long_says_what_it_leaves_out() {
        let report = sample::report();
        let whole = render(&report, GITHUB_LIMIT);
        for limit in [0, 1200, whole.len() - 1] {
            let text = render(&report, limit);
            assert!(
                text.len() < whole.len() && text.ends_with(" more are in report.json.\n"),
                "{text}"
            );
            assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
            assert!(text.len() <= limit.max(1100), "{} > {limit}", text.len());
        }
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(fenced("diff", "a ```` b"), "`````diff\na ```` b\n`````\n\n");
        assert_eq!(escaped("<a|b>\n_c_\u{1b}"), "&lt;a\\|b&gt; \\_c\\_\u{fffd}");
    }

    #[test]
    fn nobody_is_mentioned() {
        assert_eq!(
            escaped("undefined map: @start, you/repo#12"),
            "undefined map: @<!-- -->start, you/repo\\#<!-- -->12"
        );
    }
}
