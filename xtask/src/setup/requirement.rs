//! What a machine must have, how to detect it, and where to get it.

mod of_architecture;

use clap::ValueEnum;

use self::of_architecture::OfArchitecture;
use super::{
    archive::Archive,
    detect::{self, Detection},
    machine::Machine,
};
use crate::architecture::Architecture;

/// Must read the bitcode of the pinned rustc: change this line together with `rust-toolchain.toml`.
///
/// It is compiled, and then uses rustc's LLVM. Its releases bring their own LLVM, more than 200 MB.
const BPF_LINKER: Crate = Crate {
    name: "bpf-linker",
    version: "0.10.1",
    minimum: (0, 10, 1),
    options: &[],
    archive: None,
};
/// Runs the tests, one process each. Older versions don't know all options in `.config/nextest.toml`.
const NEXTEST: Crate = Crate {
    name: "cargo-nextest",
    version: "0.9.143",
    minimum: (0, 9, 100),
    // Without self-update, which takes long to compile.
    options: &["--no-default-features", "--features", "default-no-update"],
    archive: Some(Archive {
        url: "https://github.com/nextest-rs/nextest/releases/download/cargo-nextest-0.9.143/cargo-nextest-0.9.143-x86_64-unknown-linux-musl.tar.gz",
        sha256: "6d891c18105ec2d33f6e441a4f92b7ccab47ba263e22055c8bb66884243f3389",
        member: "cargo-nextest",
    }),
};
/// Checks the licences of dependencies, and advisories about them.
const DENY: Crate = Crate {
    name: "cargo-deny",
    version: "0.20.2",
    minimum: (0, 20, 0),
    options: &[],
    archive: Some(Archive {
        url: "https://github.com/EmbarkStudios/cargo-deny/releases/download/0.20.2/cargo-deny-0.20.2-x86_64-unknown-linux-musl.tar.gz",
        sha256: "9f12ed4c49936e09b48bf862b595cde2fe64fcbd9d74dfacac6131ca824c8d5f",
        member: "cargo-deny-0.20.2-x86_64-unknown-linux-musl/cargo-deny",
    }),
};

/// Builds the fuzz targets with what libFuzzer needs.
const FUZZ: Crate = Crate {
    name: "cargo-fuzz",
    version: "0.13.2",
    minimum: (0, 13, 2),
    options: &[],
    archive: None,
};
/// Breaks crates, and runs their tests.
const MUTANTS: Crate = Crate {
    name: "cargo-mutants",
    version: "27.1.0",
    minimum: (27, 1, 0),
    options: &[],
    archive: None,
};
/// Lists what a release consists of.
const CYCLONEDX: Crate = Crate {
    name: "cargo-cyclonedx",
    version: "0.5.9",
    minimum: (0, 5, 9),
    options: &[],
    archive: None,
};
/// Makes Debian packages.
const DEB: Crate = Crate {
    name: "cargo-deb",
    version: "3.8.0",
    minimum: (3, 8, 0),
    // Without xz from a library of its own: dpkg's is there.
    options: &["--no-default-features"],
    archive: None,
};

/// One thing that a machine must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requirement {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does, to complete a sentence that begins with the name.
    pub(crate) why: &'static str,
    /// The purpose that needs it.
    pub(crate) purpose: Purpose,
    /// Where it comes from.
    pub(crate) origin: Origin,
    detect: fn(&Machine) -> Detection,
}

/// A purpose that needs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// To build and to run.
    Work,
    /// To test the project itself.
    Test,
    /// To fuzz what reads foreign bytes.
    Fuzz,
    /// To break what judges, and see its tests notice.
    Mutants,
    /// To make a release.
    Release,
    /// To boot kernels of the other architecture, arm64 or x86-64.
    Foreign,
    /// To build kernels from their source.
    Build,
    /// To build kernels with type information.
    BuildBtf,
    /// To build kernels for the other architecture.
    BuildForeign,
    /// To build kernels of every kind.
    Builds,
}

impl Purpose {
    /// Whether this purpose also needs everything for the other one.
    pub(crate) fn includes(self, other: Purpose) -> bool {
        use Purpose::{
            Build, BuildBtf, BuildForeign, Builds, Foreign, Fuzz, Mutants, Release, Test, Work,
        };
        self == other
            || match self {
                Test => matches!(other, Work | Fuzz),
                Release => matches!(other, Work | Foreign),
                Mutants => other == Work,
                BuildBtf | BuildForeign => other == Build,
                Builds => matches!(other, Build | BuildBtf | BuildForeign),
                _ => false,
            }
    }
}

/// Where a requirement comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// The distribution's packages of these names.
    Packages(Packages),
    /// A program that is downloaded, or compiled by cargo.
    Crate(Crate),
    /// A component of the Rust toolchain.
    RustSource,
    /// Python packages, in an environment of their own.
    Linters,
}

/// The packages of one requirement, as distributions name them.
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
    /// The oldest suitable version. Newer ones of the same `major.minor` are suitable too.
    pub(crate) minimum: (u32, u32, u32),
    /// Further options of `cargo install`.
    pub(crate) options: &'static [&'static str],
    /// The project's release for x86-64. If it can't be downloaded, or has another digest, the program is
    /// compiled.
    pub(crate) archive: Option<Archive>,
}

/// The name of the requirement that building the host tool needs.
pub(crate) const C_COMPILER: &str = "C compiler";

/// What a machine of this architecture needs for a purpose, in the order in which it is printed.
pub(crate) fn of(
    host: Architecture,
    purpose: Purpose,
) -> impl Iterator<Item = &'static Requirement> {
    let (own, other) = (OfArchitecture::of(host), OfArchitecture::of(host.other()));
    let all = [&own.own_qemu].into_iter().chain(ON_EVERY_MACHINE).chain(&other.foreign);
    all.filter(move |need| purpose.includes(need.purpose))
}

/// What some machine needs for some purpose.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = &'static Requirement> {
    let of_architecture = |&arch: &Architecture| {
        let of = OfArchitecture::of(arch);
        [&of.own_qemu].into_iter().chain(&of.foreign)
    };
    Architecture::value_variants().iter().flat_map(of_architecture).chain(ON_EVERY_MACHINE)
}

/// In the order in which they are printed.
static ON_EVERY_MACHINE: &[Requirement] = &[
    Requirement {
        name: "clang",
        why: "compiles the BPF programs written in C",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages { apt: &["clang"], dnf: &["clang"], pacman: &["clang"] }),
        detect: detect::clang,
    },
    Requirement {
        name: C_COMPILER,
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
        why: "finds libelf for libbpf's build",
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
        why: "configure libbpf's own libelf",
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
        name: "libelf",
        why: "is linked into the builder of the C programs",
        purpose: Purpose::Work,
        origin: Origin::Packages(Packages {
            apt: &["libelf-dev", "zlib1g-dev"],
            dnf: &["elfutils-libelf-devel", "zlib-devel"],
            pacman: &["libelf", "zlib"],
        }),
        detect: |machine| detect::libraries(machine, &["libelf.so", "libz.so"]),
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
        why: "has the core library's source, for BPF programs in Rust",
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
        why: "make the repositories of tests",
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
        name: "libbpf",
        why: "is linked into the tracer that the documentation has as an example",
        purpose: Purpose::Test,
        origin: Origin::Packages(Packages {
            apt: &["libbpf-dev"],
            dnf: &["libbpf-devel"],
            pacman: &["libbpf"],
        }),
        detect: |machine| detect::library(machine, "libbpf.so"),
    },
    Requirement {
        name: "bpftrace",
        why: "runs the script that the documentation has as an example",
        purpose: Purpose::Test,
        origin: Origin::Packages(Packages {
            apt: &["bpftrace"],
            dnf: &["bpftrace"],
            pacman: &["bpftrace"],
        }),
        detect: |machine| detect::program(machine, "bpftrace"),
    },
    Requirement {
        name: "mmdebstrap",
        why: "makes root file systems with Debian's tracing tools",
        purpose: Purpose::Test,
        origin: Origin::Packages(Packages {
            apt: &["mmdebstrap"],
            dnf: &["mmdebstrap"],
            pacman: &["mmdebstrap"],
        }),
        detect: |machine| detect::program(machine, "mmdebstrap"),
    },
    Requirement {
        name: "cargo-deny",
        why: "checks licences and advisories of dependencies",
        purpose: Purpose::Test,
        origin: Origin::Crate(DENY),
        detect: |machine| detect::crate_program(machine, &DENY),
    },
    Requirement {
        name: "Python's venv",
        why: "makes the linters' environment",
        purpose: Purpose::Test,
        origin: Origin::Packages(Packages {
            apt: &["python3-venv"],
            dnf: &["python3", "python3-pip"],
            pacman: &["python"],
        }),
        detect: detect::python_environments,
    },
    Requirement {
        name: "linters",
        why: "check the workflows in .github and the shell scripts, and build the book",
        purpose: Purpose::Test,
        origin: Origin::Linters,
        detect: detect::linters,
    },
    Requirement {
        name: "C++ compiler",
        why: "compiles libFuzzer",
        purpose: Purpose::Fuzz,
        origin: Origin::Packages(Packages { apt: &["g++"], dnf: &["gcc-c++"], pacman: &["gcc"] }),
        detect: |machine| detect::program(machine, "c++"),
    },
    Requirement {
        name: "cargo-fuzz",
        why: "builds the fuzz targets",
        purpose: Purpose::Fuzz,
        origin: Origin::Crate(FUZZ),
        detect: |machine| detect::crate_program(machine, &FUZZ),
    },
    Requirement {
        name: "cargo-mutants",
        why: "breaks what decides and judges, and runs the tests",
        purpose: Purpose::Mutants,
        origin: Origin::Crate(MUTANTS),
        detect: |machine| detect::crate_program(machine, &MUTANTS),
    },
    Requirement {
        name: "cargo-cyclonedx",
        why: "lists what a release consists of",
        purpose: Purpose::Release,
        origin: Origin::Crate(CYCLONEDX),
        detect: |machine| detect::crate_program(machine, &CYCLONEDX),
    },
    Requirement {
        name: "cargo-deb",
        why: "makes the Debian package of a release",
        purpose: Purpose::Release,
        origin: Origin::Crate(DEB),
        detect: |machine| detect::crate_program(machine, &DEB),
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
        why: "generate the parser of Kconfig files",
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
        why: "computes constants of the kernel's clocks",
        purpose: Purpose::Build,
        origin: Origin::Packages(Packages { apt: &["bc"], dnf: &["bc"], pacman: &["bc"] }),
        detect: |machine| detect::program(machine, "bc"),
    },
    Requirement {
        name: "libelf's headers",
        why: "are included by the kernel's objtool",
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
        why: "makes BTF for kernels",
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
    /// Detects it. Takes milliseconds: most checks look for files, some run `--version`.
    pub(crate) fn detect(&self, machine: &Machine) -> Detection {
        (self.detect)(machine)
    }
}
