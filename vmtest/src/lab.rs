//! Guests and their lives: `Bootable` -> `Guest<Booting>` -> `Guest<Booted>` -> `Guest<Ready>` -> jobs
//! -> power-off. A booted guest can be saved; what is restored from that has booted as well. So can a
//! ready one be whose program is primed: `Guest<Primed>`.
//!
//! A guest is hostile: everything it says is bounded, and every wait for it has a deadline. Times
//! that callers give are those of a machine with hardware acceleration; they are stretched by
//! [`Accelerator::scale_timeout`] where the guest's instructions are translated.

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

pub(crate) use self::memory::for_each_page;
pub use self::{
    checkpoint::Checkpoint,
    cpu_time::CpuTime,
    error::{GuestEvidence, LabError, LabErrorKind, Phase},
    guest::{Booted, Booting, Guest, PowerOff, Primed, Ready, Timings},
    job::{Exit, Job, JobOutput, Limits, TerminalSize},
    keyboard::Keyboard,
};
use crate::qemu::{Accelerator, Binary, MachineSpec};

/// How long a boot may take. Measured with acceleration: well under a second.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(15);

/// Everything that is needed to boot a guest.
#[derive(Clone, Debug)]
pub struct Bootable {
    /// The QEMU to use.
    pub qemu: Binary,
    /// The machine.
    pub machine: MachineSpec,
    /// Where what the console prints is written as well, for evidence.
    pub console_file: Option<PathBuf>,
}

impl Bootable {
    /// A machine that leaves no files behind.
    pub fn new(qemu: Binary, machine: MachineSpec) -> Self {
        Bootable { qemu, machine, console_file: None }
    }

    /// Who executes its instructions.
    pub fn accelerator(&self) -> Accelerator {
        self.machine.accelerator
    }
}
