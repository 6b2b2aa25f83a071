//! What a soak runs: cells of the matrix, suites, commands.

use std::path::Path;

use fastrand::Rng;

use super::verdict::{Cell, Judged, Right, exit_code};

/// A suite of `vmtest/tests/all/suites/kernlab.toml`, and its verdict on every kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) name: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

const fn suite(name: &'static str, outcome: &'static str, reason: &'static str) -> Suite {
    Suite { name, outcome, reason }
}

/// Those that take no deadline's time.
pub(super) const SUITES: [Suite; 12] = [
    suite("well", "pass", ""),
    suite("in-a-network-of-its-own", "pass", ""),
    suite("loses-by-golden", "fail", "events-differ"),
    suite("loses-by-assertion", "fail", "assertion-failed"),
    suite("says-that-it-loses", "fail", "events-lost"),
    suite("dies-early", "fail", "tracer-died"),
    suite("leaves-a-daemon", "fail", "state-left-behind"),
    suite("workload-fails", "infra", "workload-failed"),
    suite("exits-otherwise", "fail", "unexpected-exit"),
    suite("crashes-the-kernel", "kernel-crash", "kernel-panicked"),
    suite("restarts-the-guest", "fail", "tracer-died"),
    suite("passes-unexpectedly", "fail", "expectation-stale"),
];

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    /// A scenario, or all of one tracer.
    Matrix {
        kernel: String,
        scenarios: String,
        backend: Option<&'static str>,
        btf: Option<&'static str>,
        cold: bool,
    },
    /// A suite of a project.
    Suite { kernel: String, suite: Suite, cold: bool },
    /// A shell that exits with this code.
    Exec { kernel: String, code: u8, cold: bool },
}

impl Work {
    /// A random run.
    pub(super) fn any(random: &mut Rng, kernels: &[String], scenarios: &[String]) -> Self {
        let kernel = kernels[random.usize(..kernels.len())].clone();
        let cold = random.u8(..8) == 0;
        match random.u8(..10) {
            0..3 => Work::Matrix {
                kernel,
                scenarios: scenarios[random.usize(..scenarios.len())].clone(),
                backend: [None, Some("aya"), Some("libbpf")][random.usize(..3)],
                btf: [None, Some("embedded"), Some("masked")][random.usize(..3)],
                cold,
            },
            3..7 => Work::Suite { kernel, suite: SUITES[random.usize(..SUITES.len())], cold },
            _ => Work::Exec { kernel, code: [0, 0, 1, 77][random.usize(..4)], cold },
        }
    }

    /// What is quick on a kernel, and shows that nothing is left of a fault.
    pub(super) fn quick(kernel: &str) -> Self {
        Work::Exec { kernel: kernel.to_owned(), code: 0, cold: false }
    }

    pub(super) fn kernel(&self) -> &str {
        let (Work::Matrix { kernel, .. } | Work::Suite { kernel, .. } | Work::Exec { kernel, .. }) =
            self;
        kernel
    }

    /// Its kind in the report.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Work::Matrix { .. } => "matrix",
            Work::Suite { .. } => "suite",
            Work::Exec { .. } => "exec",
        }
    }

    /// The arguments of the host tool. Its report goes to standard output, or into this directory.
    pub(super) fn arguments(&self, report: &Path, timeout: Option<u32>) -> Vec<String> {
        let mut words: Vec<String> = match self {
            Work::Matrix { scenarios, backend, btf, .. } => {
                let mut words = vec!["run".to_owned(), "--scenario".to_owned()];
                words.extend([scenarios.clone(), "--report".to_owned()]);
                words.push(report.display().to_string());
                for (option, value) in [("--backend", backend), ("--btf", btf)] {
                    words.extend(value.iter().flat_map(|it| [option.to_owned(), (*it).to_owned()]));
                }
                words
            }
            Work::Suite { suite, .. } => {
                ["test", "--json", "--suite", suite.name].map(str::to_owned).to_vec()
            }
            Work::Exec { .. } => ["exec", "--json"].map(str::to_owned).to_vec(),
        };
        words.extend(["--kernel".to_owned(), self.kernel().to_owned()]);
        if let Some(seconds) = timeout {
            words.extend(["--timeout".to_owned(), seconds.to_string()]);
        }
        let (Work::Matrix { cold, .. } | Work::Suite { cold, .. } | Work::Exec { cold, .. }) = self;
        if *cold {
            words.push("--cold".to_owned());
        }
        if let Work::Exec { code, .. } = self {
            words.extend(["--", "sh", "-c"].map(str::to_owned));
            words.push(format!("echo here; exit {code}"));
        }
        words
    }

    /// Whether its report goes to standard output.
    pub(super) fn reports_on_stdout(&self) -> bool {
        !matches!(self, Work::Matrix { .. })
    }

    /// What is right for its cells.
    pub(super) fn right(&self) -> Right {
        match self {
            Work::Matrix { .. } => Right::PassOrUnsupported,
            Work::Suite { suite, .. } => Right::Always(suite.outcome, suite.reason),
            Work::Exec { code: 0, .. } => Right::Always("pass", ""),
            Work::Exec { .. } => Right::Always("fail", "unexpected-exit"),
        }
    }

    /// The exit code with these cells: docs/exit-codes.md.
    pub(super) fn exit_code(&self, cells: &[Cell], judged: &[Judged]) -> i32 {
        match (self, judged) {
            (Work::Exec { code, .. }, [Judged::Right]) => i32::from(*code),
            (Work::Exec { .. }, [_]) if cells[0].verdict().0 == "timeout" => 124,
            (Work::Exec { .. }, _) => 125,
            _ => exit_code(cells),
        }
    }

    /// What is run, in words.
    pub(super) fn described(&self) -> String {
        let kernel = self.kernel();
        match self {
            Work::Matrix { scenarios, backend, btf, .. } => {
                let (backend, btf) = (backend.unwrap_or("both"), btf.unwrap_or("all"));
                format!("{scenarios} with {backend} and {btf} on {kernel}")
            }
            Work::Suite { suite, .. } => format!("suite {} on {kernel}", suite.name),
            Work::Exec { code, .. } => format!("exec with exit code {code} on {kernel}"),
        }
    }
}

/// The scenarios of a list, and for each tracer a glob of all that it has.
pub(super) fn scenarios(list: &str) -> Vec<String> {
    let ids = list.lines().filter_map(|line| line.split_whitespace().next());
    let ids: Vec<_> = ids.filter(|id| id.contains('/')).collect();
    let all = ids.iter().filter_map(|id| Some(format!("{}/*", id.split_once('/')?.0)));
    let mut scenarios: Vec<_> = all.chain(ids.iter().map(|&id| id.to_owned())).collect();
    scenarios.sort();
    scenarios.dedup();
    scenarios
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suites_are_there() {
        let path = crate::workspace::root().join("vmtest/tests/all/suites/kernlab.toml");
        let text = std::fs::read_to_string(path).unwrap();
        for suite in SUITES {
            assert!(text.contains(&format!("name = \"{}\"", suite.name)), "{suite:?}");
        }
    }

    #[test]
    fn scenarios_of_a_list() {
        let list = "filelife/rename  Files...\nfilelife/sockets  about\nfiletop/all  and/or\n";
        let expected =
            ["filelife/*", "filelife/rename", "filelife/sockets", "filetop/*", "filetop/all"];
        assert_eq!(scenarios(list), expected);
    }

    #[test]
    fn a_command_line_of_each() {
        let kernel = "debian-6.1".to_owned();
        let line = |work: &Work| work.arguments(Path::new("/r"), Some(2)).join(" ");
        let exec = Work::Exec { kernel: kernel.clone(), code: 7, cold: true };
        assert_eq!(
            line(&exec),
            "exec --json --kernel debian-6.1 --timeout 2 --cold -- sh -c echo here; exit 7"
        );
        let (scenarios, backend) = ("filelife/*".to_owned(), Some("aya"));
        let matrix = Work::Matrix { kernel, scenarios, backend, btf: None, cold: false };
        assert_eq!(
            line(&matrix),
            "run --scenario filelife/* --report /r --backend aya --kernel debian-6.1 --timeout 2"
        );
    }
}
