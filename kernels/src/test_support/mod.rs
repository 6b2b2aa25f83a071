//! Packages, images and repositories that are generated for tests.

pub(crate) mod archive;
pub(crate) mod author;
pub(crate) mod image;
pub(crate) mod repository;
pub(crate) mod rpm;
pub(crate) mod server;
pub(crate) mod suite;
