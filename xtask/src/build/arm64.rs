//! The programs for guests of arm64, which are compiled on any machine.

use std::time::Duration;

use super::guest_build;
use crate::{invocation::Invocation, workspace};

/// The architecture, as `uname -m` prints it: the name of their directory.
pub(super) const ARCH: &str = "aarch64";
/// The architecture, as rustc names it.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Compiles and links for it: `gcc-aarch64-linux-gnu` of Debian.
const COMPILER: &str = "aarch64-linux-gnu-gcc";
const ARCHIVER: &str = "aarch64-linux-gnu-ar";
/// How long rustup may take to download the standard library.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(5 * 60);
/// How long rustc may take to say where it is.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// The build of the programs.
pub(super) fn build() -> Invocation {
    let build = guest_build(TARGET)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", COMPILER)
        .env("CC_aarch64_unknown_linux_gnu", COMPILER)
        .env("AR_aarch64_unknown_linux_gnu", ARCHIVER);
    match has_library() {
        true => build,
        // Compiles it from its source, which BPF programs in Rust need anyway. Cargo of a stable toolchain
        // does that only if it is told to act like an unstable one.
        false => build.args(["-Zbuild-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1"),
    }
}

/// Whether the toolchain has the standard library for arm64. If not, and rustup can download it, it has.
fn has_library() -> bool {
    let print = ["--print", "target-libdir", "--target", TARGET];
    let in_toolchain = || {
        let dir = Invocation::new("rustc").args(print).dir(&workspace::root());
        dir.read(ANSWER_DEADLINE).is_ok_and(|dir| std::path::Path::new(dir.trim()).is_dir())
    };
    let add = Invocation::new("rustup").args(["target", "add", TARGET]).dir(&workspace::root());
    // Without rustup, or without a network, the source is there.
    in_toolchain() || add.read(DOWNLOAD_DEADLINE).is_ok() && in_toolchain()
}
