//! QEMU: which executable, with which arguments, and never outliving this process.

mod arguments;
mod binary;
mod monitor;
mod process;
mod spawner;
mod x86_64;

pub(crate) use self::x86_64::is_measured;
pub use self::{
    arguments::{Accelerator, InjectedFile, MachineSpec, Memory, Port, Verbosity, Wiring},
    binary::{Binary, BinaryError, QEMU_VARIABLE},
    monitor::{Monitor, MonitorError},
    process::{Process, SpawnError, Spawned},
    x86_64::{KernelImage, KernelImageError, check_kernel_image},
};
