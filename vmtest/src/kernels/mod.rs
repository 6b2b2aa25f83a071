//! Kernels: from an entry of `kernels.toml` to an image that boots, and its modules.
//!
//! ```text
//! Entry --resolve--> Resolved --fetch--> Fetched --unpack--> Unpacked
//! ```
//!
//! [`Kernels::select`] picks entries, `resolve` reads the lock and adds what it lacks, `fetch` brings
//! what is locked into the [`Store`], `unpack` makes it bootable. Only [`Kernels::update`] changes what
//! is locked.

mod add;
mod apt;
mod btf_mode;
mod build;
mod build_tools;
mod check;
mod compression;
mod deb;
mod dependencies;
mod digest;
mod document;
mod download;
mod error;
mod external_btf;
mod fetch;
mod first_use;
mod garbage;
mod local;
mod lock;
mod lock_file;
mod manifest;
mod matrix;
mod mirror;
mod modules;
mod observer;
mod package;
mod packaged;
mod phases;
mod rpm;
mod select;
mod signature;
mod snapshot;
mod store;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod unpack;
mod update;
mod vmlinux;
mod yum;

pub use self::{
    add::{AddError, AddOptions, Proposal, Request, nearest},
    build::{
        BuildError, Config, ConfigError, Dropped, MissingTools, OptionState, Requirement, Scope,
        Value, requirements,
    },
    build_tools::INSTALLER_VARIABLE,
    check::{CheckError, Examined, ImageTraits, Suitability, Unsatisfied, examine},
    digest::Digest,
    document::{DocumentError, Position},
    download::OFFLINE_VARIABLE,
    error::{Error, ErrorKind, LockRefusal, MirrorAttempt, chain},
    first_use::LOCKED_VARIABLE,
    lock::{Change, Lock, LockedFile, LockedKernel, Place, Role},
    lock_file::LockFileError,
    matrix::{
        Arch, BuildSource, DebSource, Deviation, Entry, FileSource, Matrix, Origin, Release,
        RpmDir, RpmSource, Source, Tier, Toolchain, TreeSource, UrlSource,
    },
    modules::{Module, ModuleError, ModuleSet, Modules},
    observer::{Event, Observer, Silent},
    phases::{Fetched, Image, Kernels, OpenError, Resolved, State, UNKNOWN_RELEASE, Unpacked},
    select::{Chosen, LeftOut, SelectError, Selection, Tiers, select},
    signature::SignedBy,
    snapshot::SnapshotDate,
    store::{Item, Kind, Object, Store, StoreError, Sweep},
    update::{
        RepositoryError, Resolution, Unproven, Unresolved, Unverified, Update, UpdateError,
        Verification, Verified,
    },
    vmlinux::ImageError,
};
pub(crate) use self::{document::Document, store::lock_within};

/// Whether a variable of the environment switches something on: it says neither nothing nor no.
fn is_set(variable: &str) -> bool {
    let no = ["", "0", "no", "false", "off"];
    std::env::var_os(variable).is_some_and(|value| no.iter().all(|no| value != *no))
}
