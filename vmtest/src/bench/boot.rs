//! Compares boots with the shortest possible boot, and with restored guests.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use super::{Named, Report, Summary};
use crate::lab::{BOOT_TIMEOUT, Bootable, Checkpoint, Guest, Job, LabError, Ready};

/// What to measure, and how often.
#[derive(Clone, Debug)]
pub struct BootBench {
    /// The guests of one or more kernels; their PID 1 must be the lab's agent.
    pub guests: Vec<Bootable>,
    /// How often to measure everything.
    pub rounds: NonZeroUsize,
}

/// The times of one round, in the order of its stages.
struct Round {
    /// From nothing to QEMU's end, with an init that powers off at once.
    floor: Duration,
    /// From nothing to a guest that waits for requests.
    ready: Duration,
    /// A program that does nothing, from the request to its result.
    job: Duration,
    /// A complete cell: boot, job, end.
    cell: Duration,
    /// From nothing to a restored guest that waits for requests.
    restored: Duration,
    /// A complete cell with a restored guest.
    restored_cell: Duration,
}

/// Measures floor, boot, job, cell and restored cell of every kernel in turn, so that changes of the
/// machine's load affect all of them. `observe` is called before each round with its number, counted
/// from 1. Several kernels are compared with the first.
pub fn boot(bench: &BootBench, mut observe: impl FnMut(usize)) -> Result<Report, LabError> {
    let saved = bench.guests.iter().map(|guest| Checkpoint::of_boot(guest, BOOT_TIMEOUT));
    let saved = saved.collect::<Result<Vec<_>, _>>()?;
    let mut rounds: Vec<Vec<Round>> = bench.guests.iter().map(|_| Vec::new()).collect();
    for number in 1..=bench.rounds.get() {
        observe(number);
        for ((guest, saved), rounds) in bench.guests.iter().zip(&saved).zip(&mut rounds) {
            rounds.push(round(guest, saved)?);
        }
    }
    let kernels: Vec<&str> = bench.guests.iter().map(|guest| guest.name.as_str()).collect();
    let accelerators: BTreeSet<&str> =
        bench.guests.iter().map(|guest| guest.accelerator().name()).collect();
    let all: Vec<Summaries> = rounds.iter().map(|rounds| Summaries::of(rounds)).collect();
    let mut measurements = Vec::new();
    let mut ratios = Vec::new();
    for (kernel, stages) in kernels.iter().zip(&all) {
        let named = |name: &str| match kernels.len() {
            1 => name.to_owned(),
            _ => format!("{kernel}: {name}"),
        };
        measurements.extend(stages.0.map(|(stage, summary)| (named(stage), summary)));
        let [floor, ready, _, cell, restored, _] = stages.0.map(|(_, summary)| summary.median_ms);
        ratios.push((named("ready / floor"), ready / floor));
        ratios.push((named("cell / floor"), cell / floor));
        ratios.push((named("ready / restored"), ready / restored));
    }
    for (kernel, stages) in kernels.iter().zip(&all).skip(1) {
        for ((stage, own), (_, first)) in stages.0.iter().zip(&all[0].0) {
            let ratio = own.median_ms / first.median_ms;
            ratios.push((format!("{stage}: {kernel} / {}", kernels[0]), ratio));
        }
    }
    Ok(Report {
        schema: 1,
        benchmark: "boot",
        conditions: Named::of([
            ("kernel", kernels.join(" ")),
            ("accelerator", Vec::from_iter(accelerators).join(" ")),
        ]),
        measurements: Named(measurements),
        ratios: Named(ratios),
    })
}

/// The stages of a kernel, in their order.
struct Summaries([(&'static str, Summary); 6]);

impl Summaries {
    fn of(rounds: &[Round]) -> Self {
        let of = |stage: fn(&Round) -> Duration| {
            Summary::of(&rounds.iter().map(stage).collect::<Vec<_>>())
                .unwrap_or_else(|| unreachable!("there is at least one round"))
        };
        Summaries([
            ("floor", of(|round| round.floor)),
            ("ready", of(|round| round.ready)),
            ("job", of(|round| round.job)),
            ("cell", of(|round| round.cell)),
            ("restored", of(|round| round.restored)),
            ("restored cell", of(|round| round.restored_cell)),
        ])
    }
}

fn round(bootable: &Bootable, saved: &Checkpoint) -> Result<Round, LabError> {
    let mut bare = bootable.clone();
    bare.machine.kernel_words.extend(["--".to_owned(), "floor".to_owned()]);
    let floor = Guest::start(&bare)?.ended(BOOT_TIMEOUT)?;

    let (ready, job, cell) = use_guest(|| Guest::boot(bootable, BOOT_TIMEOUT))?;
    let (restored, _, restored_cell) = use_guest(|| Guest::restore(bootable, saved))?;
    Ok(Round { floor, ready, job, cell, restored, restored_cell })
}

/// The time until the guest was ready, the time of a job, and the total.
fn use_guest(
    guest: impl FnOnce() -> Result<Guest<Ready>, LabError>,
) -> Result<(Duration, Duration, Duration), LabError> {
    let started = Instant::now();
    let mut guest = guest()?;
    let ready = guest.timings().ready;
    // The job is the agent itself, which exits at once unless it is PID 1.
    let job = guest.run(&Job::new(["/init"]))?.duration;
    drop(guest);
    Ok((ready, job, started.elapsed()))
}
