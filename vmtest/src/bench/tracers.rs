//! Measures what the tracers cost a program that only writes.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use kernlab_core::{cell::BackendKind, cost::Cost};
use kernlab_proto::suite::ARCHIVES;

use super::{Named, Report, Summary};
use crate::{
    checkpoints::Checkpoints,
    lab::{Bootable, Exit, Guest, Job, LabError, Ready},
    qemu::InjectedFile,
};
use kernlab_kernels::{Silent, Store};

/// What to measure, and how often.
#[derive(Clone, Debug)]
pub struct TracersBench {
    /// A guest with the tracer program.
    pub bootable: Bootable,
    /// The kernel's id, for the report.
    pub kernel: String,
    /// The store with the checkpoint.
    pub store: Store,
    /// How often to measure everything.
    pub rounds: NonZeroUsize,
    /// The archive with bpftrace and its libraries, if it is installed: the same events through its
    /// perf buffer.
    pub bpftrace: Option<PathBuf>,
}

/// Why the measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum TracersError {
    /// The guest failed. It is boxed because it carries its evidence.
    #[error(transparent)]
    Guest(Box<LabError>),
    /// The tracer program failed.
    #[error("{which} {what}; stderr: {said}")]
    Tracer {
        /// Which measurement.
        which: &'static str,
        /// How it failed.
        what: String,
        /// Its standard error.
        said: String,
    },
}

impl From<LabError> for TracersError {
    fn from(error: LabError) -> Self {
        TracersError::Guest(Box::new(error))
    }
}

/// The number of write(2) calls in a measurement.
const CALLS: u64 = 10_000;

/// The timeout of a measurement with acceleration.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The tracer with each backend and each buffer, with the scenario that uses the buffer.
const TRACED: [(&str, BackendKind, &str); 4] = [
    ("libbpf, ring", BackendKind::Libbpf, "sys_write/burst_ring"),
    ("aya, ring", BackendKind::Aya, "sys_write/burst_ring"),
    ("libbpf, perf", BackendKind::Libbpf, "sys_write/burst_perf"),
    ("aya, perf", BackendKind::Aya, "sys_write/burst_perf"),
];

/// The memory in MiB of a guest that has room for bpftrace and its compiler.
const MEMORY_MIB: u32 = 1024;

/// What traces the program.
#[derive(Clone, Copy)]
enum By {
    Nobody,
    Us(BackendKind, &'static str),
    Bpftrace,
}

/// Measures the writer alone and under each tracer, in turn, in one guest per round. `observe` is
/// called before each round with its number, counted from 1.
pub fn tracers(
    bench: &TracersBench,
    mut observe: impl FnMut(usize),
) -> Result<Report, TracersError> {
    let checkpoints = Checkpoints::of(&bench.store);
    let mut bootable = bench.bootable.clone();
    let mut tracers: Vec<(&str, By)> =
        TRACED.map(|(name, backend, scenario)| (name, By::Us(backend, scenario))).into();
    let mut beside = "bpftrace (not installed)".to_owned();
    if let Some(bpftrace) = &bench.bpftrace {
        bootable.machine.memory_mib = MEMORY_MIB;
        bootable.machine.injected.push(InjectedFile {
            guest: format!("{ARCHIVES}1-bpftrace.tar"),
            host: bpftrace.clone(),
        });
        tracers.push(("bpftrace, perf", By::Bpftrace));
        beside = "bpftrace".to_owned();
    }
    let mut untraced = Vec::new();
    let mut traced: Vec<Vec<Cost>> = tracers.iter().map(|_| Vec::new()).collect();
    for number in 1..=bench.rounds.get() {
        observe(number);
        let mut guest = checkpoints.guest(&bootable, &Silent)?;
        // The first program in a guest pays for translating the others too.
        measure(&mut guest, "warming up", By::Nobody)?;
        untraced.push(measure(&mut guest, "untraced", By::Nobody)?);
        for ((name, by), costs) in tracers.iter().zip(&mut traced) {
            match (measure(&mut guest, name, *by), by) {
                (Ok(cost), _) => costs.push(cost),
                // It is no failure of the lab if bpftrace does not support this kernel.
                (Err(TracersError::Tracer { what, said, .. }), By::Bpftrace) => {
                    beside = format!("bpftrace ({what}: {said})");
                }
                (Err(error), _) => return Err(error),
            }
        }
    }
    let of = |costs: &[Cost]| {
        let times: Vec<_> = costs.iter().map(|c| Duration::from_nanos(c.elapsed_ns)).collect();
        Summary::of(&times).unwrap_or_else(|| unreachable!("there is at least one round"))
    };
    let base = of(&untraced);
    let mut measurements = vec![("untraced", base)];
    let mut ratios = Vec::new();
    let measured = tracers.iter().zip(&traced).filter(|(_, costs)| !costs.is_empty());
    for ((name, _), costs) in measured {
        let summary = of(costs);
        measurements.push((name, summary));
        ratios.push((format!("{name} / untraced"), summary.median_ms / base.median_ms));
        let sum = |part: fn(&Cost) -> u64| costs.iter().map(part).sum::<u64>() as f64;
        let (captured, lost) = (sum(|c| c.captured), sum(|c| c.lost));
        let arrived = captured / (captured + lost);
        ratios.push((
            format!("{name}: events/s"),
            arrived * sum(|c| c.calls) / sum(|c| c.elapsed_ns) * 1e9,
        ));
        ratios.push((format!("{name}: lost, %"), 100.0 * (1.0 - arrived)));
    }
    Ok(Report {
        schema: 1,
        benchmark: "tracers",
        conditions: Named::of([
            ("kernel", bench.kernel.clone()),
            ("accelerator", bench.bootable.accelerator().name().to_owned()),
            ("calls of write(2)", CALLS.to_string()),
            ("beside", beside),
        ]),
        measurements: Named::of(measurements),
        ratios: Named::of(ratios),
    })
}

fn measure(guest: &mut Guest<Ready>, which: &'static str, by: By) -> Result<Cost, TracersError> {
    let mut args = vec!["/bin/kernlab-tracer".to_owned(), "cost".to_owned()];
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    option("--calls", CALLS.to_string());
    let scenario = if let By::Us(_, scenario) = by { scenario } else { TRACED[0].2 };
    option("--scenario", scenario.to_owned());
    let job = match by {
        By::Nobody => Job::new(args),
        By::Us(backend, _) => {
            option("--backend", backend.to_string());
            Job::new(args)
        }
        By::Bpftrace => {
            option("--bpftrace", "/bin/bpftrace".to_owned());
            Job::new(args)
        }
    };
    let output = guest.run(&job.timeout(TIMEOUT))?;
    let failed = |what: String| {
        let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        TracersError::Tracer { which, what, said }
    };
    if output.exit != Exit::Code(0) {
        return Err(failed(format!("ended with {:?}", output.exit)));
    }
    serde_json::from_slice(&output.result)
        .map_err(|error| failed(format!("gave an invalid answer: {error}")))
}
