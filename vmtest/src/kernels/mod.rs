//! Kernels: from an entry of `kernels.toml` to an image that boots, and its modules.
//!
//! ```text
//! Entry --resolve--> Resolved --fetch--> Fetched --unpack--> Unpacked
//! ```
//!
//! [`Kernels::select`] picks entries, `resolve` reads the lock, `fetch` brings what is locked into
//! the [`Store`], `unpack` makes it bootable. Only [`Kernels::update`] asks repositories what they
//! have, and only it writes a lock.

mod add;
mod apt;
mod build;
mod check;
mod closure;
mod compression;
mod deb;
mod digest;
mod document;
mod download;
mod error;
mod external_btf;
mod fetch;
mod garbage;
mod local;
mod lock;
mod manifest;
mod matrix;
mod mirror;
mod modules;
mod observer;
mod package;
mod packaged;
mod phases;
mod rpm;
#[cfg(test)]
mod sample;
mod select;
mod signature;
mod store;
#[cfg(test)]
mod tests;
mod unpack;
mod update;
mod vmlinux;
mod yum;

pub(crate) use self::document::Document;
pub use self::{
    add::{AddError, Proposal, Request, Wishes, nearest},
    build::{
        BuildError, Config, ConfigError, Dropped, Lacking, Requirement, Scope, Standing, Value,
        requirements,
    },
    check::{CheckError, Examined, ImageTraits, Suitability, Unmet, examine},
    digest::Digest,
    document::{DocumentError, Position},
    download::OFFLINE_VARIABLE,
    error::{Attempt, Error, ErrorKind, chain},
    lock::{Change, Lock, LockedFile, LockedKernel, Place, Role},
    matrix::{
        Arch, BuildSource, DebSource, Deviation, Entry, FileSource, Matrix, Origin, Release,
        RpmFolder, RpmSource, Source, Tier, TreeSource, UrlSource,
    },
    modules::{Module, ModuleError, ModuleSet, Modules},
    observer::{Event, Observer, Silent},
    phases::{Fetched, Image, Kernels, OpenError, Resolved, State, UNKNOWN_RELEASE, Unpacked},
    select::{SelectError, select},
    store::{Item, Kind, Object, Store, StoreError, Sweep},
    update::{RepositoryError, Unresolved, Update, UpdateError},
    vmlinux::ImageError,
};
