//! Sets up a machine that runs a kernel with the agent.

use std::path::Path;

use kernlab_core::outcome::Reason;

use crate::{
    accel::{self, AccelError},
    image::{Contents, ImageError, ImageStore},
    lab::Bootable,
    qemu::{Binary, BinaryError, InjectedFile, MachineSpec},
};
use kernlab_kernels::{Observer, Store, Unpacked};

/// Why a machine can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The initramfs could not be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There is no QEMU.
    #[error(transparent)]
    Qemu(#[from] BinaryError),
    /// The accelerator could not be decided.
    #[error(transparent)]
    Acceleration(#[from] AccelError),
}

impl MachineError {
    /// The reason's code.
    pub fn reason(&self) -> Reason {
        match self {
            MachineError::Image(_) => Reason::HostIo,
            MachineError::Qemu(_) | MachineError::Acceleration(_) => Reason::QemuFailed,
        }
    }
}

/// A machine with this kernel, and with these programs of the directory `guest` in its `/bin`.
/// `observer` gets a notice if the accelerator was decided just now.
pub fn of_kernel(
    store: &Store,
    kernel: &Unpacked,
    guest: &Path,
    programs: &[&str],
    observer: &dyn Observer,
) -> Result<Bootable, MachineError> {
    let contents = Contents { agent: guest.join("kernlab-agent"), modules: Vec::new() };
    let image = ImageStore::of(store).image_of(&contents)?;
    let qemu = Binary::find()?;
    let decision = accel::decide(store, &qemu, kernel, &image)?;
    if let Some(news) = decision.news {
        observer.notice(&news);
    }
    let mut machine = MachineSpec::new(decision.accelerator, kernel.image.fastest(), &image.path);
    machine.memory_mib = kernel.memory_mib;
    machine.processors = kernel.processors;
    machine.injected =
        programs.iter().map(|program| InjectedFile::program(guest.join(program))).collect();
    Ok(Bootable::new(qemu, machine))
}
