//! `cargo xtask setup`: finds what this machine lacks, and installs it.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    thread,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use detect::Detection;
use distribution::Distribution;
use kernlab_cli::Exit;
use machine::Machine;
use plan::{Plan, Step};
pub(crate) use requirement::Purpose;
use requirement::{C_COMPILER, Requirement};

use crate::{architecture::Architecture, workspace};

mod apt_source;
mod archive;
mod detect;
mod distribution;
mod machine;
mod plan;
mod requirement;
mod rust_source;

/// Find the tools that this machine lacks to build, run and test, and install them.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only report what is missing; exit with 1 if anything is.
    #[arg(long, conflicts_with = "yes")]
    check: bool,
    /// Install without asking. `CI=true` in the environment does the same.
    #[arg(long)]
    yes: bool,
    /// Include the tools for building kernels from source.
    #[arg(long)]
    builds: bool,
    /// Install only the tools for this purpose.
    #[arg(long, hide = true, conflicts_with = "builds")]
    only: Option<Purpose>,
}

/// Whether the user agreed to the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// The user agreed on the command line.
    Given,
    /// The user must be asked.
    Ask,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let builds = args.builds.then_some(Purpose::Builds);
    let purposes: Vec<_> = match args.only {
        Some(purpose) => vec![purpose],
        None => [Purpose::Test].into_iter().chain(builds).collect(),
    };
    if !args.check {
        let consent = if args.yes { Consent::Given } else { Consent::Ask };
        purposes.iter().try_for_each(|&purpose| ensure(consent, purpose))?;
    }
    let survey: Vec<_> = purposes.iter().flat_map(|&purpose| survey(purpose)).collect();
    for (requirement, detection) in &survey {
        let (state, detail) = match detection {
            Detection::Found(path) => ("found", path),
            Detection::Missing(sought) => ("missing", sought),
        };
        println!("{:15} {state:8} {detail}", requirement.name);
    }
    let missing = missing(&survey);
    if missing.is_empty() {
        return Ok(Exit::Success);
    }
    let plan = plan(&missing);
    println!("\n{}", describe(&plan));
    Ok(Exit::Failure)
}

/// Installs what is missing for a purpose. If nothing is, this takes a moment and prints nothing.
pub(crate) fn ensure(consent: Consent, purpose: Purpose) -> Result<()> {
    ensure_beside(consent, purpose, || Ok(())).map(drop)
}

/// Whether nothing is missing for a purpose.
pub(crate) fn is_complete(purpose: Purpose) -> bool {
    missing(&survey(purpose)).is_empty()
}

/// Installs what is missing for a purpose, and calls `start` before an installation, for something that runs during it. That may need
/// a C compiler, but nothing else that the purpose requires.
pub(crate) fn ensure_beside<T>(
    consent: Consent,
    purpose: Purpose,
    start: impl FnOnce() -> Result<T>,
) -> Result<Option<T>> {
    let survey = survey(purpose);
    let missing = missing(&survey);
    if missing.is_empty() {
        return Ok(None);
    }
    let plan = announce(&missing)?;
    agree(purpose, consent)?;
    let can_compile = missing.iter().all(|requirement| requirement.name != C_COMPILER);
    let beside = if can_compile { Some(start()?) } else { None };
    for step in &plan.steps {
        eprintln!("==> {step}");
        step.run()?;
    }
    expect_nothing_missing(purpose)?;
    Ok(beside)
}

/// Asks the user now whether what is missing for a purpose may be installed later. False if nothing is
/// missing.
pub(crate) fn may_install(purpose: Purpose) -> Result<bool> {
    let survey = survey(purpose);
    let missing = missing(&survey);
    if missing.is_empty() {
        return Ok(false);
    }
    announce(&missing)?;
    agree(purpose, Consent::Ask).map(|()| true)
}

/// The command that installs what a purpose requires, without asking, quoted for a shell.
pub(crate) fn installer(purpose: Purpose) -> Result<String> {
    let program = env::current_exe().context("failed to find this program")?;
    let program = program.to_str().context("the path of this program is not in UTF-8")?;
    let purpose = purpose.to_possible_value().context("this purpose has no name")?;
    // What starts it has not been told by cargo where this package is.
    let package = workspace::root().join("xtask");
    let package = package.to_str().context("the checkout's path is not in UTF-8")?;
    let package = format!("CARGO_MANIFEST_DIR={package}");
    let command = ["env", &package, program, "setup", "--yes", "--only", purpose.get_name()];
    Ok(shlex::try_join(command)?)
}

/// Prints what is missing and how it would be installed, if it can be.
fn announce(missing: &[&Requirement]) -> Result<Plan> {
    eprintln!("This machine lacks:");
    for requirement in missing {
        eprintln!("  {:15} {}", requirement.name, requirement.why);
    }
    let plan = plan(missing);
    eprintln!("\n{}", describe(&plan));
    if !plan.by_hand.is_empty() {
        bail!("do what is to be done by hand, then run this again");
    }
    Ok(plan)
}

impl Step {
    fn run(&self) -> Result<()> {
        match self {
            Step::Run(command, deadline) => command.run(*deadline),
            Step::RustSource { or_debian } => rust_source::install(*or_debian),
            Step::Download { archive, otherwise, deadline } => match archive::install(archive) {
                Ok(()) => Ok(()),
                Err(error) => {
                    eprintln!("{error:#}\n==> {otherwise}");
                    otherwise.run(*deadline)
                }
            },
        }
    }
}

fn plan(missing: &[&Requirement]) -> Plan {
    let distribution = Distribution::of_this_machine();
    Plan::new(missing, &distribution, machine::is_root(), Architecture::host())
}

/// Looks for everything that a purpose requires, in parallel.
fn survey(purpose: Purpose) -> Vec<(&'static Requirement, Detection)> {
    let machine = Machine::this();
    thread::scope(|scope| {
        let required = requirement::of(Architecture::host(), purpose);
        let detections = required.map(|requirement| {
            let machine = &machine;
            (requirement, scope.spawn(move || requirement.detect(machine)))
        });
        let detections = detections.collect::<Vec<_>>();
        let join = |thread: thread::ScopedJoinHandle<'_, Detection>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        detections.into_iter().map(|(requirement, thread)| (requirement, join(thread))).collect()
    })
}

fn missing(survey: &[(&'static Requirement, Detection)]) -> Vec<&'static Requirement> {
    let missing = survey.iter().filter(|(_, found)| matches!(found, Detection::Missing(_)));
    missing.map(|(requirement, _)| *requirement).collect()
}

fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("{title}:\n  {}\n", lines.join("\n  "));
        }
    };
    section("To be run", plan.steps.iter().map(ToString::to_string).collect());
    section("To be done by hand", plan.by_hand.clone());
    text
}

/// Whether this is a CI system, which sets `CI=true`.
fn in_ci() -> bool {
    env::var("CI").is_ok_and(|ci| matches!(ci.as_str(), "true" | "1"))
}

/// Asks the user, unless the answer is known. Without a terminal to ask on, the answer is no.
fn agree(purpose: Purpose, consent: Consent) -> Result<()> {
    if consent == Consent::Given || in_ci() {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let builds = match purpose {
            Purpose::Work | Purpose::Test => "",
            Purpose::Release => " --only release",
            Purpose::Fuzz => " --only fuzz",
            Purpose::Mutants => " --only mutants",
            Purpose::Foreign => " --only foreign",
            Purpose::Build | Purpose::BuildBtf | Purpose::BuildForeign | Purpose::Builds => {
                " --builds"
            }
        };
        bail!("cannot ask without a terminal: run `cargo xtask setup --yes{builds}`");
    }
    eprint!("Proceed? [Y/n] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("failed to read the answer")?;
    match answer.trim() {
        "" | "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was installed"),
    }
}

/// A step can succeed without effect: a program outside of `$PATH`, an old version earlier in it.
fn expect_nothing_missing(purpose: Purpose) -> Result<()> {
    let survey = survey(purpose);
    let sought = survey.iter().filter_map(|(requirement, detection)| match detection {
        Detection::Found(_) => None,
        Detection::Missing(sought) => Some(format!("{} ({sought})", requirement.name)),
    });
    let sought = sought.collect::<Vec<_>>();
    if sought.is_empty() {
        return Ok(());
    }
    bail!("still missing: {}", sought.join(", "))
}
