//! `kernlab ci test`: runs suites, compares, and reports where the CI system looks.

use std::{fs, io, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use kernlab_cli::{Execution, Exit, TestOptions};
use kernlab_core::outcome::Severity;
use kernlab_vmtest::{
    report::{
        Report,
        counts::{self, Conclusion, Counts},
        html, junit,
        markdown::{self, GITHUB_LIMIT},
        regression::{self, Regression, Side},
        table,
    },
    run::{Outcomes, RunObserver, dir::RunDir, identity, merge},
    suite::{self, data::DataRule},
};

use super::{
    Choice, given,
    output::{self, Log},
    parts, path,
};
use crate::{
    failure::{self, Failure},
    report, selection,
    show::Terminal,
    tested::{Listers, Tested},
};

/// GitHub's limit of a comment is 65,536 characters.
const COMMENT_LIMIT: usize = 60_000;

/// Run the suites of a project, or merge the parts of a run that several machines shared. Compare with
/// a run of the base branch. Write `index.html`, `junit.xml`, `summary.md` and `comment.md` beside the
/// report. On GitHub, also write the job's summary and the outputs `outcome`, `report` and `counts`;
/// elsewhere, print the outputs.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kernlab ci test --kernels '5.10 6.1' --suite 'open*' --base base-report/
  kernlab ci test --shard 2/4
  kernlab ci test --merge parts/ --fail-on any")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    guest: selection::GuestPrograms,
    /// Run only suites whose name matches.
    #[arg(long, value_name = "GLOB", default_value = "", hide_default_value = true)]
    suite: String,
    /// A shell line that builds the project, instead of the `build` of kernlab.toml.
    #[arg(long, value_name = "LINE", default_value = "", hide_default_value = true)]
    build: String,
    /// Run only this part of the cells: 1/4 to 4/4 on four machines.
    #[arg(long, value_name = "PART/OF", default_value = "", hide_default_value = true)]
    shard: String,
    /// Run nothing: make one report of the parts below this directory.
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    merge: String,
    /// The run to compare with: its name, its directory, or the path of a report.json.
    #[arg(long, value_name = "RUN", default_value = "", hide_default_value = true)]
    base: String,
    /// Copy the run to this directory, which must not exist or be empty.
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    into: String,
    /// Which failures fail this command. Without a base, all are new.
    #[arg(long, value_enum, default_value_t = FailOn::New)]
    fail_on: FailOn,
    /// Whether to write the job's summary.
    #[arg(long, value_enum, default_value_t = Summary::True)]
    summary: Summary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Those that the base does not have, and cells that vanished.
    #[value(alias = "")]
    New,
    /// All of them, and cells that vanished.
    Any,
}

/// As a CI system has it: a text, which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Summary {
    #[value(alias = "")]
    True,
    False,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { choice, shard, merge, base, .. } = arguments;
    let partition = given(shard).map(str::parse).transpose();
    let partition = partition.map_err(|why: String| Failure::usage(format!("--shard: {why}")))?;
    let options = TestOptions {
        suite: given(&arguments.suite).map(str::to_owned),
        execution: Execution { partition, ..Execution::default() },
        ..choice.options()?
    };
    for (other, name) in [(base, "--base"), (merge, "--merge")] {
        if options.execution.partition.is_some() && given(other).is_some() {
            return Err(Failure::usage(format!(
                "--shard and {name} can't be combined: merge the parts first, then compare"
            )));
        }
    }
    if let Some(into) = path(&arguments.into) {
        let why = match fs::read_dir(&into) {
            Ok(mut entries) => entries.next().map(|_| "there are files in it already".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            return Err(Failure::usage(format!("--into: {}: {why}", into.display())));
        }
    }
    let log = Log::begin()?;
    // A base that can't be read is told before anything runs.
    let base = given(base).map(|base| report::read(Some(base))).transpose()?;
    let mut tested = Tested::project(choice.config())?;
    if let Some(line) = given(&arguments.build) {
        tested.project.build = Some(line.to_owned());
    }
    let terminal = Arc::new(Terminal::new());
    let (outcomes, unwritten) = match path(merge) {
        Some(dir) => (merge_parts(dir, arguments, &mut tested, &options, &terminal)?, None),
        None => run_suites(arguments, &mut tested, &options, &terminal)?,
    };
    let Outcomes { report, dir } = &outcomes;
    let head = Side { report, evidence: dir };
    let comparison = base
        .as_ref()
        .map(|(base, evidence)| Regression::of_runs(Side { report: base, evidence }, head));
    failure::print_or_note(&format!("\n{}\n", table::run(head, terminal.width())));
    match (&comparison, arguments.fail_on) {
        (Some(comparison), _) => failure::print_or_note(&format!("\n{comparison}")),
        (None, FailOn::New) if options.execution.partition.is_none() => {
            log.notice("there is no base run to compare with: every failure counts as new")?;
        }
        (None, _) => {}
    }
    let fail_on = match arguments.fail_on {
        FailOn::New => counts::FailOn::New,
        FailOn::Any => counts::FailOn::Any,
    };
    let severity = counts::severity(report, comparison.as_ref(), fail_on);
    let unwritten = match unwritten {
        Some(failure) => Some(failure),
        None => hand_over(arguments, &outcomes, comparison.as_ref(), severity).err(),
    };
    failure::exit_of_run(severity, unwritten)
}

/// Writes everything that others read.
fn hand_over(
    arguments: &Arguments,
    Outcomes { report, dir }: &Outcomes,
    comparison: Option<&Regression>,
    severity: Severity,
) -> Result<(), Failure> {
    let side = Side { report, evidence: dir };
    let causes = Regression::causes(side);
    let page = html::render(report, &causes, &|cell| html::EvidenceLinks::read(dir, cell));
    let summary = markdown(report, comparison, GITHUB_LIMIT);
    for (name, content) in [
        ("index.html", page),
        ("junit.xml", junit::render(report)),
        ("summary.md", summary.clone()),
        ("comment.md", markdown(report, comparison, COMMENT_LIMIT)),
    ] {
        fs::write(dir.path().join(name), content)
            .map_err(|error| Failure::from(error).of(&format!("failed to write {name}: ")))?;
    }
    let mut place = dir.path().to_owned();
    if let Some(into) = path(&arguments.into) {
        merge::copy_run(&place, &into).map_err(|error| Failure::infrastructure(&error))?;
        place = into;
    }
    if arguments.summary == Summary::True {
        output::summarise(&summary)?;
    }
    output::hand_over(&[
        ("outcome", Conclusion::from(severity).name().to_owned()),
        ("report", std::path::absolute(&place)?.display().to_string()),
        ("counts", Counts::of(report, comparison).to_json()),
    ])
}

/// The comparison, then the run.
fn markdown(report: &Report, comparison: Option<&Regression>, limit: usize) -> String {
    let Some(comparison) = comparison else { return markdown::render(report, limit) };
    let first = regression::markdown::render(comparison, limit / 2) + "\n";
    let left = limit - first.len().min(limit);
    first + &markdown::render(report, left)
}

fn run_suites(
    arguments: &Arguments,
    tested: &mut Tested,
    options: &TestOptions,
    terminal: &Arc<Terminal>,
) -> Result<(Outcomes, Option<Failure>), Failure> {
    let kernels = selection::open(&options.selected.scope)?;
    let guest = arguments.guest.dir(&kernels)?;
    let listers = Listers { kernels: &kernels, guest: &arguments.guest, options };
    tested.build(Some(&DataRule::default()), listers)?;
    let show: Arc<dyn RunObserver> = Arc::clone(terminal) as _;
    let suites = tested.suites();
    failure::outcomes(suite::run::run(&kernels, options, &suites, &guest, &show, &|_, _, _| {}))
}

/// Makes one run of the parts below a directory. What no part has is `not-run`.
fn merge_parts(
    dir: PathBuf,
    arguments: &Arguments,
    tested: &mut Tested,
    options: &TestOptions,
    terminal: &Arc<Terminal>,
) -> Result<Outcomes, Failure> {
    let found = parts::find(&dir).map_err(|error| {
        Failure::usage(format!("cannot read the parts in {}: {error}", dir.display()))
    })?;
    let kernels = selection::open(&options.selected.scope)?;
    if !tested.project.cargo.is_empty() {
        // Only a build knows the tests.
        let listers = Listers { kernels: &kernels, guest: &arguments.guest, options };
        tested.build(Some(&DataRule::default()), listers)?;
    }
    let asked = suite::run::cells(&kernels, options, &tested.suites(), &**terminal)?;
    let runs = kernels.runs_dir();
    let created = RunDir::create(&runs).map_err(|error| {
        Failure::from(error).of(&format!("failed to make a directory in {}: ", runs.display()))
    })?;
    let entries = suite::run::entries(&kernels, options, &tested.project.kernels, &**terminal)?;
    let identity = identity::of_kernels(&kernels, &entries);
    let remarks = suite::run::reminders(options, &tested.suites())?;
    let report = merge::merge(&asked, &found, created.path(), &identity, &remarks)
        .map_err(crate::matrix::merge_failed)?;
    created.make_latest().map_err(|error| {
        let heading = format!("failed to point `latest` to {}: ", created.path().display());
        Failure::from(error).of(&heading)
    })?;
    Ok(Outcomes { report, dir: created })
}
