//! Guests and their lives: `Bootable` -> `Guest<Booting>` -> `Guest<Booted>` -> `Guest<Ready>` ->
//! jobs -> power-off. A booted guest can be saved; a guest restored from it counts as booted. A
//! ready guest with a primed program can be saved too: `Guest<Primed>`.
//!
//! A guest is hostile: everything it sends is bounded, and every wait for it has a deadline.
//! Callers give timeouts for a machine with hardware acceleration; without it,
//! [`Accelerator::scale_timeout`] makes them longer.

mod checkpoint;
mod connection;
mod cpu_time;
mod error;
mod guest;
mod job;
mod keyboard;
mod machine;
mod memory;

use std::{path::PathBuf, time::Duration};

pub use self::{
    checkpoint::Checkpoint,
    cpu_time::CpuTime,
    error::{GuestEvidence, LabError, LabErrorKind, Phase},
    guest::{Booted, Booting, Guest, PowerOff, Primed, Ready, Timings},
    job::{Exit, Job, JobOutput, Limits, Stream, TerminalSize},
    keyboard::Keyboard,
};
pub(crate) use self::{machine::was_killed, memory::for_each_page};
use crate::qemu::{Accelerator, Binary, MachineSpec};

/// The timeout of a boot. Measured with acceleration: well under a second.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(15);

/// What it takes to boot a guest.
#[derive(Clone, Debug)]
pub struct Bootable {
    /// What messages call it: the kernel's id, or the path of a kernel that has none.
    pub name: String,
    /// The QEMU to use.
    pub qemu: Binary,
    /// The machine.
    pub machine: MachineSpec,
    /// A file that also captures the console, as evidence.
    pub console_file: Option<PathBuf>,
}

impl Bootable {
    /// A machine that is called by its kernel's path, and captures its console in no file.
    pub fn new(qemu: Binary, machine: MachineSpec) -> Self {
        let name = machine.kernel.display().to_string();
        Bootable { name, qemu, machine, console_file: None }
    }

    /// What executes the guest's instructions.
    pub fn accelerator(&self) -> Accelerator {
        self.machine.accelerator
    }
}
