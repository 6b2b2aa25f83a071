//! QEMU: which executable, with which arguments, and never outliving this process.

mod aarch64;
mod arguments;
mod binary;
mod hardware;
mod kernel_image;
mod monitor;
mod process;
mod spawner;
mod x86_64;

pub use self::{
    arguments::{Accelerator, InjectedFile, MachineSpec, Memory, Port, Verbosity, Wiring},
    binary::{Binary, BinaryError, QEMU_VARIABLE},
    hardware::KernelImage,
    kernel_image::{KernelImageError, check_kernel_image},
    monitor::{Monitor, MonitorError},
    process::{Process, SpawnError, Spawned},
};
pub(crate) use self::{binary::SandboxTrial, x86_64::is_measured};
