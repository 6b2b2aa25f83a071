//! Why a kernel could not be built.

use std::{io, path::PathBuf};

use kernlab_core::outcome::Reason;
use nix::sys::signal::Signal;

use super::{config::ConfigError, config_check::Dropped, missing_tools::MissingTools};
use crate::{
    image::{FilesError, vmlinux::ImageError},
    paths::Location,
    store::StoreError,
};

/// A kernel could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Programs or headers are missing.
    #[error("this machine can't build {id}: {missing_tools}{}", installs(.id, .missing_tools))]
    ToolsMissing {
        id: String,
        /// The programs and headers that are missing or do not work.
        missing_tools: Box<MissingTools>,
    },
    /// An archive can't be unpacked.
    #[error("cannot unpack {archive}")]
    Archive { archive: String, source: io::Error },
    /// A member of an archive would be written outside its directory.
    #[error("{archive} is refused: its member {member:?} points outside of it")]
    Escapes { archive: String, member: String },
    /// The archive or directory does not contain a kernel's source.
    #[error("{place} is not a kernel source: it lacks a Makefile and a Kconfig")]
    NotATree {
        /// The archive or directory.
        place: String,
    },
    /// A kernel was built inside the source directory.
    #[error(
        "{} contains files of an earlier build, which would end up in this one: run `make mrproper` \
         there (it also deletes .config), or name a clean copy, such as `git worktree add` makes",
        .0.display()
    )]
    NotClean(PathBuf),
    /// A configuration is malformed.
    #[error("cannot use the configuration {path}")]
    Config { path: PathBuf, source: ConfigError },
    /// Kconfig dropped options that the lab needs.
    #[error(
        "Kconfig dropped options that the lab needs:\n{0}\nthe whole configuration is in {config}",
        config = .1.display()
    )]
    Dropped(Dropped, PathBuf),
    /// A compiler does not run the assembler that the entry names.
    #[error(
        "{compiler} runs the assembler {}, not the one in the entry's `toolchain`: name a compiler \
         that looks for its assembler in COMPILER_PATH",
        .found.display()
    )]
    OtherAssembler {
        compiler: String,
        /// The assembler that the compiler runs.
        found: PathBuf,
    },
    /// make failed.
    #[error(
        "`{command}` failed ({status}), its full output is in {log}; from there:{said}",
        log = .log.display()
    )]
    Make {
        command: String,
        /// The exit status.
        status: String,
        /// The log with the full output.
        log: PathBuf,
        /// The lines of the log with errors, and the last lines, without progress lines; then which
        /// tool versions the source is known to need.
        said: String,
    },
    /// A signal ended the build.
    #[error("the build was ended by {signal}")]
    Interrupted { signal: Signal },
    /// The kernel would refuse its own BTF.
    #[error(
        "the BTF that {pahole:?} wrote has kinds up to {found}, and this source knows those up to \
         {known}, so the kernel would refuse all of it: name an older pahole in the entry's \
         `toolchain`{advice}"
    )]
    NewerBtf {
        /// pahole's version line.
        pahole: String,
        /// The highest BTF kind in the image.
        found: u32,
        /// The highest BTF kind that the source defines.
        known: u32,
        /// Which tool versions the source is known to need.
        advice: String,
    },
    /// make prints nothing and is assumed to hang.
    #[error(
        "`{command}` printed nothing for {minutes} minutes and was killed; its log is {log}",
        log = .log.display()
    )]
    Silent {
        command: String,
        /// How long make printed nothing.
        minutes: u64,
        /// The log with the full output.
        log: PathBuf,
    },
    /// The built image can't be used.
    #[error("cannot use the built image")]
    Image(#[from] ImageError),
    /// The built image has BTF, or lacks it, contrary to the entry's BTF modes.
    #[error("the image {}, contrary to the entry's BTF modes; the log of the build is {log}",
        if *.has { "has BTF" } else { "has no BTF" }, log = .log.display())]
    Btf {
        /// Whether the image has BTF.
        has: bool,
        /// The log of the build.
        log: PathBuf,
    },
    /// The files of the source can't be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn installs(id: &str, missing_tools: &MissingTools) -> String {
    // Only `cargo xtask` knows how to install them.
    let in_checkout = matches!(Location::current(), Ok(Location::Checkout(_)));
    match in_checkout && missing_tools.can_be_installed() {
        true => format!(": `cargo xtask kernels build {id}` installs what is missing, or says how"),
        false => String::new(),
    }
}

impl BuildError {
    /// Adds to a failure of make which tool versions the source is known to need.
    pub(super) fn advised(self, known: impl FnOnce() -> String) -> Self {
        match self {
            BuildError::Make { command, status, log, said } => {
                BuildError::Make { command, status, log, said: said + &known() }
            }
            other => other,
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        match self {
            BuildError::ToolsMissing { .. } => Reason::ToolsMissing,
            BuildError::Archive { .. } | BuildError::Escapes { .. } => Reason::BadPackage,
            BuildError::Store(_) => Reason::HostIo,
            BuildError::Files(error) => error.reason(),
            BuildError::Interrupted { .. } => Reason::Interrupted,
            BuildError::NotATree { .. }
            | BuildError::NotClean(_)
            | BuildError::OtherAssembler { .. }
            | BuildError::NewerBtf { .. }
            | BuildError::Config { .. }
            | BuildError::Dropped(..)
            | BuildError::Make { .. }
            | BuildError::Silent { .. }
            | BuildError::Image(_)
            | BuildError::Btf { .. } => Reason::BuildFailed,
        }
    }
}

pub(super) fn io_error<'a>(
    action: &'static str,
    path: &'a std::path::Path,
) -> impl FnOnce(io::Error) -> BuildError + 'a {
    move |source| StoreError::io(action, path, source).into()
}
