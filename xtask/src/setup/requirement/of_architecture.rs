//! What guests of an architecture need of the machine.

use super::{Origin, Packages, Purpose, Requirement};
use crate::{architecture::Architecture, setup::detect};

/// What guests of an architecture need.
pub(super) struct OfArchitecture {
    /// On a machine of this architecture.
    pub(super) own_qemu: Requirement,
    /// On a machine of another one.
    pub(super) foreign: [Requirement; 3],
}

impl OfArchitecture {
    pub(super) fn of(arch: Architecture) -> &'static Self {
        match arch {
            Architecture::X86_64 => &X86_64,
            Architecture::Aarch64 => &AARCH64,
        }
    }
}

/// The requirements of an architecture with this name in sentences.
macro_rules! of_architecture {
    ($arch:expr, $name:literal, qemu: $qemu:expr, gcc: $gcc:expr, gcc_and_libc: $compiler:expr) => {
        OfArchitecture {
            own_qemu: Requirement {
                name: concat!("QEMU for ", $name),
                why: "boots the kernels",
                purpose: Purpose::Work,
                origin: Origin::Packages($qemu),
                detect: |machine| detect::qemu(machine, $arch),
            },
            foreign: [
                Requirement {
                    name: concat!("QEMU for ", $name),
                    why: concat!("boots kernels of ", $name),
                    purpose: Purpose::Foreign,
                    origin: Origin::Packages($qemu),
                    detect: |machine| detect::qemu(machine, $arch),
                },
                Requirement {
                    name: concat!("C compiler for ", $name),
                    why: concat!(
                        "links the programs of ",
                        $name,
                        "'s guests, and compiles libbpf for them"
                    ),
                    purpose: Purpose::Foreign,
                    origin: Origin::Packages($compiler),
                    detect: |machine| detect::cross_compiler(machine, $arch, "ar"),
                },
                Requirement {
                    name: concat!("gcc for ", $name),
                    why: concat!("compiles kernels for ", $name),
                    purpose: Purpose::BuildForeign,
                    origin: Origin::Packages($gcc),
                    detect: |machine| detect::cross_compiler(machine, $arch, "ld"),
                },
            ],
        }
    };
}

static X86_64: OfArchitecture = of_architecture!(
    Architecture::X86_64,
    "x86-64",
    qemu: Packages {
        apt: &["qemu-system-x86"],
        dnf: &["qemu-system-x86-core"],
        pacman: &["qemu-system-x86"],
    },
    gcc: Packages {
        apt: &["gcc-x86-64-linux-gnu"],
        dnf: &["gcc-x86_64-linux-gnu"],
        pacman: &["x86_64-linux-gnu-gcc"],
    },
    gcc_and_libc: Packages {
        apt: &["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
        dnf: &["gcc-x86_64-linux-gnu"],
        pacman: &["x86_64-linux-gnu-gcc"],
    }
);

static AARCH64: OfArchitecture = of_architecture!(
    Architecture::Aarch64,
    "arm64",
    qemu: Packages {
        apt: &["qemu-system-arm"],
        dnf: &["qemu-system-aarch64-core"],
        pacman: &["qemu-system-aarch64"],
    },
    gcc: Packages {
        apt: &["gcc-aarch64-linux-gnu"],
        dnf: &["gcc-aarch64-linux-gnu"],
        pacman: &["aarch64-linux-gnu-gcc"],
    },
    gcc_and_libc: Packages {
        apt: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        dnf: &["gcc-aarch64-linux-gnu"],
        pacman: &["aarch64-linux-gnu-gcc"],
    }
);
