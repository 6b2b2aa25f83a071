//! Kernel packages in Debian and RPM repositories: mirrors, metadata and downloads.

mod apt;
pub(crate) mod deb;
pub(crate) mod dependencies;
pub(crate) mod download;
pub(crate) mod fetch;
pub(crate) mod mirror;
pub(crate) mod rpm;
pub(crate) mod snapshot;
pub(crate) mod update;
mod yum;
