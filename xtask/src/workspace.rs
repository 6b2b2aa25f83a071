//! The location of this repository.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The directory of the workspace's `Cargo.toml`.
///
/// Cargo passes the crate's directory at run time, so a checkout that was moved needs no rebuild.
pub(crate) fn root() -> PathBuf {
    let xtask =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask).parent().expect("xtask is a directory of the workspace").to_owned()
}
