//! Compares boots with the shortest possible boot, and with restored guests.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use super::{Named, Report, Summary};
use crate::lab::{BOOT_TIMEOUT, Bootable, Checkpoint, Guest, Job, LabError, Ready};

/// What to measure, and how often.
#[derive(Clone, Debug)]
pub struct BootBench {
    /// The guest; its PID 1 must be the lab's agent.
    pub bootable: Bootable,
    /// The kernel's id, for the report.
    pub kernel: String,
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

/// Measures floor, boot, job, cell and restored cell in turn, so that changes of the machine's load
/// affect all of them. `observe` is called before each round with its number, counted from 1.
pub fn boot(bench: &BootBench, mut observe: impl FnMut(usize)) -> Result<Report, LabError> {
    let saved = Checkpoint::of_boot(&bench.bootable, BOOT_TIMEOUT)?;
    let mut rounds = Vec::new();
    for number in 1..=bench.rounds.get() {
        observe(number);
        rounds.push(round(&bench.bootable, &saved)?);
    }
    let accelerator = bench.bootable.accelerator();
    let conditions = Named::of([
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
    let restored = of(|round| round.restored);
    let restored_cell = of(|round| round.restored_cell);
    Ok(Report {
        schema: 1,
        benchmark: "boot",
        conditions,
        measurements: Named::of([
            ("floor", floor),
            ("ready", ready),
            ("job", job),
            ("cell", cell),
            ("restored", restored),
            ("restored cell", restored_cell),
        ]),
        ratios: Named::of([
            ("ready / floor", ready.median_ms / floor.median_ms),
            ("cell / floor", cell.median_ms / floor.median_ms),
            ("ready / restored", ready.median_ms / restored.median_ms),
        ]),
    })
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
