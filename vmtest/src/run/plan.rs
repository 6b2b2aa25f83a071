//! The plan of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use globset::Glob;
use kernlab_cli::RunOptions;
use kernlab_core::{
    cell::{BackendKind, BtfMode, Cell, UnknownName},
    outcome::Verdict,
    scenario::Scenario,
};
use kernlab_kernels::{Entry, Unpacked, replace_file};
use kernlab_splat::AllowList;
use serde::{Deserialize, Serialize};

/// The cells of a run, written down before the first one starts: the census counts against it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunPlan {
    /// The options of the run.
    pub options: RunOptions,
    /// Every requested cell, `kernel/btf/backend/tracer/scenario`.
    pub cells: Vec<String>,
    /// The kernels when the run began, by id. Cells prepare a kernel that is not here.
    pub kernels: BTreeMap<String, Unpacked>,
    /// The raw BTF of kernels that get their BTF from a file.
    pub external_btf: BTreeMap<String, PathBuf>,
    /// Kernels that the run prepares while it goes on: their cells wait for them.
    pub pending: BTreeSet<String>,
    /// Kernels that are not available, with the verdict for all their cells.
    pub unavailable: BTreeMap<String, Verdict>,
    /// The directory of the programs that run in guests.
    pub guest: PathBuf,
    /// A BPF object that all cells load instead of the one in the tracer program.
    pub object: Option<PathBuf>,
    /// The splats that kernels may print without consequence.
    pub allow: AllowList,
}

/// One attempt at a cell. Its text is the cell, with `#` and the number from the second one on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellAttempt {
    /// `kernel/btf/backend/tracer/scenario`.
    pub cell: String,
    /// Counted from 1.
    pub number: u32,
}

impl fmt::Display for CellAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => f.write_str(&self.cell),
            number => write!(f, "{}#{number}", self.cell),
        }
    }
}

/// A filter that is not valid.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The backend or BTF mode does not exist.
    #[error(transparent)]
    Name(#[from] UnknownName),
    /// The value is no glob.
    #[error("--scenario is not a valid glob")]
    Glob(#[from] globset::Error),
}

/// Which cells of the selected kernels to run.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this backend.
    pub backend: Option<BackendKind>,
    /// Only this BTF mode, even where the matrix does not list it.
    pub btf: Option<BtfMode>,
    /// Only scenarios that match.
    pub scenario: Option<globset::GlobMatcher>,
}

impl Filter {
    /// The filter that the options ask for.
    pub fn of(options: &RunOptions) -> Result<Self, FilterError> {
        let glob = |text: &String| Ok::<_, globset::Error>(Glob::new(text)?.compile_matcher());
        Ok(Filter {
            backend: options.backend.as_deref().map(str::parse).transpose()?,
            btf: options.btf.as_deref().map(str::parse).transpose()?,
            scenario: options.scenario.as_ref().map(glob).transpose()?,
        })
    }

    /// The cells of `entries` that match, in the order of the matrix.
    pub fn cells(&self, entries: &[Entry]) -> Vec<Cell> {
        let mut cells = Vec::new();
        for entry in entries {
            let modes = match self.btf {
                Some(mode) => vec![mode],
                None => entry.btf.clone(),
            };
            for btf in modes {
                for backend in BackendKind::ALL {
                    if self.backend.is_some_and(|wanted| wanted != backend) {
                        continue;
                    }
                    let scenarios = Scenario::ALL.iter().filter(|scenario| {
                        self.scenario
                            .as_ref()
                            .is_none_or(|glob| glob.is_match(scenario.to_string()))
                    });
                    cells.extend(scenarios.map(|scenario| Cell {
                        kernel: entry.id.clone(),
                        btf,
                        backend,
                        scenario,
                    }));
                }
            }
        }
        cells
    }
}

impl RunPlan {
    /// Its name in the directory of a run.
    pub(super) const FILE: &str = "plan.json";

    /// Plans these cells, once each, with the programs of the directory `guest`. Everything else
    /// has its default.
    pub fn of(cells: Vec<String>, guest: PathBuf) -> Self {
        RunPlan {
            options: RunOptions::default(),
            cells,
            kernels: BTreeMap::new(),
            external_btf: BTreeMap::new(),
            pending: BTreeSet::new(),
            unavailable: BTreeMap::new(),
            guest,
            object: None,
            allow: AllowList::default(),
        }
    }

    /// The releases of the kernels that are ready, by id.
    pub fn releases(&self) -> BTreeMap<&str, &str> {
        let kernels = self.kernels.iter();
        kernels.map(|(id, kernel)| (id.as_str(), kernel.release.as_str())).collect()
    }

    /// Every attempt at a cell.
    pub fn attempts_at(&self, cell: &str) -> impl Iterator<Item = CellAttempt> {
        let attempt = |number| CellAttempt { cell: cell.to_owned(), number };
        (1..=self.options.execution.repeats().get()).map(attempt)
    }

    /// Every attempt at every cell.
    pub fn attempts(&self) -> impl Iterator<Item = CellAttempt> {
        self.cells.iter().flat_map(|cell| self.attempts_at(cell))
    }

    /// Writes the plan into the directory of its run.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        replace_file(&dir.join(Self::FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Reads the plan of a run.
    pub fn read(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(dir.join(Self::FILE))?)?)
    }
}

#[cfg(test)]
mod tests {
    use kernlab_kernels::{Image, Modules};

    use super::*;

    #[test]
    fn cells_boot_the_kernels_that_were_prepared() {
        let kernel = Unpacked {
            id: "k".to_owned(),
            release: "6.1.0".to_owned(),
            version: None,
            sha256: None,
            arch: kernlab_kernels::Arch::X86_64,
            image: Image { bzimage: None, vmlinux: Some("/store/vmlinux".into()) },
            config: None,
            has_btf: Some(true),
            modules: Modules::default(),
            memory_mib: 300,
            processors: 2,
        };
        let image = kernel.image.clone();
        let plan = RunPlan {
            kernels: [("k".to_owned(), kernel)].into(),
            external_btf: [("k".to_owned(), "/store/btf".into())].into(),
            ..RunPlan::of(vec!["k/external/aya/sys_write/threads".to_owned()], "/guest".into())
        };
        let dir = tempfile::tempdir().unwrap();
        plan.write(dir.path()).unwrap();
        let read = RunPlan::read(dir.path()).unwrap();
        let kernel = &read.kernels["k"];
        assert_eq!((&kernel.image, kernel.memory_mib, kernel.processors), (&image, 300, 2));
        assert_eq!(kernel.release, "6.1.0");
        assert_eq!(read.external_btf["k"], Path::new("/store/btf"));
        assert_eq!(read.cells, plan.cells);
    }
}
