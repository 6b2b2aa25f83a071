//! The programs for guests of another architecture than this machine's.

use std::{path::Path, time::Duration};

use super::guest_build;
use crate::{architecture::Architecture, invocation::Invocation, workspace};

/// How long rustup may take to download the standard library.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(5 * 60);
/// How long rustc may take to say where it is.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// The build of the programs.
pub(super) fn build(arch: Architecture) -> Invocation {
    let build = cross_build(arch);
    match has_library(arch.facts().target) {
        true => build,
        // Compiles it from its source, which BPF programs in Rust need anyway. Cargo of a stable toolchain
        // does that only if it is told to act like an unstable one.
        false => build.args(["-Zbuild-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1"),
    }
}

/// The same where the toolchain has the standard library.
fn cross_build(arch: Architecture) -> Invocation {
    let facts = arch.facts();
    let target = facts.target.replace('-', "_");
    guest_build(facts.target)
        .env(&format!("CARGO_TARGET_{}_LINKER", target.to_uppercase()), facts.compiler)
        .env(&format!("CC_{target}"), facts.compiler)
        .env(&format!("AR_{target}"), facts.archiver)
}

/// Whether the toolchain has the standard library for this target, which rustup downloads if it can.
fn has_library(target: &str) -> bool {
    let print = ["--print", "target-libdir", "--target", target];
    let in_toolchain = || {
        let dir = Invocation::new("rustc").args(print).dir(&workspace::root());
        dir.read(ANSWER_DEADLINE).is_ok_and(|dir| Path::new(dir.trim()).is_dir())
    };
    let add = Invocation::new("rustup").args(["target", "add", target]).dir(&workspace::root());
    // Without rustup, or without a network, the source is there.
    in_toolchain() || add.read(DOWNLOAD_DEADLINE).is_ok() && in_toolchain()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::on_x86_64(
        Architecture::X86_64,
        [
            "--target aarch64-unknown-linux-gnu ",
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc ",
            "CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc ",
            "AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar ",
        ]
    )]
    #[case::on_arm64(
        Architecture::Aarch64,
        [
            "--target x86_64-unknown-linux-gnu ",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc ",
            "CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc ",
            "AR_x86_64_unknown_linux_gnu=x86_64-linux-gnu-ar ",
        ]
    )]
    fn the_other_architecture_has_a_cross_compiler(
        #[case] host: Architecture,
        #[case] parts: [&str; 4],
    ) {
        let build = cross_build(host.other()).to_string();
        assert!(parts.iter().all(|part| build.contains(part)), "{build}");
    }
}
