//! Why a file can't be given to a guest.

use std::{io, path::PathBuf};

use kernlab_kernels::Arch;
use object::read::Error as ElfError;

use super::{Machine, sysroot};

/// Why a file can't be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The program was not found.
    #[error("no program {name:?} in {}", if name.contains('/') { directory } else { "PATH" })]
    NoProgram {
        /// Its name.
        name: String,
        /// The directory that relative names start from.
        directory: String,
    },
    /// The file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is not executable.
    #[error("{0} is not executable: chmod +x it, or name its interpreter")]
    NotExecutable(PathBuf),
    /// The file is neither an ELF program nor a script.
    #[error("{0} is neither an ELF program nor a script that begins with #!")]
    NoFormat(PathBuf),
    /// The file is a damaged ELF program.
    #[error("{path} is damaged")]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ElfError,
    },
    /// It is a device, a pipe or a socket.
    #[error("{0} is neither a file nor a directory")]
    NotAFile(PathBuf),
    /// The program is for another machine.
    #[error(
        "{path} is a program for {found}, and the kernel is one of {arch}: build it for {arch}, give the \
         guest a root file system with such a program{}",
        match .found {
            Machine::Known(found) => format!(", or take kernels of {found}: --arch {found}"),
            Machine::Other(_) => String::new(),
        }
    )]
    Foreign {
        /// The program.
        path: PathBuf,
        /// What it is for.
        found: Machine,
        /// The kernel's architecture.
        arch: Arch,
    },
    /// The interpreter that a script names does not exist.
    #[error("{script} names the interpreter {interpreter:?}, which is not installed")]
    NoInterpreter {
        /// The script.
        script: PathBuf,
        /// What follows `#!`.
        interpreter: String,
    },
    /// The program's dynamic linker can't list its libraries.
    #[error("cannot ask {linker} which libraries {path} needs: {why}")]
    Linker {
        /// The program.
        path: PathBuf,
        /// Its dynamic linker.
        linker: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// A library is not installed.
    #[error("{path} needs {library}, which is not installed")]
    NoLibrary {
        /// The program.
        path: PathBuf,
        /// The library.
        library: String,
    },
    /// A library of another architecture is not installed.
    #[error(
        "{path} needs {library} for {arch}, which is neither in {} nor in {}: install it there (the C \
         library is in Debian's libc6-{}-cross), link the program statically, or give the guest a root \
         file system that has it",
        sysroot::of_packages(*.arch), sysroot::of_a_cross_compiler(*.arch), .arch.debian()
    )]
    NoForeignLibrary {
        /// The program.
        path: PathBuf,
        /// The library, or the dynamic linker.
        library: String,
        /// The program's architecture.
        arch: Arch,
    },
    /// A file would be where the guest's own are.
    #[error("a file can't be placed at {path} in the guest: {why}")]
    Reserved {
        /// The path in the guest.
        path: String,
        /// What is there.
        why: &'static str,
    },
    /// A path can't be used in a guest.
    #[error("{0:?} is not UTF-8, which paths of a guest must be")]
    NotText(PathBuf),
}
