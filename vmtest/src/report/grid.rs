//! The matrix of a run as a grid, for all renderings.

use std::collections::BTreeSet;

use kernlab_core::outcome::Outcome;

use super::{CellReport, Report};
use crate::suite::run::SUITE;

/// Scenarios down, kernels across.
pub(super) struct Grid<'a> {
    report: &'a Report,
    /// In the order of the report.
    pub(super) scenarios: Vec<&'a str>,
    /// A kernel and its BTF modes.
    pub(super) kernels: Vec<(&'a str, Vec<&'a str>)>,
    pub(super) backends: Vec<&'a str>,
}

impl<'a> Grid<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let kernels = distinct(report.cells.iter().map(|cell| cell.kernel.as_str()));
        let modes = |kernel: &'a str| {
            let of_kernel = report.cells.iter().filter(|cell| cell.kernel == kernel);
            (kernel, distinct(of_kernel.map(|cell| cell.btf.as_str())))
        };
        Grid {
            report,
            scenarios: distinct(report.cells.iter().map(|cell| cell.scenario.as_str())),
            kernels: kernels.into_iter().map(modes).collect(),
            backends: distinct(report.cells.iter().map(|cell| cell.backend.as_str())),
        }
    }

    /// The cells of a scenario on a kernel: a group per BTF mode with an entry per backend, which
    /// is empty if that cell was not requested.
    pub(super) fn cells(
        &self,
        (kernel, modes): &(&str, Vec<&str>),
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
    pub(crate) fn symbols(&self, kernel: &(&str, Vec<&str>), scenario: &str) -> String {
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
        let of_kernel =
            |(kernel, modes): &(&str, Vec<&str>)| format!("{kernel}: {}", modes.join(", "));
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
