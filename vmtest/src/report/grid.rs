//! The matrix of a run as a grid, for all renderings.

use std::collections::BTreeSet;

use kernlab_core::outcome::Outcome;
use kernlab_kernels::Arch;

use super::{CellReport, Report};
use crate::suite::run::SUITE;

/// In place of an architecture that a report of an earlier version does not name.
pub(crate) const NOT_TOLD: &str = "not told";

/// A kernel and its BTF modes.
pub(super) type Column<'a> = (&'a str, Vec<&'a str>);

/// Scenarios down, kernels across.
pub(super) struct Grid<'a> {
    report: &'a Report,
    /// In the order of the report.
    pub(super) scenarios: Vec<&'a str>,
    /// Those of one architecture are together.
    pub(super) kernels: Vec<Column<'a>>,
    pub(super) backends: Vec<&'a str>,
    /// Whether there are kernels of several architectures.
    has_several: bool,
}

impl<'a> Grid<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let mut kernels = distinct(report.cells.iter().map(|cell| cell.kernel.as_str()));
        let archs: Vec<_> = kernels.iter().map(|kernel| report.arch_of(kernel)).collect();
        let first = |arch: Option<Arch>| archs.iter().position(|other| *other == arch);
        kernels.sort_by_cached_key(|kernel| first(report.arch_of(kernel)));
        let modes = |kernel: &'a str| {
            let of_kernel = report.cells.iter().filter(|cell| cell.kernel == kernel);
            (kernel, distinct(of_kernel.map(|cell| cell.btf.as_str())))
        };
        Grid {
            report,
            scenarios: distinct(report.cells.iter().map(|cell| cell.scenario.as_str())),
            kernels: kernels.into_iter().map(modes).collect(),
            backends: distinct(report.cells.iter().map(|cell| cell.backend.as_str())),
            has_several: archs.iter().any(|arch| *arch != archs[0]),
        }
    }

    /// The kernels of each architecture, with its name; without a name if all are of the same.
    pub(super) fn blocks(&self) -> Vec<(Option<&'static str>, &[Column<'a>])> {
        let arch = |(kernel, _): &Column<'_>| self.report.arch_of(kernel);
        let blocks = self.kernels.chunk_by(|one, other| arch(one) == arch(other));
        blocks.map(|block| (self.arch(block[0].0), block)).collect()
    }

    /// The name of a kernel's architecture, if the report has several.
    pub(super) fn arch(&self, kernel: &str) -> Option<&'static str> {
        self.has_several.then(|| self.report.arch_of(kernel).map_or(NOT_TOLD, Arch::name))
    }

    /// The cells of a scenario on a kernel: a group per BTF mode with an entry per backend, which
    /// is empty if that cell was not requested.
    pub(super) fn cells(
        &self,
        (kernel, modes): &Column<'_>,
        scenario: &str,
    ) -> Vec<Vec<Option<&'a CellReport>>> {
        let find = |btf: &str, backend: &str| {
            self.report.cells.iter().find(|cell| {
                (cell.kernel.as_str(), cell.btf.as_str()) == (*kernel, btf)
                    && (cell.backend.as_str(), cell.scenario.as_str()) == (backend, scenario)
            })
        };
        let group = |btf: &&str| self.backends.iter().map(|backend| find(btf, backend)).collect();
        modes.iter().map(group).collect()
    }

    /// The same as text, with a character per cell and a space between groups: `.. .F`.
    pub(crate) fn symbols(&self, kernel: &Column<'_>, scenario: &str) -> String {
        let text = |group: Vec<Option<&CellReport>>| {
            let symbols = group.into_iter().map(|cell| cell.map_or(' ', |c| symbol(c.outcome)));
            symbols.collect::<String>()
        };
        let groups: Vec<_> = self.cells(kernel, scenario).into_iter().map(text).collect();
        groups.join(" ")
    }

    /// What the characters and their positions mean.
    pub(super) fn legend(&self) -> String {
        let symbols: Vec<String> = Outcome::ALL
            .iter()
            .filter(|&&outcome| self.report.cells.iter().any(|cell| cell.outcome == outcome))
            .map(|&outcome| format!("{} {outcome}", symbol(outcome)))
            .collect();
        let (symbols, groups) = (symbols.join(", "), self.groups());
        match &self.backends[..] {
            [SUITE] => format!("{symbols}; a character per BTF mode ({groups})"),
            backends => {
                let backends = backends.join(", ");
                format!(
                    "{symbols}; a character per backend ({backends}), a group per BTF mode ({groups})"
                )
            }
        }
    }

    /// The BTF modes: one list for all kernels, or one for each kernel if they differ.
    fn groups(&self) -> String {
        let distinct: BTreeSet<_> = self.kernels.iter().map(|(_, modes)| modes).collect();
        if let [modes] = Vec::from_iter(distinct)[..] {
            return modes.join(", ");
        }
        let of_kernel = |(kernel, modes): &Column<'_>| format!("{kernel}: {}", modes.join(", "));
        self.kernels.iter().map(of_kernel).collect::<Vec<_>>().join("; ")
    }
}

pub(crate) fn symbol(outcome: Outcome) -> char {
    match outcome {
        Outcome::Pass => '.',
        Outcome::Fail => 'F',
        Outcome::Unsupported => '-',
        Outcome::KernelWarning => 'W',
        Outcome::KernelCrash => 'C',
        Outcome::Timeout => 'T',
        Outcome::Flaky => 'Y',
        Outcome::Infra => 'I',
        Outcome::Unavailable => 'U',
        Outcome::NotRun => 'N',
    }
}

/// Removes duplicates, keeping the order.
pub(crate) fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn kernels_of_one_architecture_stand_together() {
        let mut report = sample::architectures();
        let blocks = |report: &Report| -> Vec<_> {
            let grid = Grid::of(report);
            let ids = |kernels: &[(&str, _)]| -> Vec<String> {
                kernels.iter().map(|(id, _)| (*id).to_owned()).collect()
            };
            grid.blocks().into_iter().map(|(arch, kernels)| (arch, ids(kernels))).collect()
        };
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let (x86, arm64) = (ids(&["debian-6.1", "debian-6.12"]), ids(&["debian-6.1-arm64"]));
        let expected = [(Some("x86_64"), x86), (Some("aarch64"), arm64.clone())];
        assert_eq!(blocks(&report), expected);
        // A report that was added up may have kernels of which it is not told.
        report.kernels[2].arch = None;
        let expected = [
            (Some("x86_64"), ids(&["debian-6.1"])),
            (Some("aarch64"), arm64),
            (Some("not told"), ids(&["debian-6.12"])),
        ];
        assert_eq!(blocks(&report), expected);
        // One of an earlier version, in the order of its cells.
        report.kernels.clear();
        let all = ids(&["debian-6.1", "debian-6.1-arm64", "debian-6.12"]);
        assert_eq!(blocks(&report), [(None, all)]);
    }
}
