//! Where kernels come from: Debian's and RPM repositories, their mirrors, and what they say.

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
