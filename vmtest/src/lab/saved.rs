//! A guest at rest.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use kernlab_proto::Hello;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{Bootable, Guest, LabError, error::LabErrorKind, machine::ANSWER};
use crate::qemu::Memory;

/// Everything of a guest that had said hello: any number of guests can be restored from it, side by
/// side.
#[derive(Debug)]
pub struct SavedState {
    /// What its agent said.
    pub hello: Hello,
    /// What its kernel had logged.
    pub kernel_log: String,
    /// The state of processors and devices, as QEMU writes it.
    pub devices: Vec<u8>,
    /// Its memory, byte for byte. Must not be written to.
    pub memory: File,
}

impl SavedState {
    /// Boots a guest and saves it at its hello.
    pub fn of_boot(bootable: &Bootable, timeout: Duration) -> Result<SavedState, LabError> {
        let length = u64::from(bootable.machine.memory_mib) << 20;
        let memory = memfd_create(c"guest-memory", MFdFlags::MFD_CLOEXEC)
            .map(File::from)
            .map_err(std::io::Error::from)
            .and_then(|file| file.set_len(length).map(|()| file))
            .map_err(|source| LabErrorKind::Host { what: "could not make memory", source })?;
        let guest = Guest::start_with(bootable, Memory::Kept(&memory))?.settled(timeout)?;
        let Guest { mut machine, state } = guest;
        machine.work_ahead()?;
        let kernel_log = machine.kernel_log()?;
        let deadline = Instant::now() + machine.accelerator.patience(ANSWER);
        match machine.monitor.save(deadline) {
            Ok(devices) => Ok(SavedState { hello: state.hello, kernel_log, devices, memory }),
            Err(error) => Err(machine.fail(LabErrorKind::NotSaved(error))),
        }
    }
}
