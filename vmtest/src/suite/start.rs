//! Starts the guest of a cell with the suite's files, from a saved guest that has as many of them as
//! is worth it.

use std::path::Path;

use kernlab_kernels::Observer;
use kernlab_proto::{Hello, suite::ARCHIVES};

use super::cell::{CellMachine, Heard, MARGIN, Setting, SuiteCell};
use crate::{
    checkpoints::Checkpoints,
    guest_programs,
    lab::{Guest, Job, JobOutput, LabError, Primed, Ready},
    qemu::InjectedFile,
};

/// The conductor in the guest.
pub(super) const CONDUCTOR: &str = "/bin/kernlab-conductor";

/// Names in the environment of a conductor what its guest was saved for: of several builds of a
/// program, only the guest with the last is kept.
const SAVED_FOR: &str = "KERNLAB_SAVED_FOR";

/// From this size on, in bytes, a guest is saved that has the files that the system provides.
/// Unpacking them takes as long as saving and restoring such a guest.
const LARGE: u64 = 16 << 20;

/// From this size on, in bytes, a guest is saved that has the files of a test program that is used
/// again. Each takes some 100 MB of the disk.
const OWN_LARGE: u64 = 8 << 20;

/// A guest that is about to run its suite.
pub(super) enum Start {
    Ready(Guest<Ready>, Job),
    Paused(Guest<Primed>, Job),
}

impl Start {
    pub(super) fn hello(&self) -> &Hello {
        match self {
            Start::Ready(guest, _) => guest.hello(),
            Start::Paused(guest, _) => guest.hello(),
        }
    }

    pub(super) fn run(self, heard: Heard<'_>) -> Result<(Guest<Ready>, JobOutput), LabError> {
        match self {
            Start::Ready(mut guest, job) => {
                let output = guest.run_streaming(&job, heard)?;
                Ok((guest, output))
            }
            Start::Paused(guest, job) => guest.proceed_heard("", &job, heard),
        }
    }
}

/// Starts a guest with the suite's files. A guest is saved that has those of the system if they are
/// large or many programs need the same, and the suite's own if many guests get them.
pub(super) fn start(
    cell: &SuiteCell<'_>,
    setting: &Setting<'_>,
    planned: &CellMachine,
    observer: &dyn Observer,
) -> Result<Start, LabError> {
    let CellMachine { bootable, job, conductor } = planned;
    let SuiteCell { suite, packed, .. } = *cell;
    let archive = |name: &str, host: &Path| InjectedFile {
        guest: format!("{ARCHIVES}{name}.tar"),
        host: host.to_owned(),
    };
    let mut bootable = bootable.clone();
    // The machine could not be set up without them.
    let programs = guest_programs::of_arch(setting.guest, bootable.machine.arch)
        .unwrap_or_else(|_| setting.guest.to_owned());
    let host = programs.join("kernlab-conductor");
    let program = InjectedFile { guest: CONDUCTOR.to_owned(), host };
    bootable.machine.injected = vec![program, archive("1-system", &packed.system)];
    let mut files = vec![archive("3-job", job)];
    files.extend(cell.more.iter().cloned());
    let own = packed.own.as_deref().map(|own| archive("2-own", own));
    let saves_own = suite.is_test && packed.is_shared && packed.own_size >= OWN_LARGE;
    match own {
        Some(own) if saves_own => bootable.machine.injected.push(own),
        own => files.splice(0..0, own).for_each(drop),
    }
    let checkpoints = Checkpoints::of(setting.kernels.store());
    if (packed.system_size >= LARGE || suite.is_test) && !setting.cold {
        // Its timeout is not a property of the saved guest.
        let label = match (saves_own, packed.job.tracer.first()) {
            (true, Some(program)) => program.clone(),
            _ => packed.system.display().to_string(),
        };
        let paused = conductor.clone().timeout(MARGIN).env(SAVED_FOR, &label);
        checkpoints.prime(&bootable, &paused, observer)?;
        if let Some(guest) = checkpoints.primed(&bootable, &paused, &files, observer) {
            return Ok(Start::Paused(guest, conductor.clone()));
        }
    }
    bootable.machine.injected.extend(files);
    let guest = checkpoints.start(&bootable, setting.cold, observer)?;
    Ok(Start::Ready(guest, conductor.clone().without_argument("--pause")))
}
