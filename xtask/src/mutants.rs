//! `cargo xtask mutants`: breaks programs, plans and the judge, one place at a time, and looks whether any
//! cell or test notices. CONTRIBUTING.md.

mod crates;
mod explained;
mod programs;
mod report;
mod rule;
mod rust_programs;
mod source;
mod variant;

use std::{
    fs,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use fastrand::Rng;
use kernlab_cli::{Exit, Partition};

use self::{
    crates::Tree,
    explained::{Explanations, FILE},
    programs::{ProgramMutant, Programs},
    report::{Part, Report},
    variant::Kernel,
};
use crate::{
    build::{self, GuestPrograms},
    setup::{self, Consent, Purpose},
    workspace,
};

/// The kernels whose cells run, unless the command line names others: one with every feature that
/// programs use, the oldest of the default tier, and the newest, where they are attached elsewhere.
const KERNELS: [&str; 3] = ["debian-6.1", "debian-5.10", "debian-backports"];
/// Where everything is that the command makes.
const PLACE: &str = "target/mutants";

/// Break BPF programs, plans and the judge, one place at a time, and list what no cell and no test notices.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask mutants --sample 40 --seed 7
  cargo xtask mutants programs --only sys_write.bpf.c
  cargo xtask mutants programs --seed 7 --partition 1/4
  cargo xtask mutants crates --minutes 60")]
pub(crate) struct Args {
    /// Break only these: both, without it.
    #[arg(value_enum)]
    part: Option<Broken>,
    /// Try this many of each part, chosen at random; all of them, without it.
    #[arg(long, value_name = "N")]
    sample: Option<NonZeroUsize>,
    /// Try only one part of each, such as 1/4. The parts of one seed, 1/4 to 4/4, are all mutants.
    #[arg(long, value_name = "PART/OF", requires = "seed", conflicts_with = "sample")]
    partition: Option<Partition>,
    /// Choose, and divide, as this seed does.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Begin with no mutant after this time.
    #[arg(long, value_name = "N")]
    minutes: Option<NonZeroU64>,
    /// Only mutants whose file, or whose text, contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only mutants that mutants.toml does not explain.
    #[arg(long)]
    unexplained: bool,
    /// List the mutants, and run none.
    #[arg(long)]
    list: bool,
    /// A kernel's id, for the cells of programs. Repeatable.
    #[arg(long = "kernel", value_name = "ID")]
    kernels: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Broken {
    /// The BPF programs in C and in Rust, noticed by cells.
    Programs,
    /// Plan, decoder, normaliser and judge, noticed by tests.
    Crates,
}

/// The outcome of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// This cell, or a test, noticed it.
    Killed(String),
    /// Nothing noticed it.
    Survived,
    /// The compiler made the same of it.
    SameObject,
    /// The compiler refused it.
    DoesNotBuild(String),
    /// Nothing can be said: the lab, not the mutant, was at fault.
    NotJudged(String),
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let root = workspace::root();
    let place = root.join(PLACE);
    fs::create_dir_all(&place).with_context(|| format!("failed to make {}", place.display()))?;
    let explanations = Explanations::read(&root.join(FILE))?;
    let mut campaign = Campaign {
        args,
        seed: args.seed.unwrap_or_else(|| fastrand::u32(..).into()),
        begun: Instant::now(),
        explanations: &explanations,
        report: Report::default(),
    };
    campaign.report.seed = campaign.seed;
    if args.part != Some(Broken::Crates) {
        campaign.programs(&root, &place)?;
    }
    if args.part != Some(Broken::Programs) {
        campaign.crates(&root, &place)?;
    }
    if args.list {
        return Ok(Exit::Success);
    }
    let path = place.join("report.json");
    fs::write(&path, serde_json::to_vec_pretty(&campaign.report)?)
        .with_context(|| format!("failed to write {}", path.display()))?;
    println!("\n{}report: {}", campaign.report.text(), path.display());
    Ok(campaign.report.exit())
}

struct Campaign<'a> {
    args: &'a Args,
    seed: u64,
    begun: Instant,
    explanations: &'a Explanations,
    report: Report,
}

impl Campaign<'_> {
    fn programs(&mut self, root: &Path, place: &Path) -> Result<()> {
        let all = programs::all(root)?;
        let named = all.iter().map(|of| (of.file.as_str(), of.mutant.name.as_str()));
        self.report.stale.extend(self.explanations.stale_of_programs(named));
        let chosen: Vec<ProgramMutant> =
            all.iter().filter(|of| self.is_wanted(&of.file, &of.mutant.name)).cloned().collect();
        if self.args.list {
            for ProgramMutant { file, mutant, .. } in &chosen {
                println!("{file}:{}: {}: {}", mutant.line, mutant.rule, mutant.name);
            }
            return Ok(());
        }
        ensure!(!chosen.is_empty(), "no mutant of a program is asked for: --list shows all");
        let total = chosen.len();
        let sample = self.sample(chosen);
        let (guest, tool) = match GuestPrograms::given() {
            Some(guest) => (guest, build::host_tool()?),
            None => build::after_setup(Consent::Ask, Purpose::Work)?,
        };
        let wanted = match self.args.kernels.is_empty() {
            true => KERNELS.map(str::to_owned).to_vec(),
            false => self.args.kernels.clone(),
        };
        let known: Vec<Kernel> = serde_json::from_str(&tool.ask(&[
            "kernels".into(),
            "list".into(),
            "--json".into(),
        ])?)?;
        let of_id = |id: &String| {
            let kernel = known.iter().find(|kernel| kernel.id == *id).cloned();
            kernel.with_context(|| format!("there is no kernel {id:?}: a mutant wants an id"))
        };
        let kernels = wanted.iter().map(of_id).collect::<Result<Vec<_>>>()?;
        let listed = tool.ask(&["run".into(), "--list".into()])?;
        let mut programs = Programs::prepare(place, &guest, kernels, scenarios(&listed))?;
        let mut part = Part::new("BPF programs", total, sample.len());
        for of in &sample {
            if self.is_over() {
                break;
            }
            let started = Instant::now();
            let verdict = programs.judge(of)?;
            let ProgramMutant { file, mutant, .. } = of;
            let why = self.explanations.why(file, &mutant.name);
            let seconds = started.elapsed().as_secs_f32();
            eprintln!(
                "{:>6.1} s  {}  {file}:{}: {}",
                seconds,
                mark(&verdict),
                mutant.line,
                mutant.name
            );
            part.note(file, mutant.line, mutant.rule, &mutant.name, &verdict, why);
        }
        self.report.parts.push(part);
        Ok(())
    }

    fn crates(&mut self, root: &Path, place: &Path) -> Result<()> {
        setup::ensure(Consent::Ask, Purpose::Mutants)?;
        let tree = Tree::copy(root, place)?;
        let all = tree.mutants()?;
        let named = all.iter().map(|mutant| (mutant.file.as_str(), mutant.text.as_str()));
        self.report.stale.extend(self.explanations.stale_of_crates(named));
        let chosen: Vec<_> =
            all.into_iter().filter(|it| self.is_wanted(&it.file, &it.text)).collect();
        if self.args.list {
            chosen.iter().for_each(|mutant| println!("{}", mutant.name));
            return Ok(());
        }
        ensure!(!chosen.is_empty(), "no mutant of a crate is asked for: --list shows all");
        let total = chosen.len();
        let sample = self.sample(chosen);
        let mut part = Part::new("plan, decoder, normaliser, judge", total, sample.len());
        for (mutant, verdict) in tree.judge(&sample, self.left())? {
            let why = self.explanations.why(&mutant.file, &mutant.text);
            eprintln!("{}  {}", mark(&verdict), mutant.name);
            part.note(&mutant.file, mutant.line, &mutant.genre, &mutant.text, &verdict, why);
        }
        self.report.parts.push(part);
        Ok(())
    }

    fn is_wanted(&self, file: &str, text: &str) -> bool {
        let is_named =
            self.args.only.as_deref().is_none_or(|only| file.contains(only) || text.contains(only));
        is_named && !(self.args.unexplained && self.explanations.why(file, text).is_some())
    }

    /// As many as are asked for, in an order of chance, so that a run that ends early is a sample too.
    fn sample<T>(&self, mut all: Vec<T>) -> Vec<T> {
        Rng::with_seed(self.seed).shuffle(&mut all);
        all.truncate(self.args.sample.map_or(usize::MAX, NonZeroUsize::get));
        match self.args.partition {
            Some(partition) => partition.of(all),
            None => all,
        }
    }

    fn is_over(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// How much time is left, if there is a limit.
    fn left(&self) -> Option<Duration> {
        let limit = Duration::from_secs(60 * self.args.minutes?.get());
        Some(limit.saturating_sub(self.begun.elapsed()))
    }
}

/// The ids in the list of scenarios.
fn scenarios(list: &str) -> Vec<String> {
    let ids = list.lines().filter_map(|line| line.split_whitespace().next());
    ids.filter(|id| id.contains('/')).map(str::to_owned).collect()
}

/// The outcome of a mutant, in a column.
fn mark(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Killed(by) => format!("killed by {by}"),
        Verdict::Survived => "SURVIVED".to_owned(),
        Verdict::SameObject => "same object".to_owned(),
        Verdict::DoesNotBuild(_) => "does not build".to_owned(),
        Verdict::NotJudged(why) => format!("not judged ({why})"),
    }
}

/// The path of the file with explanations, for messages.
fn explanations_file() -> PathBuf {
    PathBuf::from(FILE)
}
