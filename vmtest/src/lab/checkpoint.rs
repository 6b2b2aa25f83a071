//! A guest at rest.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use kernlab_proto::Hello;

use super::{
    Bootable, Guest, Job, LabError,
    error::LabErrorKind,
    machine::{ANSWER, Machine},
    memory,
};
use crate::qemu::Memory;

/// Everything of a guest that had booted, or in which a program was primed: any number of guests can be
/// restored from it, side by side.
#[derive(Debug)]
pub struct Checkpoint {
    /// What its agent said.
    pub hello: Hello,
    /// What its kernel had logged.
    pub kernel_log: String,
    /// The state of processors and devices, as QEMU writes it.
    pub devices: Vec<u8>,
    /// Its memory, byte for byte. Must not be written to.
    pub memory: File,
}

fn no_memory(source: io::Error) -> LabErrorKind {
    LabErrorKind::Host { what: "could not make memory", source }
}

impl Checkpoint {
    /// Boots a guest and saves it at its hello.
    pub fn of_boot(bootable: &Bootable, timeout: Duration) -> Result<Checkpoint, LabError> {
        let length = u64::from(bootable.machine.memory_mib) << 20;
        let memory = memory::empty(length).map_err(no_memory)?;
        let guest = Guest::start_with(bootable, Memory::Kept(&memory))?.booted(timeout)?;
        let Guest { mut machine, state } = guest;
        machine.prewarm()?;
        let kernel_log = machine.kernel_log()?;
        Checkpoint::of(machine, state.hello, kernel_log, memory)
    }

    /// Starts a program in a guest that is restored from a settled one, and saves that guest when the
    /// program is primed, unless the kernel complained meanwhile.
    pub fn of_primed(
        bootable: &Bootable,
        booted: &Checkpoint,
        program: &Job,
    ) -> Result<Checkpoint, LabError> {
        let memory = memory::copy(&booted.memory).map_err(no_memory)?;
        let guest = Guest::restored(bootable, booted, Memory::Continued(&memory))?.begin()?;
        let Guest { mut machine, state } = guest.prime(program)?;
        let news = machine.kernel_log()?;
        if let Some(splat) = kernlab_splat::scan(&news).into_iter().next() {
            // It would be said again of every guest that is restored from this one.
            return Err(machine.fail(LabErrorKind::KernelWarned(splat.title)));
        }
        let kernel_log = booted.kernel_log.clone() + &news;
        Checkpoint::of(machine, state.0.hello, kernel_log, memory)
    }

    fn of(
        mut machine: Machine,
        hello: Hello,
        kernel_log: String,
        memory: File,
    ) -> Result<Checkpoint, LabError> {
        let deadline = Instant::now() + machine.accelerator.scale_timeout(ANSWER);
        match machine.monitor.save(deadline) {
            Ok(devices) => Ok(Checkpoint { hello, kernel_log, devices, memory }),
            Err(error) => Err(machine.fail(LabErrorKind::NotSaved(error))),
        }
    }
}
