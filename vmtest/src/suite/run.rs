//! Runs suites on kernels: cells side by side, each in its own guest, then one report.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kernlab_cli::{Execution, Partition, RunOptions, TestOptions};
use kernlab_kernels::{Arch, Digest, Entry, Kernels, Observer, SelectError, interruption};
use kernlab_splat::AllowList;

use super::{
    cell::Setting,
    invocation::Invocation,
    job::RunContext,
    manifest::Suite,
    packed::{self, PackError, Packed},
    platform::Platform,
    proposals::Proposals,
    selection,
    unmatched::{self, SharedRules},
    work::{self, Task},
};
use crate::{
    guest_programs::{self, GuestProgramsError},
    lab::Stream,
    report::{self, Report, Run, SCHEMA},
    run::{
        Begun, Latest, Outcomes, RunError, RunObserver, allow_list, capacity, collect, identity,
        new_dir, plan::RunPlan,
    },
    verdict,
};

/// The backend of a suite's cells in reports.
pub const SUITE: &str = "suite";

/// Why suites were not run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteRunError {
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Files can't be given to guests.
    #[error("{}", match suite {
        Some(suite) => format!("suite {suite}"),
        None => "the program can't run in a guest".to_owned(),
    })]
    Pack {
        /// The suite that they belong to, if it is one of several.
        suite: Option<String>,
        /// Why.
        source: PackError,
    },
    /// A golden snapshot is not a text file.
    #[error("suite {suite}: cannot read the golden snapshot {}", path.display())]
    Golden {
        /// The suite's name.
        suite: String,
        /// The snapshot.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `--update-snapshots` would write nothing.
    #[error("--update-snapshots: no suite of this run has a `golden` snapshot to write")]
    NothingToUpdate,
    /// There are no programs for guests of a kernel's architecture.
    #[error(transparent)]
    Programs(#[from] GuestProgramsError),
    /// Guests of another architecture than this machine's have no shell.
    #[error(transparent)]
    Tools(#[from] kernlab_kernels::Error),
    /// `--suite` names none.
    #[error("no suite matches {given:?}: the suites are {known}")]
    NoSuite {
        /// The glob.
        given: String,
        /// The suites of the project.
        known: String,
    },
    /// No suite has a cell on any of the kernels.
    #[error("there is no cell to run:\n{0}")]
    NoCells(String),
    /// There are more parts than cells.
    #[error("part {0} has no cell: there is nothing to do")]
    EmptyPart(Partition),
    /// `--suite` is no glob.
    #[error("--suite is not a valid glob")]
    Glob(#[from] globset::Error),
}

impl From<SelectError> for SuiteRunError {
    fn from(error: SelectError) -> Self {
        SuiteRunError::Run(error.into())
    }
}

/// The suites to run, and where their programs are.
#[derive(Clone, Debug)]
pub struct Suites<'a> {
    /// The suites.
    pub suites: &'a [Suite],
    /// The kernels if the command line names none.
    pub kernels: &'a [String],
    /// Where programs run, and with what.
    pub at: RunContext,
    /// The command line that runs them.
    pub invocation: Invocation,
    /// What users should know of the suites.
    pub remarks: Vec<String>,
    /// The directory of runs, instead of the project's.
    pub runs: Option<PathBuf>,
}

/// Is told what a tracer writes: cell, stream, bytes.
pub type OutputListener<'a> = &'a (dyn Fn(&str, Stream, &[u8]) + Sync);

/// The kernels that the command line names, or else the project.
pub fn entries(
    kernels: &Kernels,
    options: &TestOptions,
    project: &[String],
    observer: &dyn Observer,
) -> Result<Vec<Entry>, SuiteRunError> {
    selection::entries(kernels, options, project, observer)
}

/// The names of the cells that [`run`] would run.
pub fn cells(
    kernels: &Kernels,
    options: &TestOptions,
    suites: &Suites<'_>,
    observer: &dyn Observer,
) -> Result<Vec<String>, SuiteRunError> {
    let chosen = selection::choose(suites.suites, options.suite.as_deref())?;
    let entries = selection::entries(kernels, options, suites.kernels, observer)?;
    let cells = selection::cells(suites.suites, &chosen, &entries, options)?;
    Ok(cells.into_iter().map(|cell| cell.id).collect())
}

/// Remarks on expectations of the chosen suites whose review date has passed.
pub fn reminders(options: &TestOptions, suites: &Suites<'_>) -> Result<Vec<String>, SuiteRunError> {
    Ok(due(suites, &selection::choose(suites.suites, options.suite.as_deref())?))
}

fn due(suites: &Suites<'_>, chosen: &[usize]) -> Vec<String> {
    chosen.iter().flat_map(|&at| selection::due(&suites.suites[at])).collect()
}

/// Runs the suites on the selected kernels, with the programs of the directory `guest`, and writes
/// the report into the directory of the run.
pub fn run(
    kernels: &Kernels,
    options: &TestOptions,
    suites: &Suites<'_>,
    guest: &Path,
    show: &Arc<dyn RunObserver>,
    heard: OutputListener<'_>,
) -> Result<Outcomes, SuiteRunError> {
    let begun = Begun::now(guest)?;
    let chosen_suites = selection::choose(suites.suites, options.suite.as_deref())?;
    let entries = selection::entries(kernels, options, suites.kernels, &**show)?;
    let allow = allow_list::read(kernels.root()).map_err(RunError::from)?;
    let cells = selection::cells(suites.suites, &chosen_suites, &entries, options)?;
    let idle = selection::without_cells(suites.suites, &chosen_suites, &entries, options)?;
    check_snapshots(suites, &chosen_suites, options)?;
    // Files are packed before kernels are downloaded: a missing one is told at once.
    let packed = pack(suites, &chosen_suites, kernels, &entries, guest, &**show)?;
    let request = Request { suites, chosen: &chosen_suites, options, allow: &allow };
    let identity = request.identity(kernels, &entries, &packed, guest)?;
    let runs = suites.runs.clone().unwrap_or_else(|| kernels.runs_dir());
    let dir = new_dir(&runs)?;
    let at = |action, source| RunError::in_dir(action, dir.path(), source);
    let names: Vec<String> = cells.iter().map(|cell| cell.id.clone()).collect();
    let mut plan = RunPlan {
        options: RunOptions {
            selected: options.selected.clone(),
            execution: Execution { repeat: options.execution.repeat, ..Execution::default() },
            ..RunOptions::default()
        },
        ..RunPlan::of(names, guest.to_owned())
    };
    plan.write(dir.path()).map_err(|source| at("write the plan", source))?;
    show.begin(dir.path(), &plan);

    let memory = cells.iter().map(|cell| {
        let entry = &entries[cell.entry];
        let packed = &packed[&(cell.suite, entry.arch)];
        packed.memory_mib(&suites.suites[cell.suite], entry.memory_mib)
    });
    let memory = memory.max().unwrap_or_default();
    let jobs =
        options.execution.jobs.map_or_else(|| capacity::guests(memory), std::num::NonZero::get);
    let jobs = jobs.min(cells.len());
    let (proposals, shared) = (Proposals::default(), SharedRules::default());
    let task = Task {
        setting: Setting {
            kernels,
            guest,
            allow: &allow,
            cold: options.execution.cold,
            timeout: options.timeout.map(|seconds| Duration::from_secs(seconds.get().into())),
            proposals: options.update_snapshots.then_some(&proposals),
            shared: &shared,
            directory: &suites.at.directory,
        },
        suites: suites.suites,
        packed: &packed,
        entries: &entries,
        cells: &cells,
        plan: &plan,
        dir: &dir,
        show: &**show,
        heard,
        options,
        invocation: &suites.invocation,
    };
    // From here on a signal ends the cells, and the run still writes its report. What runs one program
    // for its user ends at once.
    let hold = match suites.invocation {
        Invocation::Exec { .. } | Invocation::Runner { .. } => None,
        Invocation::Suites { .. } | Invocation::Command { .. } | Invocation::Cargo { .. } => {
            Some(interruption::hold().map_err(|source| at("hold back signals", source))?)
        }
    };
    let again: Vec<String> = cells.iter().map(|planned| task.again(planned)).collect();
    let done = work::run(task, jobs);
    show.end();
    let interrupted = hold.as_ref().and_then(|_| interruption::pending());
    for (entry, prepared) in entries.iter().zip(done.kernels) {
        match prepared {
            Some(Ok(ready)) => {
                plan.kernels.insert(entry.id.clone(), ready.kernel);
            }
            Some(Err(verdict)) => {
                plan.unavailable.insert(entry.id.clone(), verdict);
            }
            None => {}
        }
    }
    let mut cells = collect::cells(&dir, &plan, &done.unwritten)
        .map_err(|source| at("read the cells' reports", source))?;
    for (cell, again) in cells.iter_mut().zip(again) {
        cell.suite = Some(suites.invocation.kind());
        cell.again.get_or_insert(again);
    }
    // Not all cells of an interrupted run have agreed.
    if interrupted.is_none() {
        for snapshot in proposals.settle(&mut cells) {
            show.notice(&snapshot);
        }
    }
    verdict::release::check(&mut cells, &plan.releases());
    report::census(&plan.cells, &cells).map_err(RunError::from)?;
    let mut remarks = suites.remarks.clone();
    remarks.extend(interrupted.map(|signal| format!("the run was interrupted by {signal}")));
    remarks.extend(idle);
    remarks.extend(verdict::suite_remarks::remarks(&cells));
    let all_suites = chosen_suites.len() == suites.suites.len() && interrupted.is_none();
    let rules = shared.of_run(all_suites);
    remarks.extend(unmatched::remarks(&rules));
    remarks.extend(due(suites, &chosen_suites));
    let report = Report {
        schema: SCHEMA,
        run: Run { jobs, identity, rules, ..begun.run(&dir, &plan.options, &cells) },
        kernels: collect::kernels(&plan, &entries, &cells),
        cells,
        remarks,
    };
    let planned = plan.write(dir.path()).map_err(|source| at("write the plan", source));
    let latest = match suites.invocation {
        // `why`, `repro` and `shell` are about the run before these.
        Invocation::Exec { .. } | Invocation::Runner { .. } => Latest::Keep,
        Invocation::Suites { .. } | Invocation::Command { .. } | Invocation::Cargo { .. } => {
            Latest::Point
        }
    };
    Ok(Outcomes { report, dir }.finish(planned, latest)?)
}

/// Refuses golden snapshots that no cell could read, and an update that would write none.
fn check_snapshots(
    suites: &Suites<'_>,
    chosen: &[usize],
    options: &TestOptions,
) -> Result<(), SuiteRunError> {
    let mut goldens = 0;
    for suite in chosen.iter().map(|&at| &suites.suites[at]) {
        let Some(golden) = &suite.golden else { continue };
        goldens += 1;
        let path = suites.at.directory.join(golden);
        if let Err(source) = crate::run::dir::read_text(&path) {
            return Err(SuiteRunError::Golden { suite: suite.name.clone(), path, source });
        }
    }
    match options.update_snapshots && goldens == 0 {
        true => Err(SuiteRunError::NothingToUpdate),
        false => Ok(()),
    }
}

/// The files of suites, by their places in the list of suites and by the architecture of guests.
pub(super) type AllPacked = BTreeMap<(usize, Arch), Packed>;

/// Packs the files of the chosen suites for guests of these kernels, those once that several have.
fn pack(
    suites: &Suites<'_>,
    chosen: &[usize],
    kernels: &Kernels,
    entries: &[Entry],
    guest: &Path,
    observer: &dyn Observer,
) -> Result<AllPacked, SuiteRunError> {
    let mut all = AllPacked::new();
    let by_arch: BTreeMap<Arch, &Entry> = entries.iter().map(|entry| (entry.arch, entry)).collect();
    for (arch, entry) in by_arch {
        let programs = guest_programs::of_arch(guest, arch)?;
        let has_root = |&suite: &usize| suites.suites[suite].root.is_some();
        let platform = match chosen.iter().all(has_root) {
            true => Platform::without_tools(arch),
            false => Platform::of(kernels, entry, observer)?,
        };
        let mut last: Option<(usize, Suite)> = None;
        for &at in chosen {
            let suite = suites.on_arch(at, arch);
            let like = last.as_ref().filter(|(_, last)| last.is_like(&suite));
            let files = match like.and_then(|(like, _)| all.get_mut(&(*like, arch))) {
                Some(like) => {
                    like.is_shared = true;
                    like.with_arguments_of(&suite)
                }
                None => {
                    let files =
                        packed::pack(&suite, &suites.at, kernels, &programs, &platform, observer);
                    let files = files.map_err(|source| SuiteRunError::Pack {
                        suite: suites.invocation.has_suites().then(|| suite.name.clone()),
                        source,
                    })?;
                    last = Some((at, suite));
                    files
                }
            };
            all.insert((at, arch), files);
        }
    }
    Ok(all)
}

impl Suites<'_> {
    /// A suite as kernels of this architecture run it.
    fn on_arch(&self, at: usize, arch: Arch) -> Suite {
        let suite = self.suites[at].clone();
        match self.invocation {
            Invocation::Suites { .. } => suite.on_arch(arch),
            // What a command line says is meant as it is.
            Invocation::Exec { .. }
            | Invocation::Runner { .. }
            | Invocation::Command { .. }
            | Invocation::Cargo { .. } => suite,
        }
    }
}

/// What a run was asked to do.
struct Request<'a> {
    suites: &'a Suites<'a>,
    chosen: &'a [usize],
    options: &'a TestOptions,
    allow: &'a AllowList,
}

impl Request<'_> {
    /// What tells this run from one whose parts must not be merged with its own.
    fn identity(
        &self,
        kernels: &Kernels,
        entries: &[Entry],
        packed: &AllPacked,
        guest: &Path,
    ) -> Result<BTreeMap<String, String>, RunError> {
        let Request { suites, chosen, options, allow } = *self;
        // What is selected beside kernels and a part of the cells.
        let TestOptions { suite, btf, timeout, execution, .. } = options;
        let repeat = execution.repeat;
        let selection =
            format!("suite {suite:?}, btf {btf:?}, repeat {repeat:?}, timeout {timeout:?}");
        let mut identity = identity::of_run(kernels, entries, guest, &selection)
            .map_err(|source| RunError::in_dir("read the programs for guests in", guest, source))?;
        // What runs one program for its user has no parts.
        let has_parts =
            !matches!(suites.invocation, Invocation::Exec { .. } | Invocation::Runner { .. });
        if has_parts {
            let own =
                packed.values().flat_map(|files| files.own_files.iter().map(PathBuf::as_path));
            let tracers = identity::of_files(kernels, own.filter(|file| file.is_file()));
            let tracers = tracers.map_err(|source| {
                RunError::in_dir("read the files of the suites in", &suites.at.directory, source)
            })?;
            identity.insert("tracers".to_owned(), tracers);
            let goldens = chosen.iter().filter_map(|&at| suites.suites[at].golden.as_ref());
            let goldens: Vec<_> = goldens
                .map(|golden| suites.at.directory.join(golden))
                .filter(|it| it.is_file())
                .collect();
            let goldens = identity::of_files(kernels, goldens.iter().map(PathBuf::as_path));
            let goldens = goldens.map_err(|source| {
                RunError::in_dir("read the golden snapshots in", &suites.at.directory, source)
            })?;
            let described: Vec<_> = chosen.iter().map(|&at| suites.suites[at].portable()).collect();
            let rules = Digest::of(format!("{described:?} {allow:?}").as_bytes());
            identity.insert("suites".to_owned(), format!("{rules} {goldens}"));
        }
        Ok(identity)
    }
}
