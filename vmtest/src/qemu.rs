//! QEMU: which one, with which arguments, and never longer alive than we are.

mod arguments;
mod binary;
mod process;
mod spawner;
mod x86_64;

pub use self::{
    arguments::{Accelerator, MachineSpec, Port, Verbosity, Wiring},
    binary::{Binary, BinaryError, QEMU_VARIABLE},
    process::{Process, SpawnError},
    x86_64::{KernelImageError, check_kernel_image},
};
