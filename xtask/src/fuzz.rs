//! `cargo xtask fuzz`: feeds everything that reads foreign bytes with made-up ones. fuzz/README.md.

mod process;
mod target;

use std::{
    collections::VecDeque,
    fs,
    num::{NonZeroU32, NonZeroUsize},
    path::{self, Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;

use kernlab_cli::Exit;

use self::{
    process::{Fuzzed, Place},
    target::{TARGETS, Target},
};
use crate::{
    invocation::Invocation,
    setup::{self, Consent, Purpose},
    workspace,
};

/// Where everything is that fuzzing makes: programs, corpora, logs, and inputs that were found.
const PLACE: &str = "target/fuzz";
/// On one processor, with everything to compile.
const BUILD_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
/// What cargo may take to look at a lock.
const LOCK_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// What one input may take, with everything that a debugger would want to know of it.
const INPUT_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Fuzz everything that reads foreign bytes: packages, images, type information, logs, manifests, reports,
/// what guests say.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Fuzz only these targets.
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS.map(|target| target.name)))]
    targets: Vec<String>,
    /// How long each target runs, in seconds.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Build the targets with optimisations: that takes minutes, and pays off in runs of hours.
    #[arg(long)]
    release: bool,
    /// How many targets run at a time; without it, as many as there are processors.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Make the random decisions of this seed, instead of others each time.
    #[arg(long, value_name = "N")]
    seed: Option<NonZeroU32>,
    /// Run the target once, on this input, instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "jobs", "seed"])]
    input: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let chosen = |target: &&Target| {
        args.targets.is_empty() || args.targets.iter().any(|name| name == target.name)
    };
    let targets: Vec<&Target> = TARGETS.iter().filter(chosen).collect();
    let once = match (&args.input, &targets[..]) {
        (None, _) => None,
        (Some(input), [target]) if input.is_file() => {
            let input = path::absolute(input);
            Some((*target, input.context("failed to find the current directory")?))
        }
        (Some(input), [_]) => {
            eprintln!("error: there is no file {}", input.display());
            return Ok(Exit::Usage);
        }
        (Some(_), _) => {
            eprintln!("error: an input is for one target: name it before --input");
            return Ok(Exit::Usage);
        }
    };
    setup::ensure(Consent::Ask, Purpose::Fuzz)?;
    let place = Place::in_directory(&workspace::root().join(PLACE), args.release);
    build(&place)?;
    match once {
        Some((target, input)) => run_input(&place, target, &input),
        None => fuzz(&place, &targets, args),
    }
}

/// Builds the programs of all targets: they share all that takes long to compile.
fn build(place: &Place) -> Result<()> {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    let metadata = Invocation::cargo(["metadata", "--locked", "--format-version", "1"]);
    if metadata.args(manifest).read(LOCK_DEADLINE).is_err() {
        bail!(
            "fuzz/Cargo.lock lacks what a crate needs now: run `cargo update --workspace \
             --manifest-path fuzz/Cargo.toml` and commit it"
        );
    }
    let programs = place.programs();
    let programs = programs.to_str().context("the target directory's path is not in UTF-8")?;
    build_command(place.is_release(), programs).run(BUILD_DEADLINE)
}

/// Without a sanitizer, for those need a nightly compiler. Safe code has no use for them: what finds something
/// are assertions, bounds and overflows, which cargo-fuzz leaves out if it is told `--release`, and has in its
/// default, which is the same but for that.
fn build_command(is_release: bool, programs: &str) -> Invocation {
    let dev: &[_] = if is_release { &[] } else { &["--dev"] };
    Invocation::cargo(["fuzz", "build", "--sanitizer", "none"])
        .args(dev.iter().copied())
        .args(["--target-dir", programs])
}

/// Runs a target on one input, which it tells about on the terminal.
fn run_input(place: &Place, target: &Target, input: &Path) -> Result<Exit> {
    let program = place.program(target)?;
    let input = input.to_str().context("the input's path is not in UTF-8")?;
    match Invocation::new(program).args([input]).run(INPUT_DEADLINE) {
        Ok(()) => Ok(Exit::Success),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(Exit::Failure)
        }
    }
}

/// Runs targets side by side, and tells of each in the order in which they end.
fn fuzz(place: &Place, targets: &[&Target], args: &Args) -> Result<Exit> {
    let processors = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let jobs = args.jobs.unwrap_or_else(processors).get().min(targets.len());
    let left: Mutex<VecDeque<&Target>> = Mutex::new(targets.iter().copied().collect());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        let mut exit = Exit::Success;
        while let Some(target) = next() {
            let fuzzed = place.fuzz(target, args.seconds, args.seed);
            exit = exit.and(tell(target, fuzzed, args.release));
        }
        exit
    };
    let exits = thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let exits = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        exits.fold(Exit::Success, Exit::and)
    });
    Ok(exits)
}

/// Prints a line for a target, and what it found.
fn tell(target: &Target, fuzzed: Result<Fuzzed>, is_release: bool) -> Exit {
    let Fuzzed { statistics, seconds, finds, log } = match fuzzed {
        Ok(fuzzed) => fuzzed,
        Err(error) => {
            eprintln!("error: {}: {error:#}", target.name);
            return Exit::Infrastructure;
        }
    };
    let count = match finds.len() {
        0 => "no find".to_owned(),
        1 => "1 find".to_owned(),
        count => format!("{count} finds"),
    };
    println!(
        "{:13} {:>10} executions, coverage {:>6}, {seconds:>5} s, {count}",
        target.name, statistics.executions, statistics.coverage
    );
    for find in &finds {
        let file = find.strip_prefix(workspace::root()).unwrap_or(find).display().to_string();
        let text = fs::read_to_string(&log).unwrap_or_default();
        let release = if is_release { " --release" } else { "" };
        eprintln!(
            "error: {}: {}\n  the input: {file}\n  what it does: {}\n  again: cargo xtask fuzz{release} {} --input {file}",
            target.name,
            process::cause(&text, &file),
            log.display(),
            target.name
        );
    }
    if finds.is_empty() { Exit::Success } else { Exit::Failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_builds_have_assertions() {
        let command = |is_release| build_command(is_release, "build").to_string();
        assert_eq!(command(false), "cargo fuzz build --sanitizer none --dev --target-dir build");
        assert_eq!(command(true), "cargo fuzz build --sanitizer none --target-dir build");
    }
}
