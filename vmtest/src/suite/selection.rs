//! Which cells a run of suites has.

use globset::{Glob, GlobMatcher};
use kernlab_cli::TestOptions;
use kernlab_core::cell::{BackendKind, BtfMode};
use kernlab_kernels::{Entry, Kernels, Observer};

use super::{
    manifest::{Subject, Suite},
    run::{SUITE, SuiteRunError},
};
use crate::run::{RunError, plan::FilterError, selection};

/// One planned cell.
#[derive(Clone, Debug)]
pub(super) struct PlannedCell {
    pub(super) id: String,
    pub(super) suite: usize,
    pub(super) entry: usize,
    pub(super) btf: BtfMode,
    pub(super) backend: Option<BackendKind>,
}

/// The expectations of a suite that a person should look at again.
pub(super) fn due(suite: &Suite) -> impl Iterator<Item = String> {
    let today = jiff::Zoned::now().date();
    suite.expect.iter().filter_map(move |expectation| {
        let date = expectation.review.filter(|date| *date <= today)?;
        let (name, when, reason) = (&suite.name, expectation.when.text(), &expectation.reason);
        Some(format!(
            "{name}: review what is expected where `{when}` holds ({reason}): that was due on {date}"
        ))
    })
}

/// The indices of the suites that the glob matches.
pub(super) fn choose(suites: &[Suite], glob: Option<&str>) -> Result<Vec<usize>, SuiteRunError> {
    let Some(given) = glob else { return Ok((0..suites.len()).collect()) };
    let glob: GlobMatcher = Glob::new(given)?.compile_matcher();
    // The name of a test begins with that of its suite.
    let is_chosen = |name: &str| {
        let parts = name.match_indices('/').map(|(at, _)| &name[..at]);
        parts.chain([name]).any(|part| glob.is_match(part))
    };
    let chosen: Vec<_> =
        (0..suites.len()).filter(|&suite| is_chosen(&suites[suite].name)).collect();
    if chosen.is_empty() {
        const NAMED: usize = 20;
        let mut names: Vec<_> = suites.iter().take(NAMED).map(|suite| &*suite.name).collect();
        if suites.len() > NAMED {
            names.push("...");
        }
        let (given, known) = (given.to_owned(), names.join(", "));
        return Err(SuiteRunError::NoSuite { given, known });
    }
    Ok(chosen)
}

/// The kernels that the command line names, or else the project.
pub(super) fn entries(
    kernels: &Kernels,
    options: &TestOptions,
    project: &[String],
    observer: &dyn Observer,
) -> Result<Vec<Entry>, SuiteRunError> {
    let mut asked = selection(&options.selected);
    if asked.selectors.is_empty() {
        asked.selectors = project.to_vec();
    }
    let chosen = kernels.select(&asked)?;
    for left_out in chosen.notices() {
        observer.notice(&left_out);
    }
    Ok(kernels.with_modes_of_images(chosen.entries))
}

/// The cells: every suite on every kernel in each of its BTF modes that the kernel can have.
pub(super) fn cells(
    suites: &[Suite],
    chosen: &[usize],
    entries: &[Entry],
    options: &TestOptions,
) -> Result<Vec<PlannedCell>, SuiteRunError> {
    let asked = asked(options)?;
    let mut cells = Vec::new();
    for (entry_at, entry) in entries.iter().enumerate() {
        for &suite in chosen {
            let described = &suites[suite];
            for btf in modes(described, entry, asked) {
                let backends = match described.subject {
                    Subject::Object(_) => BackendKind::ALL.map(Some).to_vec(),
                    Subject::Run(_) | Subject::Bpftrace(_) => vec![None],
                };
                for backend in backends {
                    let loader = backend.map_or_else(|| SUITE.to_owned(), |kind| kind.to_string());
                    let id = format!("{}/{btf}/{loader}/{}", entry.id, described.name);
                    cells.push(PlannedCell { id, suite, entry: entry_at, btf, backend });
                }
            }
        }
    }
    if cells.is_empty() {
        let why = without_cells(suites, chosen, entries, options)?;
        return Err(SuiteRunError::NoCells(why.join("\n")));
    }
    let Some(partition) = options.execution.partition else { return Ok(cells) };
    match partition.of(cells) {
        none if none.is_empty() => Err(SuiteRunError::EmptyPart(partition)),
        part => Ok(part),
    }
}

/// A remark on each chosen suite, and on each kernel, that has no cell in this run.
pub(super) fn without_cells(
    suites: &[Suite],
    chosen: &[usize],
    entries: &[Entry],
    options: &TestOptions,
) -> Result<Vec<String>, SuiteRunError> {
    let asked = asked(options)?;
    let suites: Vec<&Suite> = chosen.iter().map(|&at| &suites[at]).collect();
    let runs_on = |suite: &Suite, entry: &Entry| modes(suite, entry, asked).next().is_some();
    let idle = suites.iter().filter(|suite| !entries.iter().any(|entry| runs_on(suite, entry)));
    let idle = idle.map(|suite| {
        let lacking = match (asked, &suite.btf[..]) {
            (Some(mode), _) => format!("the BTF mode {mode}"),
            (None, []) => "a BTF mode other than `external`".to_owned(),
            (None, modes) => format!("one of its BTF modes ({})", listed(modes)),
        };
        format!("{}: not run: no kernel of this run has {lacking}", suite.name)
    });
    let unused = entries.iter().filter(|entry| !suites.iter().any(|suite| runs_on(suite, entry)));
    let unused = unused.map(|entry| {
        let (id, modes) = (&entry.id, listed(&entry.btf));
        let why = match own_mode(entry) {
            None => "suites never run in `external`: add the image's own mode to its `btf`",
            Some(_) => "no suite of this run is for one of them",
        };
        format!("{id}: no suite ran on it; its BTF modes are {modes}: {why}")
    });
    Ok(idle.chain(unused).collect())
}

fn listed(modes: &[BtfMode]) -> String {
    modes.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", ")
}

/// The first mode of a kernel that needs no file with BTF; none if it has no other mode.
pub(super) fn own_mode(entry: &Entry) -> Option<BtfMode> {
    entry.btf.iter().copied().find(|&mode| mode != BtfMode::External)
}

/// The BTF mode of the command line, if it names one.
fn asked(options: &TestOptions) -> Result<Option<BtfMode>, SuiteRunError> {
    let mode = options.btf.as_deref().map(str::parse).transpose();
    mode.map_err(|error| SuiteRunError::Run(RunError::Filter(FilterError::Name(error))))
}

/// The modes in which a suite runs on a kernel.
fn modes(
    suite: &Suite,
    entry: &Entry,
    asked: Option<BtfMode>,
) -> impl Iterator<Item = BtfMode> + use<> {
    let wanted = match (asked, suite.btf.is_empty()) {
        (Some(mode), _) => vec![mode],
        (None, false) => suite.btf.clone(),
        // One mode that fits the kernel: its own.
        (None, true) => own_mode(entry).into_iter().collect(),
    };
    let has_btf = entry.has_btf();
    wanted.into_iter().filter(move |&mode| mode.fits(has_btf) && mode != BtfMode::External)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use BtfMode::{Embedded, External, Masked};
    use rstest::rstest;

    use super::*;
    use crate::suite::manifest::Project;

    /// A suite that runs in any BTF mode.
    const ANY: &str = "[[suite]]\nname = \"any\"\nrun = [\"a\"]\n";

    /// A kernel with these BTF modes.
    fn kernel(modes: &[BtfMode]) -> Entry {
        let entry = Kernels::open().unwrap().entry("debian-6.1").unwrap().clone();
        Entry { btf: modes.to_vec(), ..entry }
    }

    #[test]
    fn both_loaders_load_an_object() {
        let text = "[[suite]]\nname = \"o\"\nobject = \"o.bpf.o\"\n\n\
                    [[suite]]\nname = \"r\"\nrun = [\"r\"]\n";
        let project = Project::parse(Path::new("kernlab.toml"), text).unwrap();
        let entry = Kernels::open().unwrap().entry("debian-6.1").unwrap().clone();
        let cells = cells(&project.suites, &[0, 1], &[entry], &TestOptions::default()).unwrap();
        let ids: Vec<_> = cells.iter().map(|cell| cell.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "debian-6.1/embedded/libbpf/o",
                "debian-6.1/embedded/aya/o",
                "debian-6.1/embedded/suite/r"
            ]
        );
    }

    #[test]
    fn a_suite_without_a_cell_is_told() {
        let text = "[[suite]]\nname = \"old\"\nrun = [\"a\"]\nbtf = [\"absent\"]\n\n\
                    [[suite]]\nname = \"any\"\nrun = [\"a\"]\n";
        let project = Project::parse(Path::new("kernlab.toml"), text).unwrap();
        let entry = Kernels::open().unwrap().entry("debian-6.1").unwrap().clone();
        let told = without_cells(&project.suites, &[0, 1], &[entry], &TestOptions::default());
        let expected = "old: not run: no kernel of this run has one of its BTF modes (absent)";
        assert_eq!(told.unwrap(), [expected]);
    }

    #[test]
    fn a_kernel_whose_first_mode_needs_a_file_runs_suites_in_its_own() {
        let suites = Project::parse(Path::new("kernlab.toml"), ANY).unwrap().suites;
        let cells =
            cells(&suites, &[0], &[kernel(&[External, Masked])], &TestOptions::default()).unwrap();
        assert_eq!(cells[0].id, "debian-6.1/masked/suite/any");
    }

    #[rstest]
    #[case::only_by_a_file(
        &[External],
        None,
        "external: suites never run in `external`: add the image's own mode to its `btf`"
    )]
    #[case::in_another_mode(
        &[Embedded, Masked],
        Some("absent"),
        "embedded, masked: no suite of this run is for one of them"
    )]
    fn a_kernel_without_a_cell_is_told(
        #[case] modes: &[BtfMode],
        #[case] asked: Option<&str>,
        #[case] told: &str,
    ) {
        let suites = Project::parse(Path::new("kernlab.toml"), ANY).unwrap().suites;
        let options = TestOptions { btf: asked.map(str::to_owned), ..TestOptions::default() };
        let remarks = without_cells(&suites, &[0], &[kernel(modes)], &options).unwrap();
        let told = format!("debian-6.1: no suite ran on it; its BTF modes are {told}");
        assert!(remarks.contains(&told), "{remarks:?}");
    }
}
