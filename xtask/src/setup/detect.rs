//! How to see that a requirement is met: cheap questions to a machine.

use std::{fs, path::Path};

use super::{machine::Machine, requirement::Crate};

/// The oldest clang that compiles the BPF programs.
const CLANG_MINIMUM: u32 = 14;

/// Whether a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Detection {
    /// It is; this is where, or which.
    Found(String),
    /// It is not; this is what was looked for.
    Missing(String),
}

/// A program that `cargo install` makes, in a version that does.
pub(crate) fn crate_program(machine: &Machine, wanted: &Crate) -> Detection {
    let Some(path) = machine.program(wanted.name) else { return absent(wanted.name) };
    let answer = machine.answer(&path, &["--version"]).unwrap_or_default();
    match version(&answer) {
        Some(version) if suffices(version, wanted.minimum) => found(path),
        Some((major, minor, patch)) => Detection::Missing(format!(
            "{} is version {major}.{minor}.{patch}, {} is needed",
            path.display(),
            wanted.version
        )),
        None => Detection::Missing(format!("{} does not tell its version", path.display())),
    }
}

fn suffices(version: (u32, u32, u32), minimum: (u32, u32, u32)) -> bool {
    (version.0, version.1) == (minimum.0, minimum.1) && version >= minimum
}

/// A program on the path.
pub(crate) fn program(machine: &Machine, name: &str) -> Detection {
    machine.program(name).map_or_else(|| absent(name), found)
}

/// `$CLANG` if it is set; otherwise the newest of `clang-NN` and `clang`.
pub(crate) fn clang(machine: &Machine) -> Detection {
    if let Some(clang) = machine.clang.as_ref().and_then(|clang| clang.to_str()) {
        return program(machine, clang);
    }
    let newest = machine.numbered_programs("clang-").into_iter().max();
    if let Some((_, path)) = newest.filter(|(version, _)| *version >= CLANG_MINIMUM) {
        return found(path);
    }
    let Some(path) = machine.program("clang") else { return absent("clang") };
    match machine.answer(&path, &["-dumpversion"]).as_deref().and_then(version) {
        Some((major, ..)) if major >= CLANG_MINIMUM => found(path),
        _ => Detection::Missing(format!("{} is older than {CLANG_MINIMUM}", path.display())),
    }
}

/// libelf, and the zstd that it was built with: a static libelf does not bring it along.
pub(crate) fn libelf(machine: &Machine) -> Detection {
    let libelf = libraries(machine, &["libelf.a"], &["libelf.h", "gelf.h"]);
    match &libelf {
        Detection::Found(path) if mentions(Path::new(path), b"ZSTD_") => {
            match libraries(machine, &["libzstd.a"], &[]) {
                Detection::Found(_) => libelf,
                missing => missing,
            }
        }
        _ => libelf,
    }
}

/// Libraries that the C compiler links, and their headers.
pub(crate) fn libraries(machine: &Machine, libraries: &[&str], headers: &[&str]) -> Detection {
    if let Some(header) = headers.iter().find(|header| machine.header(header).is_none()) {
        return absent(header);
    }
    let mut paths = Vec::new();
    for library in libraries {
        match machine.library(library) {
            Some(path) => paths.push(path.display().to_string()),
            None => return absent(library),
        }
    }
    Detection::Found(paths.join(", "))
}

/// The source of the core library, in the toolchain that cargo uses here.
pub(crate) fn rust_source(machine: &Machine) -> Detection {
    let sysroot =
        machine.program("rustc").and_then(|rustc| machine.answer(&rustc, &["--print", "sysroot"]));
    let Some(sysroot) = sysroot else { return absent("rustc") };
    // Cargo builds the core library as a member of this workspace.
    let manifest = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock");
    if manifest.is_file() { found(manifest) } else { absent(&manifest.display().to_string()) }
}

fn found(path: impl AsRef<Path>) -> Detection {
    Detection::Found(path.as_ref().display().to_string())
}

fn absent(what: &str) -> Detection {
    Detection::Missing(format!("no {what}"))
}

fn mentions(file: &Path, needle: &[u8]) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

/// The first `1.2.3` or `1.2` of a program's answer to `--version`.
fn version(answer: &str) -> Option<(u32, u32, u32)> {
    answer.split_whitespace().find_map(|word| {
        let mut numbers = word.split('.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    })
}
