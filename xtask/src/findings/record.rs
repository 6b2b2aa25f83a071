//! What was found, and what runs showed.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// `findings.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    /// The releases of Debian whose tools are run, each with the kernel that its bcc is tried on.
    pub(super) releases: BTreeMap<String, String>,
    /// In the order of the page.
    #[serde(default, rename = "finding")]
    pub(super) findings: Vec<Claim>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    /// A sentence.
    pub(super) title: String,
    /// The suites that show it.
    pub(super) suites: Vec<String>,
    /// The releases whose version of the tool does.
    pub(super) releases: Vec<String>,
    /// The kernels on which the suites fail.
    #[serde(default)]
    pub(super) fails: Vec<String>,
    /// Kernels on which they pass.
    #[serde(default)]
    pub(super) passes: Vec<String>,
    /// The reason code of the failing cells.
    pub(super) reason: Option<String>,
    /// The BTF mode that is meant, instead of all.
    pub(super) btf: Option<String>,
    /// The cause, in Markdown.
    pub(super) text: String,
    /// Whether `--check` runs it.
    #[serde(default)]
    pub(super) check: bool,
}

/// `docs/findings.json`: by release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Results(pub(super) BTreeMap<String, OfRelease>);

/// What the tools of a release did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OfRelease {
    /// The packages, with their versions.
    pub(super) packages: Vec<String>,
    /// The kernels' releases, by id, in the order of the matrix.
    pub(super) kernels: Vec<Kernel>,
    /// By suite, kernel and BTF mode.
    pub(super) cells: BTreeMap<String, BTreeMap<String, BTreeMap<String, Shown>>>,
}

/// A kernel that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kernel {
    pub(super) id: String,
    pub(super) release: String,
}

/// How a cell ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The beginning of its message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
}

impl Claims {
    pub(super) fn read(file: &Path) -> Result<Claims> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("failed to read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{} makes no sense", file.display()))
    }

    /// The findings about a release that `--check` runs.
    pub(super) fn marked<'a>(&'a self, release: &'a str) -> impl Iterator<Item = &'a Claim> {
        self.findings
            .iter()
            .filter(move |claim| claim.check && claim.releases.iter().any(|name| name == release))
    }

    /// A line for each cell that contradicts a finding.
    pub(super) fn wrong(&self, results: &Results) -> Vec<String> {
        let of_release = |claim: &Claim| {
            let claim = claim.clone();
            let releases = claim.releases.clone();
            releases.into_iter().flat_map(move |release| claim.wrong(&release, results))
        };
        self.findings.iter().flat_map(of_release).collect()
    }
}

impl Claim {
    /// The same about one kernel on which the suites fail, and one on which they pass.
    pub(super) fn in_short(&self) -> Claim {
        let mut claim = self.clone();
        claim.fails.truncate(1);
        claim.passes.truncate(1);
        claim
    }

    /// Whether it is about this failing cell.
    pub(super) fn covers(&self, release: &str, suite: &str, kernel: &str, btf: &str) -> bool {
        let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
        has(&self.releases, release)
            && has(&self.suites, suite)
            && has(&self.fails, kernel)
            && self.btf.as_deref().is_none_or(|mode| mode == btf)
    }

    /// A line for each cell of the release that contradicts it, or did not run.
    pub(super) fn wrong(&self, release: &str, results: &Results) -> Vec<String> {
        let mut wrong = Vec::new();
        let expected = self
            .fails
            .iter()
            .map(|kernel| (kernel, self.reason.as_deref().or(Some(""))))
            .chain(self.passes.iter().map(|kernel| (kernel, None)));
        for (kernel, reason) in expected {
            for suite in &self.suites {
                let cells: Vec<_> = results.cells(release, suite, kernel).collect();
                let meant = |btf: &str| self.btf.as_deref().is_none_or(|mode| mode == btf);
                let of_mode: Vec<_> = cells.iter().filter(|(btf, _)| meant(btf)).collect();
                if of_mode.is_empty() {
                    wrong.push(format!("{}: {suite} did not run on {kernel}", self.title));
                }
                for (btf, shown) in of_mode {
                    let holds = match reason {
                        None => shown.outcome == "pass",
                        Some("") => shown.outcome != "pass",
                        Some(reason) => shown.reason.as_deref() == Some(reason),
                    };
                    if !holds {
                        wrong.push(format!(
                            "{}: {suite} of {release} on {kernel}/{btf} ended as {}: {}",
                            self.title,
                            shown.describe(),
                            shown.message
                        ));
                    }
                }
            }
        }
        wrong
    }
}

impl Shown {
    pub(super) fn describe(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{} ({reason})", self.outcome),
            None => self.outcome.clone(),
        }
    }
}

impl Results {
    pub(super) fn read(file: &Path) -> Result<Results> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("failed to read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))
    }

    pub(super) fn read_or_none(file: &Path) -> Result<Results> {
        if file.exists() { Results::read(file) } else { Ok(Results::default()) }
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
    }

    /// The cells of a suite on a kernel: BTF mode and outcome.
    fn cells<'a>(
        &'a self,
        release: &str,
        suite: &str,
        kernel: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Shown)> + use<'a> {
        let of_release = self.0.get(release);
        let cells = of_release.and_then(|of| of.cells.get(suite)?.get(kernel));
        cells.into_iter().flatten().map(|(btf, shown)| (btf.as_str(), shown))
    }

    /// Takes the cells of a run, instead of what is known of them.
    pub(super) fn add(
        &mut self,
        release: &str,
        packages: Vec<String>,
        report: &serde_json::Value,
    ) -> Result<()> {
        #[derive(Deserialize)]
        struct Report {
            schema: u64,
            kernels: Vec<RanKernel>,
            cells: Vec<Cell>,
        }
        #[derive(Deserialize)]
        struct RanKernel {
            id: String,
            release: Option<String>,
        }
        #[derive(Deserialize)]
        struct Cell {
            kernel: String,
            btf: String,
            scenario: String,
            outcome: String,
            reason: Option<String>,
            message: String,
        }
        let report = Report::deserialize(report).context("the run's report is damaged")?;
        ensure!(report.schema == 1, "the run's report has schema {}", report.schema);
        let of_release = self.0.entry(release.to_owned()).or_default();
        // A root has not always all of them.
        let is_named = |package: &str, name| package.split_ascii_whitespace().next() == name;
        for package in &packages {
            let name = package.split_ascii_whitespace().next();
            of_release.packages.retain(|old| !is_named(old, name));
        }
        of_release.packages.extend(packages);
        of_release.packages.sort();
        for RanKernel { id, release } in report.kernels {
            let Some(release) = release else { continue };
            match of_release.kernels.iter_mut().find(|kernel| kernel.id == id) {
                Some(kernel) => kernel.release = release,
                None => of_release.kernels.push(Kernel { id, release }),
            }
        }
        for Cell { kernel, btf, scenario, outcome, reason, message } in report.cells {
            let message = shortened(&message);
            let cells = of_release.cells.entry(scenario).or_default().entry(kernel).or_default();
            cells.insert(btf, Shown { outcome, reason, message });
        }
        Ok(())
    }
}

/// The first lines of a message, for a page: without what varies from run to run.
fn shortened(message: &str) -> String {
    const LINES: usize = 4;
    const LENGTH: usize = 400;
    let lines: Vec<&str> = message.lines().take(LINES).map(str::trim_end).collect();
    lines.join("\n").chars().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn claim() -> Claim {
        Claim {
            title: "filelife is silent".to_owned(),
            suites: vec!["filelife".to_owned()],
            releases: vec!["bookworm".to_owned()],
            fails: vec!["debian-6.12".to_owned()],
            passes: vec!["debian-6.1".to_owned()],
            reason: Some("assertion-failed".to_owned()),
            btf: None,
            text: String::new(),
            check: true,
        }
    }

    fn results(old: &str, new: Option<&str>) -> Results {
        let cell = |kernel: &str, reason: Option<&str>| {
            let outcome = if reason.is_some() { "fail" } else { "pass" };
            json!({ "kernel": kernel, "btf": "embedded", "scenario": "filelife", "outcome": outcome,
                    "reason": reason, "message": "" })
        };
        let kernels = ["debian-6.1", "debian-6.12"]
            .map(|id| json!({ "id": id, "release": format!("{id}-cloud") }));
        let old = (!old.is_empty()).then_some(old);
        let report = json!({ "schema": 1, "kernels": kernels, "cells":
            [cell("debian-6.1", old), cell("debian-6.12", new)] });
        let mut results = Results::default();
        results.add("bookworm", vec!["libbpf-tools 0.26".to_owned()], &report).unwrap();
        results
    }

    #[rstest]
    #[case::holds("", Some("assertion-failed"), 0)]
    #[case::no_longer_fails("", None, 1)]
    #[case::fails_otherwise("", Some("tracer-died"), 1)]
    #[case::fails_everywhere("assertion-failed", Some("assertion-failed"), 1)]
    #[case::passes_where_it_failed("assertion-failed", None, 2)]
    fn a_finding_that_no_longer_holds_is_told(
        #[case] old: &str,
        #[case] new: Option<&str>,
        #[case] expected: usize,
    ) {
        assert_eq!(claim().wrong("bookworm", &results(old, new)).len(), expected);
    }

    #[test]
    fn packages_that_a_root_lacks_stay() {
        let mut results = results("", None);
        let report = json!({ "schema": 1, "kernels": [], "cells": [] });
        let mut add = |packages: [&str; 1]| {
            results.add("bookworm", packages.map(str::to_owned).into(), &report).unwrap();
            results.0["bookworm"].packages.clone()
        };
        assert_eq!(add(["bpftrace 0.17"]), ["bpftrace 0.17", "libbpf-tools 0.26"]);
        assert_eq!(add(["libbpf-tools 0.27"]), ["bpftrace 0.17", "libbpf-tools 0.27"]);
    }

    #[test]
    fn a_finding_whose_cells_did_not_run_does_not_hold() {
        assert_eq!(claim().wrong("bookworm", &Results::default()).len(), 2);
    }

    #[test]
    fn the_page_is_what_the_findings_and_the_runs_say() {
        let claims = Claims::read(&super::super::suites_dir().join("findings.toml")).unwrap();
        let results = Results::read(&super::super::results_file()).unwrap();
        assert_eq!(claims.wrong(&results), Vec::<String>::new());
        let page = fs::read_to_string(crate::workspace::root().join("docs/findings.md")).unwrap();
        assert_eq!(
            page,
            super::super::page::of(&claims, &results),
            "run cargo xtask findings --page"
        );
    }
}
