//! A run in GitHub's Markdown, for the summary of a job, a comment or a release note.

use maud::html;

use super::{AllowedSplat, CellReport, Report, grid::Grid, headline, printable, table};

/// The maximum size of a job's summary on GitHub, in bytes.
pub const GITHUB_LIMIT: usize = 1 << 20;

/// The summary, the matrix as a table, and every cell with an unexpected outcome, with its diff: at most
/// `limit` bytes. Of remarks, rows and findings, those that don't fit are left out and counted.
pub fn render(report: &Report, limit: usize) -> String {
    let head = format!("### kernlab: {}\n\n", escaped(&table::summary(report)));
    let mut text = Bounded { text: head, rest: "in report.json" };
    text.add(limit / 4, "remark", remarks(report));
    let grid = Grid::of(report);
    let legend = format!("\n{}\n", escaped(&grid.legend()));
    let findings = report.unexpected_cells();
    let of_matrix = if findings.is_empty() { limit } else { limit / 2 };
    let of_matrix = of_matrix.saturating_sub(legend.len());
    let blocks = grid.blocks();
    let share = of_matrix.saturating_sub(text.text.len()) / blocks.len().max(1);
    for (arch, kernels) in blocks {
        let names: Vec<_> = kernels.iter().map(|(kernel, _)| escaped(kernel)).collect();
        let corner = arch.map_or("scenario".to_owned(), |arch| format!("scenario on {arch}"));
        let head = format!(
            "\n| {} | {} |\n|---|{}\n",
            escaped(&corner),
            names.join(" | "),
            ":-:|".repeat(names.len())
        );
        let rows = grid.scenarios.iter().map(|scenario| {
            let cells = kernels.iter().map(|kernel| code(&grid.symbols(kernel, scenario)));
            let cells: Vec<_> = cells.collect();
            format!("| {} | {} |\n", escaped(scenario), cells.join(" | "))
        });
        let mut rows: Vec<_> = rows.collect();
        if let Some(first) = rows.first_mut() {
            first.insert_str(0, &head);
        }
        text.add(text.text.len() + share, "row", rows);
    }
    if text.text.len() + legend.len() <= limit {
        text.text += &legend;
    }
    if !findings.is_empty() {
        let mut findings: Vec<_> = findings.into_iter().map(finding).collect();
        findings[0].insert_str(0, "\n#### Problems\n");
        text.add(limit, "finding", findings);
    }
    text.text
}

/// What is to be said beside the matrix, a line each.
fn remarks(report: &Report) -> Vec<String> {
    let unavailable = report.kernels.iter().filter_map(|kernel| {
        let why = kernel.unavailable.as_ref()?;
        Some(format!("- **{}** is not available: {}\n", escaped(&kernel.id), escaped(why)))
    });
    let known =
        report.allowed().into_iter().map(|(AllowedSplat { title, reason, link }, count)| {
            let [title, reason, link] = [title, reason, link].map(|text| escaped(text));
            let cells = table::counted(count, "cell");
            format!("- known, in {cells}: **{title}**: {reason}: <{link}>\n")
        });
    let remarks = report.remarks.iter().map(|remark| format!("- {}\n", escaped(remark)));
    unavailable.chain(known).chain(remarks).collect()
}

/// A text that is not to become too long.
pub(super) struct Bounded {
    pub(super) text: String,
    /// Completes "1 more finding is ...": `in report.json`, `left out`.
    pub(super) rest: &'static str,
}

impl Bounded {
    /// Adds pieces, and instead of the first that would exceed `limit` bytes how many are left out.
    pub(super) fn add(&mut self, limit: usize, noun: &str, pieces: Vec<String>) {
        for (index, piece) in pieces.iter().enumerate() {
            let more = match pieces.len() - index {
                1 => format!("\n1 more {noun} is {}.\n", self.rest),
                count => format!("\n{count} more {noun}s are {}.\n", self.rest),
            };
            // What says that some are left out must fit as well.
            let rest = if index + 1 == pieces.len() { 0 } else { more.len() };
            if self.text.len() + piece.len() + rest > limit {
                self.text += &more;
                return;
            }
            self.text += piece;
        }
    }
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
            assert!(text.len() < whole.len() && text.ends_with(" in report.json.\n"), "{text}");
            assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
            assert!(text.len() <= limit.max(300), "{} > {limit}", text.len());
        }
    }

    #[test]
    fn neither_rows_nor_remarks_leave_no_room_for_findings() {
        let mut report = sample::report();
        let remarks = (0..2000).map(|number| format!("remark {number} about something"));
        report.remarks = remarks.collect();
        let cells = report.cells.clone();
        for number in 0..2000 {
            report
                .cells
                .push(CellReport { scenario: format!("suite {number}"), ..cells[0].clone() });
        }
        const LIMIT: usize = 60_000;
        let text = render(&report, LIMIT);
        assert!(text.len() <= LIMIT, "{}", text.len());
        for left in [" more remarks are in report.json.\n", " more rows are in report.json.\n"] {
            assert!(text.contains(left), "{text}");
        }
        assert!(text.contains("<details>"), "{text}");
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
