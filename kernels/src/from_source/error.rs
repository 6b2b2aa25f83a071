//! Why a kernel could not be built.

use std::{io, path::PathBuf};

use kernlab_core::outcome::Reason;
use nix::sys::signal::Signal;

use super::{config::ConfigError, config_check::Dropped, missing_tools::MissingTools};
use crate::{
    image::{FilesError, vmlinux::ImageError},
    store::StoreError,
};

/// A kernel could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Programs or headers are missing.
    #[error("this machine can't build {id}: {missing_tools}{}", installs(.id, .missing_tools))]
    ToolsMissing {
        /// The entry's id.
        id: String,
        /// What is missing, or doesn't work.
        missing_tools: Box<MissingTools>,
    },
    /// An archive can't be unpacked.
    #[error("cannot unpack {archive}")]
    Archive {
        /// Its name.
        archive: String,
        /// Why.
        source: io::Error,
    },
    /// A member of an archive would be written elsewhere.
    #[error("{archive} is refused: its member {member:?} points out of it")]
    Escapes {
        /// Its name.
        archive: String,
        /// The path of the member.
        member: String,
    },
    /// There is no kernel's source where it should be.
    #[error("{place} is no kernel source: it lacks a Makefile and a Kconfig")]
    NotATree {
        /// An archive or a directory.
        place: String,
    },
    /// A directory was built in.
    #[error(
        "{} was built in, and its leftovers would end up in what is built here: run `make mrproper` \
         there (it deletes .config, too), or name a copy such as `git worktree add` makes",
        .0.display()
    )]
    NotClean(PathBuf),
    /// A file of this machine can't be read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A configuration is none.
    #[error("cannot use the configuration {path}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The source dropped options that the lab needs.
    #[error("the configuration has lost what the lab needs:\n{0}\nall of it is in {config}", config = .1.display())]
    Dropped(Dropped, PathBuf),
    /// A compiler does not run the assembler that the entry names.
    #[error(
        "{compiler} runs the assembler {}, whatever the entry's `toolchain` says: name a compiler \
         that looks for its assembler in COMPILER_PATH",
        .found.display()
    )]
    OtherAssembler {
        /// The compiler.
        compiler: String,
        /// The assembler that it runs.
        found: PathBuf,
    },
    /// make failed.
    #[error(
        "`{command}` failed ({status}), all it said is in {log}; from there:{said}",
        log = .log.display()
    )]
    Make {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
        /// All that it said.
        log: PathBuf,
        /// Its lines that tell an error, and the last ones, without those that only tell progress;
        /// then which versions of its tools the source is known to want.
        said: String,
    },
    /// A signal ended the build.
    #[error("the build was ended by {signal}")]
    Interrupted {
        /// Which.
        signal: Signal,
    },
    /// The kernel would refuse its own type information.
    #[error(
        "the BTF that {pahole:?} wrote has kinds up to {found}, and this source knows those up to \
         {known}, so the kernel would refuse all of it: name an older pahole in the entry's \
         `toolchain`{advice}"
    )]
    NewerBtf {
        /// What pahole says of its version.
        pahole: String,
        /// The highest number of a kind in the image.
        found: u32,
        /// The highest that the source defines.
        known: u32,
        /// Which versions of its tools the source is known to want.
        advice: String,
    },
    /// make hangs.
    #[error("`{command}` has said nothing for {minutes} minutes and was killed; its log is {log}", log = .log.display())]
    Silent {
        /// What was run.
        command: String,
        /// For how long.
        minutes: u64,
        /// All that it said.
        log: PathBuf,
    },
    /// What was built is no kernel.
    #[error("what was built is of no use")]
    Image(#[from] ImageError),
    /// What was built has type information, or lacks it, against the entry's BTF modes.
    #[error("the image {}, against the entry's BTF modes; the log of the build is {log}",
        if *.has { "has BTF" } else { "has no BTF" }, log = .log.display())]
    Btf {
        /// Whether the image has type information.
        has: bool,
        /// All that make said.
        log: PathBuf,
    },
    /// The files of its source can't be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn installs(id: &str, missing_tools: &MissingTools) -> String {
    match missing_tools.can_be_installed() {
        true => format!(": `cargo xtask kernels build {id}` installs what is missing, or says how"),
        false => String::new(),
    }
}

impl BuildError {
    /// The same with what the source is known to want, where that may be why.
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
            BuildError::Io { .. } | BuildError::Store(_) => Reason::HostIo,
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
    move |source| match StoreError::io(action, path, source) {
        full @ StoreError::Full { .. } => BuildError::Store(full),
        StoreError::Io { action, path, source } => BuildError::Io { action, path, source },
        other => BuildError::Store(other),
    }
}
