//! A comparison for a terminal.

use std::fmt;

use super::{super::table::counted, Category, Explanation, Finding, Regression, Subject};

/// The maximum number of lines of a diff that are shown; the evidence has all of them.
const DIFF_LINES: usize = 12;
/// The maximum number of cells that are listed, except for those of new failures and of programs that grew.
const CELLS: usize = 6;

impl fmt::Display for Regression {
    /// The counts, then every finding, then what changed in the kernel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        for finding in &self.findings {
            write!(f, "\n{finding}")?;
        }
        match &self.difference {
            None => Ok(()),
            Some(difference) => {
                let (old, new) = (&difference.old, &difference.new);
                write!(f, "\nwhat changed for the tracers from {old} to {new}:\n\n{difference}")
            }
        }
    }
}

impl Regression {
    /// One line.
    pub fn summary(&self) -> String {
        format!("{} compared with {}: {}", self.head.name(), self.base.name(), self.tally())
    }

    /// The summary without the names of the sides.
    pub(super) fn tally(&self) -> String {
        let (same, compared) = (self.same, self.compared);
        let are = if compared == 1 { "is" } else { "are" };
        let mut text = format!("{same} of {} {are} the same", counted(compared, "cell"));
        for (category, count) in self.counts() {
            text += &format!(", {category}: {count}");
        }
        if self.events_unknown > 0 {
            let unknown = self.events_unknown;
            text += &format!(
                "; the events of {unknown} that pass were not recorded and can't be compared"
            );
        }
        text
    }
}

impl Subject {
    /// The kernel if there is one, otherwise the run: `debian-6.1`, or `debian-6.1 (x86_64)` beside a
    /// kernel of another architecture.
    pub fn name(&self) -> String {
        let name = self.kernel.as_deref().unwrap_or(&self.run);
        match self.arch {
            Some(arch) => format!("{name} ({arch})"),
            None => name.to_owned(),
        }
    }
}

impl Finding {
    /// `new failure [0123456789ab], 4 cells: pass -> fail (events-differ)`.
    pub fn title(&self) -> String {
        let mut title = self.category.to_string();
        if let Some(fingerprint) = &self.fingerprint {
            title += &format!(" [{fingerprint}]");
        }
        title += &format!(", {}", counted(self.cells.len(), "cell"));
        let (base, head) = (self.base.join(" or "), self.head.join(" or "));
        title += &match (base.is_empty(), head.is_empty()) {
            (false, false) if base == head => format!(": {base}"),
            (false, false) => format!(": {base} -> {head}"),
            (true, false) => format!(": {head}"),
            (_, true) => String::new(),
        };
        title
    }

    /// The cells to list, and the number of other cells.
    pub(super) fn listed(&self) -> (&[String], usize) {
        let is_whole =
            self.category.is_new_trouble() || self.category == Category::MoreInstructions;
        let shown = if is_whole { self.cells.len() } else { self.cells.len().min(CELLS) };
        // "and 1 more" takes as much room as that one cell.
        let shown = if self.cells.len() == shown + 1 { shown + 1 } else { shown };
        (&self.cells[..shown], self.cells.len() - shown)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title())?;
        for line in self.message.lines() {
            writeln!(f, "  {line}")?;
        }
        for explanation in Explanation::together(&self.explanations) {
            writeln!(f, "  {}:", explanation.title())?;
            for change in explanation.changes {
                writeln!(f, "    {change}")?;
            }
        }
        let (cells, more) = self.listed();
        for cell in cells {
            writeln!(f, "  {cell}")?;
        }
        if more > 0 {
            writeln!(f, "  and {more} more")?;
        }
        for diff in [&self.diff, &self.events].into_iter().flatten() {
            let lines: Vec<_> = diff.lines().collect();
            for line in lines.iter().take(DIFF_LINES) {
                writeln!(f, "    {line}")?;
            }
            if lines.len() > DIFF_LINES {
                writeln!(f, "    and {}", counted(lines.len() - DIFF_LINES, "more line"))?;
            }
        }
        Ok(())
    }
}
