//! What the tracers cost a program that only writes.

use std::{io, num::NonZeroUsize, path::Path, time::Duration};

use kernlab_core::{cell::BackendKind, cost::Cost};

use super::{Named, Report, Summary, bpftrace::Bpftrace};
use crate::{
    image::ImageError,
    kernels::Store,
    lab::{BOOT_TIMEOUT, Bootable, Exit, Guest, Job, LabError, Ready},
    warm::Warm,
};

/// What to measure with.
#[derive(Clone, Debug)]
pub struct TracersBench {
    /// A guest with the tracer program.
    pub bootable: Bootable,
    /// The kernel's id, for the report.
    pub kernel: String,
    /// Where the saved state is.
    pub store: Store,
    /// How often everything is measured.
    pub rounds: NonZeroUsize,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum TracersError {
    /// The guest failed. It is boxed because it carries its evidence.
    #[error(transparent)]
    Guest(Box<LabError>),
    /// The tracer program failed.
    #[error("{which} {what}; it said: {said}")]
    Tracer {
        /// Which measurement.
        which: &'static str,
        /// How it ended.
        what: String,
        /// Its standard error.
        said: String,
    },
    /// A guest with bpftrace can't be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The host failed.
    #[error("failed to find out about bpftrace")]
    Host(#[from] io::Error),
}

impl From<LabError> for TracersError {
    fn from(error: LabError) -> Self {
        TracersError::Guest(Box::new(error))
    }
}

/// Calls of write(2) in a measurement.
const CALLS: u64 = 10_000;

/// How long a measurement may take with acceleration.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The tracer with each backend and each buffer, by the scenario that has the buffer.
const TRACED: [(&str, BackendKind, &str); 4] = [
    ("libbpf, ring", BackendKind::Libbpf, "sys_write/burst_ring"),
    ("aya, ring", BackendKind::Aya, "sys_write/burst_ring"),
    ("libbpf, perf", BackendKind::Libbpf, "sys_write/burst_perf"),
    ("aya, perf", BackendKind::Aya, "sys_write/burst_perf"),
];

/// bpftrace compiles its script first, in a guest that has never run any of its code.
const BPFTRACE_TIMEOUT: Duration = Duration::from_secs(90);

/// Measures the writer alone and under each tracer, in turn, in one guest a round; where the host has
/// bpftrace, again alone and under that, in a guest that has more memory and is else the same. `observe`
/// is called before each round with its number, counted from 1.
pub fn tracers(
    bench: &TracersBench,
    mut observe: impl FnMut(usize),
) -> Result<Report, TracersError> {
    let warm = Warm::of(&bench.store);
    let mut untraced = Vec::new();
    let mut traced = TRACED.map(|_| Vec::new());
    let scratch = tempfile::tempdir()?;
    let mut other = Other::new(&bench.bootable, scratch.path())?;
    for number in 1..=bench.rounds.get() {
        observe(number);
        let mut guest = warm.guest(&bench.bootable, &mut |_| {})?;
        // The first program of a guest pays for the translation of all others.
        measure(&mut guest, "warming up", None, TRACED[0].2)?;
        untraced.push(measure(&mut guest, "untraced", None, TRACED[0].2)?);
        for ((name, backend, scenario), costs) in TRACED.iter().zip(&mut traced) {
            costs.push(measure(&mut guest, name, Some(*backend), scenario)?);
        }
        drop(guest);
        other.measure()?;
    }
    let base = summary(&untraced);
    let mut measurements = vec![("untraced", base)];
    let mut ratios = Vec::new();
    let mut add = |name: &'static str, base: (&str, Summary), costs: &[Cost]| {
        let summary = summary(costs);
        measurements.push((name, summary));
        ratios.push((format!("{name} / {}", base.0), summary.median_ms / base.1.median_ms));
        let sum = |part: fn(&Cost) -> u64| costs.iter().map(part).sum::<u64>() as f64;
        let (captured, lost) = (sum(|c| c.captured), sum(|c| c.lost));
        ratios.push((format!("{name}: events/s"), captured / sum(|c| c.elapsed_ns) * 1e9));
        ratios.push((format!("{name}: lost, %"), 100.0 * lost / (captured + lost)));
    };
    for ((name, ..), costs) in TRACED.iter().zip(&traced) {
        add(name, ("untraced", base), costs);
    }
    if !other.traced.is_empty() {
        add(BPFTRACE, ("untraced", summary(&other.untraced)), &other.traced);
    }
    Ok(Report {
        schema: 1,
        benchmark: "tracers",
        conditions: Named::of([
            ("kernel", bench.kernel.clone()),
            ("accelerator", bench.bootable.accelerator().name().to_owned()),
            ("calls of write(2)", CALLS.to_string()),
            ("beside", other.told),
        ]),
        measurements: Named::of(measurements),
        ratios: Named::of(ratios),
    })
}

fn summary(costs: &[Cost]) -> Summary {
    let times: Vec<_> = costs.iter().map(|cost| Duration::from_nanos(cost.elapsed_ns)).collect();
    Summary::of(&times).unwrap_or_else(|| unreachable!("there is at least one round"))
}

/// How it is called in the report.
const BPFTRACE: &str = "bpftrace";

/// bpftrace, as far as there is one.
struct Other {
    /// The guest's machine and the program; none where there is nothing to measure, or no longer.
    subject: Option<(Bootable, String)>,
    /// Which it is, or why there is none.
    told: String,
    untraced: Vec<Cost>,
    traced: Vec<Cost>,
}

impl Other {
    fn new(plain: &Bootable, scratch: &Path) -> Result<Self, TracersError> {
        let (subject, told) = match Bpftrace::find()? {
            None => (None, format!("{BPFTRACE} (not installed)")),
            Some(found) => {
                let program = found.program.display().to_string();
                (Some((found.machine(plain, scratch)?, program)), found.version)
            }
        };
        Ok(Other { subject, told, untraced: Vec::new(), traced: Vec::new() })
    }

    /// One round. What bpftrace can't do on this kernel is no failure of ours: it is told.
    fn measure(&mut self) -> Result<(), TracersError> {
        let Some((bootable, program)) = &self.subject else { return Ok(()) };
        let mut guest = Guest::boot(bootable, BOOT_TIMEOUT)?;
        measure(&mut guest, "warming up", None, TRACED[0].2)?;
        let untraced = measure(&mut guest, "untraced", None, TRACED[0].2)?;
        let job = cost(&["--scenario", TRACED[0].2, "--bpftrace", program]);
        match run(&mut guest, BPFTRACE, &job.timeout(BPFTRACE_TIMEOUT)) {
            Ok(traced) => {
                self.untraced.push(untraced);
                self.traced.push(traced);
            }
            Err(TracersError::Tracer { what, said, .. }) => {
                self.told += &format!(" ({what}: {said})");
                self.subject = None;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn measure(
    guest: &mut Guest<Ready>,
    which: &'static str,
    backend: Option<BackendKind>,
    scenario: &str,
) -> Result<Cost, TracersError> {
    let backend = backend.map(|backend| backend.to_string());
    let mut words = vec!["--scenario", scenario];
    words.extend(backend.iter().flat_map(|backend| ["--backend", backend]));
    run(guest, which, &cost(&words))
}

/// A measurement, as the tracer program takes it.
fn cost(words: &[&str]) -> Job {
    let calls = CALLS.to_string();
    let command = ["/bin/kernlab-tracer", "cost", "--calls", &calls];
    Job::new(command.iter().chain(words).copied()).timeout(TIMEOUT)
}

fn run(guest: &mut Guest<Ready>, which: &'static str, job: &Job) -> Result<Cost, TracersError> {
    let output = guest.run(job)?;
    let failed = |what: String| {
        let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        TracersError::Tracer { which, what, said }
    };
    if output.exit != Exit::Code(0) {
        return Err(failed(format!("ended with {:?}", output.exit)));
    }
    serde_json::from_slice(&output.result)
        .map_err(|error| failed(format!("gave an answer that can't be read: {error}")))
}
