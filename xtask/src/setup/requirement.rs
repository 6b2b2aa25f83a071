//! What a machine must have, how to see that it does, and where to get it.

use super::{
    detect::{self, Detection},
    machine::Machine,
};

/// Reads the bitcode of the pinned rustc: `rust-toolchain.toml` and this line change together.
const BPF_LINKER: Crate =
    Crate { name: "bpf-linker", version: "0.10.1", minimum: (0, 10, 1), options: &[] };
/// Runs the tests, one process each. Older ones don't know all of `.config/nextest.toml`.
const NEXTEST: Crate = Crate {
    name: "cargo-nextest",
    version: "0.9.143",
    minimum: (0, 9, 100),
    // Without the part that updates itself, which takes long to compile.
    options: &["--no-default-features", "--features", "default-no-update"],
};

/// One thing that building or running needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requirement {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What needs it.
    pub(crate) why: &'static str,
    /// When it is needed.
    pub(crate) purpose: Purpose,
    /// Where it comes from.
    pub(crate) origin: Origin,
    detect: fn(&Machine) -> Detection,
}

/// When something is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To build and to run.
    Work,
    /// To test the project itself.
    Test,
    /// To build kernels from their source.
    Build,
    /// To build kernels with type information.
    BuildBtf,
}

impl Purpose {
    /// Whether whoever wants this also needs what is for the other.
    pub(crate) fn includes(self, other: Purpose) -> bool {
        use Purpose::{Build, BuildBtf, Test, Work};
        self == other || matches!((self, other), (Test, Work) | (BuildBtf, Build))
    }
}

/// Where a requirement comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// From the distribution, under these names.
    Packages(Packages),
    /// Compiled by cargo.
    Crate(Crate),
    /// A component of the Rust toolchain.
    RustSource,
}

/// What distributions call the packages of one requirement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packages {
    pub(crate) apt: &'static [&'static str],
    pub(crate) dnf: &'static [&'static str],
    pub(crate) pacman: &'static [&'static str],
}

/// A program that `cargo install` makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crate {
    pub(crate) name: &'static str,
    /// The version to install.
    pub(crate) version: &'static str,
    /// The oldest that does. A newer one of the same `major.minor` does too.
    pub(crate) minimum: (u32, u32, u32),
    /// Further options of `cargo install`.
    pub(crate) options: &'static [&'static str],
}

/// Everything that is needed, in the order in which it is told.
pub(crate) const ALL: &[Requirement] = &[
    Requirement {
        name: "QEMU for x86-64",
        why: "boots the kernels",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages {
            apt: &["qemu-system-x86"],
            dnf: &["qemu-system-x86-core"],
            pacman: &["qemu-system-x86"],
        }),
        detect: detect::qemu,
    },
    Requirement {
        name: "clang",
        why: "compiles the BPF programs written in C",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages { apt: &["clang"], dnf: &["clang"], pacman: &["clang"] }),
        detect: detect::clang,
    },
    Requirement {
        name: "C compiler",
        why: "compiles libbpf",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages { apt: &["gcc"], dnf: &["gcc"], pacman: &["gcc"] }),
        detect: |machine| detect::program(machine, "cc"),
    },
    Requirement {
        name: "make",
        why: "builds libbpf",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages { apt: &["make"], dnf: &["make"], pacman: &["make"] }),
        detect: |machine| detect::program(machine, "make"),
    },
    Requirement {
        name: "pkg-config",
        why: "is asked by libbpf's build for libelf",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages {
            apt: &["pkg-config"],
            dnf: &["pkgconf-pkg-config"],
            pacman: &["pkgconf"],
        }),
        detect: |machine| detect::program(machine, "pkg-config"),
    },
    Requirement {
        name: "autotools",
        why: "configure the libelf that libbpf brings along",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages {
            apt: &["autoconf", "automake", "autopoint", "bison", "flex", "gawk"],
            dnf: &["autoconf", "automake", "gettext-devel", "bison", "flex", "gawk"],
            pacman: &["autoconf", "automake", "gettext", "bison", "flex", "gawk"],
        }),
        detect: |machine| {
            let programs = ["autoreconf", "automake", "autopoint", "bison", "flex", "gawk"];
            detect::programs(machine, &programs)
        },
    },
    Requirement {
        name: "static libc",
        why: "is linked into the guest's programs",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages {
            apt: &["libc6-dev"],
            dnf: &["glibc-static"],
            pacman: &["glibc"],
        }),
        detect: |machine| detect::library(machine, "libc.a"),
    },
    Requirement {
        name: "rust-src",
        why: "has the core library, compiled for the BPF target",
        purpose: Purpose::Work,
        origin: Origin::RustSource,
        detect: detect::rust_source,
    },
    Requirement {
        name: "bpf-linker",
        why: "links the BPF programs written in Rust",
        purpose: Purpose::Work,
        origin: Origin::Crate(BPF_LINKER),
        detect: |machine| detect::crate_program(machine, &BPF_LINKER),
    },
    Requirement {
        name: "cargo-nextest",
        why: "runs the tests and the cells of the matrix",
        purpose: Purpose::Work,
        origin: Origin::Crate(NEXTEST),
        detect: |machine| detect::crate_program(machine, &NEXTEST),
    },
    Requirement {
        name: "RPM tools",
        why: "make the repositories that tests fetch kernels from",
        purpose: Purpose::Test,
        origin: Origin::Packages(Packages {
            apt: &["rpm", "createrepo-c", "gpg", "gpg-agent"],
            dnf: &["rpm-build", "rpm-sign", "createrepo_c", "gnupg2"],
            pacman: &["rpm-tools", "createrepo_c", "gnupg"],
        }),
        detect: |machine| {
            let programs = ["rpmbuild", "rpmsign", "createrepo_c", "gpg", "gpg-agent"];
            detect::programs(machine, &programs)
        },
    },
    Requirement {
        name: "gcc and make",
        why: "build kernels",
        purpose: Purpose::Build,
        origin: Origin::Packages(Packages {
            apt: &["gcc", "make"],
            dnf: &["gcc", "make"],
            pacman: &["gcc", "make"],
        }),
        detect: |machine| detect::programs(machine, &["gcc", "ld", "make"]),
    },
    Requirement {
        name: "flex and bison",
        why: "make the reader of a kernel's configuration",
        purpose: Purpose::Build,
        origin: Origin::Packages(Packages {
            apt: &["flex", "bison"],
            dnf: &["flex", "bison"],
            pacman: &["flex", "bison"],
        }),
        detect: |machine| detect::programs(machine, &["flex", "bison"]),
    },
    Requirement {
        name: "bc",
        why: "computes constants of kernels' clocks",
        purpose: Purpose::Build,
        origin: Origin::Packages(Packages { apt: &["bc"], dnf: &["bc"], pacman: &["bc"] }),
        detect: |machine| detect::program(machine, "bc"),
    },
    Requirement {
        name: "libelf's headers",
        why: "are what kernels' objtool is compiled with",
        purpose: Purpose::Build,
        origin: Origin::Packages(Packages {
            apt: &["libelf-dev"],
            dnf: &["elfutils-libelf-devel"],
            pacman: &["libelf"],
        }),
        detect: |machine| detect::header(machine, "gelf.h"),
    },
    Requirement {
        name: "pahole",
        why: "makes kernels' type information",
        purpose: Purpose::BuildBtf,
        origin: Origin::Packages(Packages {
            apt: &["dwarves"],
            dnf: &["dwarves"],
            pacman: &["pahole"],
        }),
        detect: |machine| detect::program(machine, "pahole"),
    },
];

impl Requirement {
    /// Looks for it. Takes milliseconds: most answers are files, some a program's version.
    pub(crate) fn detect(&self, machine: &Machine) -> Detection {
        (self.detect)(machine)
    }
}
