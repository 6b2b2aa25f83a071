//! The saved state of a guest.

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

/// The complete state of a guest that has booted, or in which a program is primed. Any number of
/// guests can be restored from it, side by side.
#[derive(Debug)]
pub struct Checkpoint {
    /// What the agent reported.
    pub hello: Hello,
    /// The kernel's log up to the checkpoint.
    pub kernel_log: String,
    /// The state of the processors and devices, as QEMU writes it.
    pub devices: Vec<u8>,
    /// The guest's memory, byte for byte. Must not be written to.
    pub memory: File,
}

fn no_memory(source: io::Error) -> LabErrorKind {
    LabErrorKind::Host { what: "could not create the guest memory file", source }
}

impl Checkpoint {
    /// Boots a guest and saves it when its agent says hello.
    pub fn of_boot(bootable: &Bootable, timeout: Duration) -> Result<Checkpoint, LabError> {
        let length = u64::from(bootable.machine.memory_mib) << 20;
        let memory = memory::empty(length).map_err(no_memory)?;
        let guest = Guest::start_with(bootable, Memory::Kept(&memory))?.booted(timeout)?;
        let Guest { mut machine, state } = guest;
        machine.prewarm()?;
        let kernel_log = machine.kernel_log()?;
        Checkpoint::of(machine, state.hello, kernel_log, memory)
    }

    /// Restores a booted guest, starts a program in it, and saves that guest when the program is
    /// primed. Fails if the kernel printed a splat in the meantime.
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
            // Otherwise every guest restored from this one would report the splat again.
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
