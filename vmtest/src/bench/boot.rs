//! Boots, against the least that a boot can be.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use super::{Named, Report, Summary};
use crate::lab::{BOOT_TIMEOUT, Bootable, Guest, Job, LabError};

/// What to measure with.
#[derive(Clone, Debug)]
pub struct BootBench {
    /// The guest; its PID 1 must be our agent.
    pub bootable: Bootable,
    /// The kernel's id, for the report.
    pub kernel: String,
    /// How often everything is measured.
    pub rounds: NonZeroUsize,
}

/// One round, in the order of its stages.
struct Round {
    /// From nothing to QEMU's end, with an init that switches the machine off at once.
    floor: Duration,
    /// From nothing to a guest that waits for requests.
    ready: Duration,
    /// A program that does nothing, from the request to its result.
    job: Duration,
    /// All of a cell: boot, job, end.
    cell: Duration,
}

/// Measures floor, boot, job and cell in turn, so that a change of the machine's load meets them
/// all. `observe` is called before each round with its number, counted from 1.
pub fn boot(bench: &BootBench, mut observe: impl FnMut(usize)) -> Result<Report, LabError> {
    let mut rounds = Vec::new();
    for number in 1..=bench.rounds.get() {
        observe(number);
        rounds.push(round(&bench.bootable)?);
    }
    let accelerator = bench.bootable.accelerator();
    let conditions = Named(vec![
        ("kernel", bench.kernel.clone()),
        ("accelerator", accelerator.name().to_owned()),
    ]);
    let of = |stage: fn(&Round) -> Duration| {
        Summary::of(&rounds.iter().map(stage).collect::<Vec<_>>())
            .unwrap_or_else(|| unreachable!("there is at least one round"))
    };
    let floor = of(|round| round.floor);
    let ready = of(|round| round.ready);
    let cell = of(|round| round.cell);
    let job = of(|round| round.job);
    Ok(Report {
        schema: 1,
        benchmark: "boot",
        conditions,
        measurements: Named(vec![("floor", floor), ("ready", ready), ("job", job), ("cell", cell)]),
        ratios: Named(vec![
            ("ready / floor", ready.median_ms / floor.median_ms),
            ("cell / floor", cell.median_ms / floor.median_ms),
        ]),
    })
}

fn round(bootable: &Bootable) -> Result<Round, LabError> {
    let mut bare = bootable.clone();
    bare.machine.kernel_words.extend(["--".to_owned(), "floor".to_owned()]);
    let floor = Guest::start(&bare)?.ended(BOOT_TIMEOUT)?;

    let started = Instant::now();
    let mut guest = Guest::boot(bootable, BOOT_TIMEOUT)?;
    let ready = guest.timings().ready;
    // The agent itself: as anything but PID 1 it ends at once.
    let job = guest.run(&Job::new(["/init"]))?.duration;
    drop(guest);
    Ok(Round { floor, ready, job, cell: started.elapsed() })
}
