//! `cargo xtask soak`: runs cells with random faults for as long as one likes. No fault may change a
//! verdict into another than one that names it, and none may leave anything behind.

mod fault;
mod place;
mod process;
mod report;
mod round;
mod verdict;
mod watch;
mod work;

use std::{
    collections::BTreeMap,
    fs,
    num::{NonZeroU32, NonZeroU64},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use kernlab_cli::Exit;

use self::{
    fault::Fault,
    place::Place,
    report::Summary,
    round::{Lab, Outcome},
    verdict::Judge,
    watch::Watched,
    work::Work,
};
use crate::{
    build::{self, GuestPrograms},
    setup::{Consent, Purpose},
    workspace,
};

/// The kernels, unless the command line names others.
const KERNELS: [&str; 3] = ["debian-5.10", "debian-6.1", "debian-6.12"];
/// How long a run takes before one of its kind was seen.
const USUAL: Duration = Duration::from_secs(3);
/// What the store may grow by while faults are injected, in bytes.
const STORE: u64 = 3 << 30;
/// The largest directory of a run, in bytes.
const RUN: u64 = 64 << 20;

/// Run random cells with random faults, and check that each verdict is right or names its fault, and
/// that nothing is left behind.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask soak --minutes 60
  cargo xtask soak --kills 200
  cargo xtask soak --seed 42 --round 17    # with --kills and --kernel as in the run")]
pub(crate) struct Args {
    /// Stop after this time: 10 minutes, if nothing else says when.
    #[arg(long, value_name = "N")]
    minutes: Option<NonZeroU64>,
    /// Inject only signals, and stop when N of them have reached a process.
    #[arg(long, value_name = "N")]
    kills: Option<NonZeroU32>,
    /// Make the random decisions of an earlier soak. The moments of faults vary.
    #[arg(long)]
    seed: Option<u64>,
    /// Run only this round of a seed.
    #[arg(long, value_name = "N", requires = "seed", conflicts_with = "minutes")]
    round: Option<u64>,
    /// A kernel's id. Repeatable.
    #[arg(long = "kernel", value_name = "ID")]
    kernels: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let (guest, tool) = match GuestPrograms::given() {
        Some(guest) => (guest, build::host_tool()?),
        None => build::after_setup(Consent::Ask, Purpose::Work)?,
    };
    let tool = tool.copied_to(&workspace::root().join("target/soak/programs"))?;
    let kernels = match args.kernels.is_empty() {
        true => KERNELS.map(str::to_owned).to_vec(),
        false => args.kernels.clone(),
    };
    let scenarios = work::scenarios(&tool.ask(&["run".into(), "--list".into()])?);
    ensure!(!scenarios.is_empty(), "the host tool lists no scenario");
    let place = Place::make(&kernels, &tool)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u32(..).into());
    let lab = Lab { tool: &tool, guest: &guest, place: &place };
    let mut soak = Soak {
        lab,
        args,
        kernels,
        scenarios,
        judge: Judge::default(),
        usual: BTreeMap::new(),
        summary: Summary { seed, again: args.again(seed), ..Summary::default() },
    };
    soak.all().context("the soak could not go on")?;
    let Summary { errors, .. } = &soak.summary;
    let exit = if errors.is_empty() { Exit::Success } else { Exit::Failure };
    let path = workspace::root().join("target/soak/report.json");
    fs::write(&path, serde_json::to_vec_pretty(&soak.summary)?)
        .with_context(|| format!("failed to write {}", path.display()))?;
    println!("\n{}\nreport: {}", soak.summary.table(), path.display());
    Ok(exit)
}

impl Args {
    /// The command that makes the decisions of this seed: they depend on the kernels too, and on whether
    /// all faults are signals.
    fn again(&self, seed: u64) -> String {
        let kills = self.kills.map(|kills| format!(" --kills {kills}"));
        let kernels = self.kernels.iter().map(|id| format!(" --kernel {id}"));
        let rest: String = kills.into_iter().chain(kernels).collect();
        format!("cargo xtask soak --seed {seed}{rest}")
    }
}

struct Soak<'a> {
    lab: Lab<'a>,
    args: &'a Args,
    kernels: Vec<String>,
    scenarios: Vec<String>,
    judge: Judge,
    /// How long the last run of each kind took.
    usual: BTreeMap<&'static str, Duration>,
    summary: Summary,
}

impl Soak<'_> {
    fn all(&mut self) -> Result<()> {
        let begun = Instant::now();
        let result = self.rounds(begun);
        self.summary.seconds = begun.elapsed().as_secs();
        result
    }

    fn rounds(&mut self, begun: Instant) -> Result<()> {
        for kernel in self.kernels.clone() {
            let work = Work::quick(&kernel);
            self.run_one(0, &work, &Fault::None, &mut Rng::with_seed(0))?;
        }
        self.summary.store_before = place::size(&self.lab.place.store);
        if let Some(round) = self.args.round {
            self.round(round)?;
            return Ok(());
        }
        let mut watched = match self.args.kills {
            Some(_) => None,
            None => Some(self.watched()?),
        };
        for number in 1.. {
            let minutes = match (self.args.minutes, self.args.kills) {
                (None, None) => Some(10),
                (minutes, _) => minutes.map(NonZeroU64::get),
            };
            let is_over = minutes.is_some_and(|it| begun.elapsed() > Duration::from_secs(60 * it));
            let kills = self.args.kills.map(|kills| u64::from(kills.get()));
            if is_over || kills.is_some_and(|kills| self.summary.kills() >= kills) {
                break;
            }
            self.round(number)?;
            if let Some(watched) = &mut watched {
                watched.look();
            }
        }
        if let Some(watched) = watched {
            let seen = watched.end()?;
            seen.wrong.iter().for_each(|what| self.summary.note_error(what.clone()));
            self.summary.watched = Some(seen);
        }
        Ok(())
    }

    /// A run with a fault, and one without that shows that nothing is left of it.
    fn round(&mut self, number: u64) -> Result<()> {
        let mut random = Rng::with_seed(self.summary.seed.wrapping_mul(1_000_003) ^ number);
        let work = Work::any(&mut random, &self.kernels, &self.scenarios);
        let fault = match self.args.kills {
            Some(_) => Fault::any_signal(&mut random, &work),
            None => Fault::any(&mut random, &work),
        };
        self.summary.rounds += 1;
        *self.summary.work.entry(work.kind().to_owned()).or_default() += 1;
        self.run_one(number, &work, &fault, &mut random)?;
        if fault != Fault::None {
            let after = match fault {
                Fault::Signal(..) => Work::quick(work.kernel()),
                _ => work,
            };
            self.run_one(number, &after, &Fault::None, &mut random)?;
        }
        let store = place::size(&self.lab.place.store);
        self.summary.store_most = self.summary.store_most.max(store);
        if store > self.summary.store_before + STORE {
            self.summary.note_error(format!("the store grew to {} MiB", store >> 20));
            // Told once.
            self.summary.store_before = store;
        }
        Ok(())
    }

    fn run_one(&mut self, number: u64, work: &Work, fault: &Fault, random: &mut Rng) -> Result<()> {
        let usual = self.usual.get(work.kind()).copied().unwrap_or(USUAL);
        let mut outcome = self.lab.round(work, fault, usual, random, &mut self.judge)?;
        if outcome.runs_size > RUN {
            outcome.wrong.push(format!("its directory has {} MiB", outcome.runs_size >> 20));
        }
        if *fault == Fault::None {
            self.usual.insert(work.kind(), outcome.duration);
        }
        let (work, fault) = (work.described(), fault.kind());
        let Outcome { struck, told, wrong, duration, .. } = &outcome;
        let missed = if *struck || fault == "none" { "" } else { ", missed" };
        let seconds = duration.as_secs_f32();
        let all: Vec<_> = told.iter().chain(wrong).map(|it| format!("; {it}")).collect();
        let mark = if wrong.is_empty() { " " } else { "!" };
        eprintln!("{mark}{number:>4} {seconds:>5.1} s  {work}: {fault}{missed}{}", all.concat());
        self.summary.note((number, &work, &fault), &outcome);
        Ok(())
    }

    /// A process beside all others, with a store that no fault touches.
    fn watched(&self) -> Result<Watched> {
        let place = self.lab.place;
        let dir = place.make_second(&self.kernels[0])?;
        let mut command = self.lab.command(&Fault::None)?;
        command
            .args(["test", "--json", "--suite", "well", "--repeat", "10000", "--jobs", "1"])
            .args(["--kernel", &self.kernels[0]])
            .env("KERNLAB_STORE", dir.join("store"))
            .env("TMPDIR", &dir);
        Watched::start(command, &dir)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_command_makes_the_same_decisions_again() {
        let line = "soak --kills 12 --kernel debian-6.1 --kernel debian-5.10";
        let Line { args } = Line::parse_from(line.split(' '));
        let again = args.again(7);
        let words = again.strip_prefix("cargo xtask ").unwrap().split(' ');
        let Line { args: repeated } = Line::parse_from(words.chain(["--round", "3"]));
        assert_eq!((repeated.kills, &repeated.kernels), (args.kills, &args.kernels));
        assert_eq!((repeated.seed, repeated.round), (Some(7), Some(3)));
    }
}
