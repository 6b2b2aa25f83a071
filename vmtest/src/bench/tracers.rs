//! What the tracers cost a program that only writes.

use std::{num::NonZeroUsize, time::Duration};

use kernlab_core::{cell::BackendKind, cost::Cost};

use super::{Named, Report, Summary};
use crate::{
    kernels::Store,
    lab::{Bootable, Exit, Guest, Job, LabError, Ready},
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

/// Measures the writer alone and under each tracer, in turn, in one guest a round. `observe` is called
/// before each round with its number, counted from 1.
pub fn tracers(
    bench: &TracersBench,
    mut observe: impl FnMut(usize),
) -> Result<Report, TracersError> {
    let warm = Warm::of(&bench.store);
    let mut untraced = Vec::new();
    let mut traced = TRACED.map(|_| Vec::new());
    for number in 1..=bench.rounds.get() {
        observe(number);
        let mut guest = warm.guest(&bench.bootable, &mut |_| {})?;
        // The first program of a guest pays for the translation of all others.
        measure(&mut guest, "warming up", None, TRACED[0].2)?;
        untraced.push(measure(&mut guest, "untraced", None, TRACED[0].2)?);
        for ((name, backend, scenario), costs) in TRACED.iter().zip(&mut traced) {
            costs.push(measure(&mut guest, name, Some(*backend), scenario)?);
        }
    }
    let of = |costs: &[Cost]| {
        let times: Vec<_> = costs.iter().map(|c| Duration::from_nanos(c.elapsed_ns)).collect();
        Summary::of(&times).unwrap_or_else(|| unreachable!("there is at least one round"))
    };
    let base = of(&untraced);
    let mut measurements = vec![("untraced", base)];
    let mut ratios = Vec::new();
    for ((name, ..), costs) in TRACED.iter().zip(&traced) {
        let summary = of(costs);
        measurements.push((name, summary));
        ratios.push((format!("{name} / untraced"), summary.median_ms / base.median_ms));
        let sum = |part: fn(&Cost) -> u64| costs.iter().map(part).sum::<u64>() as f64;
        let (captured, lost) = (sum(|c| c.captured), sum(|c| c.lost));
        ratios.push((format!("{name}: events/s"), captured / sum(|c| c.elapsed_ns) * 1e9));
        ratios.push((format!("{name}: lost, %"), 100.0 * lost / (captured + lost)));
    }
    Ok(Report {
        schema: 1,
        benchmark: "tracers",
        conditions: Named::of([
            ("kernel", bench.kernel.clone()),
            ("accelerator", bench.bootable.accelerator().name().to_owned()),
            ("calls of write(2)", CALLS.to_string()),
        ]),
        measurements: Named::of(measurements),
        ratios: Named::of(ratios),
    })
}

fn measure(
    guest: &mut Guest<Ready>,
    which: &'static str,
    backend: Option<BackendKind>,
    scenario: &str,
) -> Result<Cost, TracersError> {
    let calls = CALLS.to_string();
    let mut words = vec!["/bin/kernlab-tracer".to_owned(), "cost".to_owned()];
    words.extend(["--scenario".to_owned(), scenario.to_owned(), "--calls".to_owned(), calls]);
    words.extend(backend.into_iter().flat_map(|b| ["--backend".to_owned(), b.to_string()]));
    let output = guest.run(&Job::new(words).timeout(TIMEOUT))?;
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
