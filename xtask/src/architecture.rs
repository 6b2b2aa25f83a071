//! The architectures of guests, and what their programs are built with.

use std::env;

use clap::ValueEnum;

/// An architecture of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

/// What programs of an architecture are built with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// As `uname -m` prints it.
    pub(crate) name: &'static str,
    /// As a sentence has it.
    pub(crate) title: &'static str,
    /// As rustc names it.
    pub(crate) target: &'static str,
    /// As Debian names it.
    pub(crate) debian: &'static str,
    /// The program that emulates or runs its machines.
    pub(crate) qemu: &'static str,
    /// Compiles and links for it on a machine of another architecture.
    pub(crate) compiler: &'static str,
    pub(crate) archiver: &'static str,
}

impl Architecture {
    /// This machine's.
    pub(crate) fn host() -> Self {
        match env::consts::ARCH {
            "aarch64" => Architecture::Aarch64,
            _ => Architecture::X86_64,
        }
    }

    /// The one whose guests this machine emulates.
    pub(crate) fn other(self) -> Self {
        match self {
            Architecture::X86_64 => Architecture::Aarch64,
            Architecture::Aarch64 => Architecture::X86_64,
        }
    }

    pub(crate) fn facts(self) -> &'static Facts {
        match self {
            Architecture::X86_64 => &Facts {
                name: "x86_64",
                title: "x86-64",
                target: "x86_64-unknown-linux-gnu",
                debian: "amd64",
                qemu: "qemu-system-x86_64",
                compiler: "x86_64-linux-gnu-gcc",
                archiver: "x86_64-linux-gnu-ar",
            },
            Architecture::Aarch64 => &Facts {
                name: "aarch64",
                title: "arm64",
                target: "aarch64-unknown-linux-gnu",
                debian: "arm64",
                qemu: "qemu-system-aarch64",
                compiler: "aarch64-linux-gnu-gcc",
                archiver: "aarch64-linux-gnu-ar",
            },
        }
    }
}
