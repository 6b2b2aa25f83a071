//! Kernels: from an entry of `kernels.toml` to an image that boots, and its modules.
//!
//! ```text
//! Entry --resolve--> Resolved --fetch--> Fetched --unpack--> Unpacked
//! ```
//!
//! [`Kernels::select`] picks entries. `resolve` looks each up in the lock and adds it if it is
//! missing. `fetch` downloads the locked files into the [`Store`]. `unpack` makes the kernel
//! bootable. Only [`Kernels::update`] changes existing lock entries.

mod address;
mod busybox;
mod catalog;
mod compression;
mod digest;
mod document;
mod error_chain;
mod from_source;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod image;
pub mod interruption;
mod package;
pub mod paths;
mod progress;
mod replace;
mod repository;
mod signature;
mod similar;
mod store;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub use self::{
    busybox::{Busybox, BusyboxError},
    catalog::{
        Fetched, Kernels, OpenError, Resolved, State,
        add::{AddError, AddOptions, Proposal, Request, nearest},
        error::{Error, ErrorKind, LockRefusal},
        first_use::LOCKED_VARIABLE,
        kernel::{Image, UNKNOWN_RELEASE, Unpacked},
        lock::{Change, Lock, LockedFile, LockedKernel, Place, Role},
        lock_file::LockFileError,
        matrix::{
            Arch, BtfArchive, BtfArchivePlace, BtfFile, BuildSource, DebSource, Deviation, Entry,
            FileSource, MEMORY_RANGE_MIB, Matrix, Origin, PROCESSORS_RANGE, Release, RpmDir,
            RpmSource, Source, Tier, Toolchain, TreeSource, UrlSource,
        },
        select::{Archs, Chosen, SelectError, Selection, Tiers, select},
    },
    compression::decompressed,
    digest::Digest,
    document::{Document, DocumentError, Position},
    error_chain::chain,
    from_source::{
        BuildError, Config, ConfigError, Dropped, MissingTools, OptionState, Requirement, Scope,
        Value,
        build_tools::INSTALLER_VARIABLE,
        check::{CheckError, Examined, ImageTraits, Suitability, Unsatisfied, examine},
        requirements,
    },
    image::{
        FilesError, btf_of_image,
        error::{ExternalBtfError, ModuleError},
        modules::{Module, ModuleSet, Modules},
        placeholder_arm64_kernel, placeholder_kernel,
        vmlinux::ImageError,
    },
    progress::{Event, Observer, Silent},
    replace::{replace_file, replace_private_file},
    repository::{
        download::OFFLINE_VARIABLE,
        fetch::{FetchError, MirrorAttempt},
        snapshot::SnapshotDate,
        update::{
            RepositoryError, Resolution, Unproven, Unresolved, Unverified, Update, UpdateError,
            Verification, Verified,
        },
    },
    signature::SignedBy,
    store::{
        ContentDigests, Item, Kind, Object, Part, Store, StoreError, StoreLock, Sweep, is_run,
        lock_within,
    },
};

/// Whether an environment variable is set to anything other than an empty string, `0`, `no`,
/// `false` or `off`.
fn is_set(variable: &str) -> bool {
    let no = ["", "0", "no", "false", "off"];
    std::env::var_os(variable).is_some_and(|value| no.iter().all(|no| value != *no))
}
