//! Sets up a machine that runs a kernel with the agent.

mod security;

use std::{io, path::Path};

use kernlab_core::outcome::Reason;

use crate::{
    accel::{self, AccelError},
    guest_programs::{self, GuestProgramsError},
    image::{Contents, ImageError, ImageStore, root::RootImage},
    lab::Bootable,
    qemu::{Binary, BinaryError, InjectedFile, KernelImage, MachineSpec, check_kernel_image},
    sandbox,
};
use kernlab_kernels::{FilesError, Module, Observer, Store, Unpacked};

pub use self::security::SecurityError;

/// Why a machine can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The initramfs could not be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There are no programs for guests of the kernel's architecture.
    #[error(transparent)]
    Programs(#[from] GuestProgramsError),
    /// There is no QEMU.
    #[error(transparent)]
    Qemu(#[from] BinaryError),
    /// The accelerator could not be decided.
    #[error(transparent)]
    Acceleration(#[from] AccelError),
    /// The kernel lacks a module, or it can't be read.
    #[error("could not get the modules that the machine needs")]
    Modules(#[from] FilesError),
    /// The kernel's configuration can't be read.
    #[error("could not read {path}, the kernel's configuration")]
    Config {
        /// The file.
        path: std::path::PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The security modules can't be turned on.
    #[error("could not turn on the security modules {wanted:?}")]
    Security {
        /// What was asked for.
        wanted: String,
        /// The error.
        source: SecurityError,
    },
}

impl MachineError {
    /// The reason's code.
    pub fn reason(&self) -> Reason {
        match self {
            MachineError::Image(_) | MachineError::Config { .. } | MachineError::Programs(_) => {
                Reason::HostIo
            }
            MachineError::Modules(FilesError::Module(_)) | MachineError::Security { .. } => {
                Reason::MissingConfig
            }
            MachineError::Modules(_) => Reason::BadPackage,
            MachineError::Qemu(_) | MachineError::Acceleration(_) => Reason::QemuFailed,
        }
    }
}

/// The modules without which a guest can't use a disk with a root file system, and the layer above
/// it. They bring what they depend on.
const ROOT_MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "squashfs", "overlay"];

/// What a machine should have beside a kernel and the agent. By default, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The memory in mebibytes, instead of what the kernel's entry says.
    pub memory_mib: Option<u32>,
    /// The number of processors, instead of what the kernel's entry says.
    pub processors: Option<u32>,
    /// Modules of the kernel's own packages, which the agent loads in this order after what they
    /// need. Dashes and underscores are alike. What is built in is fine.
    pub modules: Vec<String>,
    /// Security modules, separated by commas, that are turned on beside those that the kernel turns
    /// on by itself.
    pub lsm: Option<String>,
    /// The root file system of programs, instead of the initramfs.
    pub root: Option<RootImage>,
    /// More parameters at the end of the kernel's command line.
    pub kernel_words: Vec<String>,
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
    with(store, kernel, guest, programs, &Wanted::default(), observer)
}

/// Like [`of_kernel`], with everything that is wanted.
pub fn with(
    store: &Store,
    kernel: &Unpacked,
    guest: &Path,
    programs: &[&str],
    wanted: &Wanted,
    observer: &dyn Observer,
) -> Result<Bootable, MachineError> {
    let kernel_words = kernel_words(kernel, wanted)?;
    let guest = &guest_programs::of_arch(guest, kernel.arch)?;
    let contents =
        Contents { agent: guest.join("kernlab-agent"), modules: modules(kernel, wanted)? };
    let image = ImageStore::of(store).image_of(&contents, observer)?;
    let qemu = Binary::find(kernel.arch)?;
    let decision = accel::decide(store, &qemu, kernel, &image)?;
    let (qemu, unconfined) = sandbox::decide(store, kernel.arch, qemu);
    for news in decision.news.iter().chain(&unconfined) {
        observer.notice(news);
    }
    let mut machine =
        MachineSpec::new(kernel.arch, decision.accelerator, kernel.image.fastest(), &image.path);
    // A file that is no kernel is told when it is to boot.
    let image = check_kernel_image(kernel.arch, kernel.image.fastest()).ok();
    machine.has_16k_pages = image == Some(KernelImage::Arm64 { has_16k_pages: true });
    machine.memory_mib = wanted.memory_mib.unwrap_or(kernel.memory_mib);
    machine.processors = wanted.processors.unwrap_or(kernel.processors);
    machine.disk = wanted.root.as_ref().map(|root| root.path.clone());
    machine.kernel_words = kernel_words;
    machine.injected =
        programs.iter().map(|program| InjectedFile::program(guest.join(program))).collect();
    Ok(Bootable { name: kernel.id.clone(), ..Bootable::new(qemu, machine) })
}

/// The modules to load, in this order.
fn modules(kernel: &Unpacked, wanted: &Wanted) -> Result<Vec<Module>, MachineError> {
    let mut names: Vec<&str> = Vec::new();
    // If nothing is known about a kernel's modules, it was built here or for a purpose, and has in
    // it what it needs. If it has not, the agent says so.
    if wanted.root.is_some() && kernel.modules.are_known() {
        names.extend(ROOT_MODULES);
    }
    names.extend(wanted.modules.iter().map(String::as_str));
    match names.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(kernel.modules.require(&names)?),
    }
}

fn kernel_words(kernel: &Unpacked, wanted: &Wanted) -> Result<Vec<String>, MachineError> {
    let mut words = Vec::new();
    if let Some(lsm) = &wanted.lsm {
        let config = match &kernel.config {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|source| MachineError::Config { path: path.clone(), source })?,
            ),
        };
        let word = security::parameter(lsm, config.as_deref())
            .map_err(|source| MachineError::Security { wanted: lsm.clone(), source })?;
        words.extend(word);
    }
    words.extend(wanted.kernel_words.iter().cloned());
    Ok(words)
}
