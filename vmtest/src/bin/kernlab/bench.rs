//! `kernlab bench`: measures what the lab's own steps cost on this machine.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use kernlab_cli::{Exit, Scope, Selected, TestOptions};
use kernlab_kernels::{Entry, Kernels, chain};
use kernlab_vmtest::{
    bench::{
        self, BaselineBench, BootBench, Comparison, Kept, MatrixBench, MatrixError, Report,
        SoakBench, SuitesBench, SuitesError, TracersBench,
    },
    machine,
    suite::{
        data::DataRule,
        payload::{Payload, in_path},
        platform::Platform,
    },
};

use crate::{
    failure::Failure,
    kernels::Progress,
    selection,
    tested::{Listers, Tested},
};

/// What to measure.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  kernlab bench boot --kernel debian-6.1")]
pub(crate) enum Command {
    /// Measure cold boots to a ready guest, against the same kernel with an init that powers off at
    /// once; of several kernels in turn, compared with the first.
    #[command(after_help = "Example:\n  kernlab bench boot --kernel 6.1 --kernel 6.12 --arch all")]
    Boot(Guests),
    /// Restore one guest after the other. Fails if a restore fails or if a guest leaves anything
    /// behind.
    #[command(after_help = "Example:\n  kernlab bench soak --rounds 1000")]
    Soak(Subject),
    /// Run a command in a restored and in a booted guest, beside virtme-ng and danobi's vmtest
    /// where they are installed. Both share the host's files with their guests and need 9p in the
    /// kernel.
    #[command(after_help = "Example:\n  kernlab bench baselines")]
    Baselines(Subject),
    /// Measure what each backend's tracer costs a program that only writes, through each buffer.
    #[command(after_help = "Example:\n  kernlab bench tracers --rounds 20")]
    Tracers(Subject),
    /// Run the matrix as `vmtest` does: all of it, each backend's part, and all of it again without
    /// the saved guests.
    #[command(after_help = "Example:\n  kernlab bench matrix --kernel 6.1")]
    Matrix(Several),
    /// Run the suites of `kernlab.toml` beside a cell of the lab's own tracers, one guest at a time.
    #[command(after_help = "Example:\n  kernlab bench suites --config opens/kernlab.toml")]
    Suites {
        #[command(flatten)]
        subject: Subject,
        /// The description of the suites, instead of the nearest kernlab.toml at or above this
        /// directory.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Run only suites whose name matches.
        #[arg(long, value_name = "GLOB")]
        suite: Option<String>,
    },
    /// Compare a result that `--json` wrote with an older one of the same benchmark.
    #[command(after_help = "Example:\n  kernlab bench compare old.json new.json")]
    Compare {
        /// The older result.
        old: PathBuf,
        /// The newer result.
        new: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// The kernel: an id, or another selector that names exactly one.
    #[arg(long, value_name = "SEL", default_value = "debian-6.1")]
    kernel: String,
    #[command(flatten)]
    measuring: Measuring,
}

#[derive(Debug, Args)]
pub(crate) struct Guests {
    /// A kernel: an id, or another selector. Repeatable.
    #[arg(long = "kernel", value_name = "SEL", default_value = "6.1")]
    kernels: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    measuring: Measuring,
}

#[derive(Debug, Args)]
pub(crate) struct Measuring {
    /// Measure N times.
    #[arg(long, value_name = "N", default_value = "10")]
    rounds: NonZeroUsize,
    /// Write the medians with their spread to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    guest: selection::GuestPrograms,
}

#[derive(Debug, Args)]
pub(crate) struct Several {
    #[command(flatten)]
    selected: Selected,
    /// Run everything N times.
    #[arg(long, value_name = "N", default_value = "3")]
    rounds: NonZeroUsize,
    /// Write the medians with their spread to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    guest: selection::GuestPrograms,
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Boot(guests) => boot(guests),
        Command::Soak(subject) => measure(Benchmark::Soak, subject),
        Command::Baselines(subject) => measure(Benchmark::Baselines, subject),
        Command::Tracers(subject) => measure(Benchmark::Tracers, subject),
        Command::Matrix(several) => matrix(several),
        Command::Suites { subject, config, suite } => suites(subject, config.as_deref(), suite),
        Command::Compare { old, new } => compare(old, new),
    }?;
    Ok(Exit::Success)
}

#[derive(Clone, Copy)]
enum Benchmark {
    Soak,
    Baselines,
    Tracers,
}

fn compare(old: &Path, new: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::usage(chain(&error));
    let old = Kept::read(old).map_err(failed)?;
    let new = Kept::read(new).map_err(failed)?;
    print!("{}", Comparison::of(&old, &new).map_err(failed)?);
    Ok(())
}

fn matrix(arguments: &Several) -> Result<(), Failure> {
    let kernels = selection::open(&arguments.selected.scope)?;
    let bench = MatrixBench {
        guest: arguments.guest.dir(&kernels)?,
        kernels,
        selected: arguments.selected.clone(),
        rounds: arguments.rounds,
    };
    let observe = |number: usize| say!("round {number} of {}", bench.rounds);
    let report = bench::matrix(&bench, observe).map_err(|error| match error {
        MatrixError::Select(error) => error.into(),
        MatrixError::Run(error) => error.into(),
        other => Failure::infrastructure(&other),
    })?;
    publish(&report, arguments.json.as_deref())
}

fn suites(subject: &Subject, config: Option<&Path>, suite: &Option<String>) -> Result<(), Failure> {
    let mut tested = Tested::project(config)?;
    let kernels = Kernels::open()?;
    let selected = Selected { kernels: vec![subject.kernel.clone()], ..Selected::default() };
    let options = &TestOptions { selected, ..TestOptions::default() };
    tested.build(
        Some(&DataRule::default()),
        Listers { kernels: &kernels, guest: &subject.measuring.guest, options },
    )?;
    let bench = SuitesBench {
        guest: subject.measuring.guest.dir(&kernels)?,
        kernels,
        kernel: subject.kernel.clone(),
        suites: tested.suites(),
        suite: suite.clone(),
        rounds: subject.measuring.rounds,
    };
    let observe = |number: usize| say!("round {number} of {}", bench.rounds);
    let report = bench::suites(&bench, observe).map_err(|error| match error {
        SuitesError::Suites(error) => error.into(),
        SuitesError::Run(error) => error.into(),
        SuitesError::Verdicts { .. } => Failure::infrastructure(&error),
    })?;
    publish(&report, subject.measuring.json.as_deref())
}

fn boot(arguments: &Guests) -> Result<(), Failure> {
    let kernels = selection::open(&arguments.scope)?;
    let guest = arguments.measuring.guest.dir(&kernels)?;
    // In the order in which they are named.
    let mut entries: Vec<Entry> = Vec::new();
    for selector in &arguments.kernels {
        let more = selection::entries(&kernels, &arguments.scope, std::slice::from_ref(selector))?;
        entries
            .extend(more.into_iter().filter(|entry| !entries.contains(entry)).collect::<Vec<_>>());
    }
    let progress = Progress::new();
    let mut guests = Vec::new();
    for entry in &entries {
        let kernel = kernels.prepare(entry, &progress)?;
        let bootable = machine::of_kernel(kernels.store(), &kernel, &guest, &[], &progress);
        guests.push(bootable.map_err(|error| Failure::infrastructure(&error))?);
    }
    let bench = BootBench { guests, rounds: arguments.measuring.rounds };
    let observe = |number: usize| say!("round {number} of {}", bench.rounds);
    let report = bench::boot(&bench, observe).map_err(|error| Failure::infrastructure(&error))?;
    publish(&report, arguments.measuring.json.as_deref())
}

fn measure(benchmark: Benchmark, arguments: &Subject) -> Result<(), Failure> {
    let kernels = Kernels::open()?;
    let guest = arguments.measuring.guest.dir(&kernels)?;
    let entry = selection::only(&kernels, &Scope::default(), &arguments.kernel)?;
    let progress = Progress::new();
    let kernel = kernels.prepare(&entry, &progress)?;
    let programs: &[&str] = match benchmark {
        Benchmark::Tracers => &["kernlab-tracer"],
        Benchmark::Soak | Benchmark::Baselines => &[],
    };
    let bootable = machine::of_kernel(kernels.store(), &kernel, &guest, programs, &progress)
        .map_err(|error| Failure::infrastructure(&error))?;
    let image = kernel.image.bzimage.clone();
    let (kernel, rounds) = (kernel.id.clone(), arguments.measuring.rounds);
    // A line per round, or per hundred rounds if there are many.
    let step = if rounds.get() > 100 { 100 } else { 1 };
    let observe = |number: usize| {
        if number.is_multiple_of(step) {
            say!("round {number} of {rounds}");
        }
    };
    let report = match benchmark {
        Benchmark::Baselines => {
            let store = kernels.store().clone();
            let image = image.ok_or_else(|| {
                Failure::usage(format!("{kernel} has no bzImage, which the other harnesses need"))
            })?;
            bench::baselines(&BaselineBench { bootable, kernel, image, store, rounds }, observe)
                .map_err(|error| Failure::infrastructure(&error))?
        }
        Benchmark::Tracers => {
            let store = kernels.store().clone();
            let bpftrace = in_path("bpftrace").and_then(|path| {
                let packed = Payload::new(&Platform::default())
                    .and_then(|mut files| files.executable(&path).map(|_| files))
                    .map_err(Box::<dyn std::error::Error>::from)
                    .and_then(|files| Ok(files.archive(&store)?));
                packed
                    .inspect_err(|error| {
                        say!("note: measuring without bpftrace: {}", chain(error.as_ref()));
                    })
                    .ok()
            });
            bench::tracers(&TracersBench { bootable, kernel, store, rounds, bpftrace }, observe)
                .map_err(|error| Failure::infrastructure(&error))?
        }
        Benchmark::Soak => {
            let store = kernels.store().clone();
            bench::soak(&SoakBench { bootable, kernel, store, rounds }, observe)
                .map_err(|error| Failure::infrastructure(&error))?
        }
    };
    publish(&report, arguments.measuring.json.as_deref())
}

fn publish(report: &Report, json: Option<&Path>) -> Result<(), Failure> {
    print!("{report}");
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| Failure::infrastructure(&error))?;
        fs::write(file, text + "\n").map_err(|error| {
            Failure::from(error).of(&format!("could not write {}: ", file.display()))
        })?;
    }
    Ok(())
}
