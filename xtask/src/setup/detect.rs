//! Checks whether requirements are met, without slow commands.

use std::path::Path;

use super::{machine::Machine, requirement::Crate};
use crate::{architecture::Architecture, workflows};

/// The oldest clang that compiles the BPF programs.
const CLANG_MINIMUM: u32 = 14;

/// Whether a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Detection {
    /// It is met, by this.
    Found(String),
    /// It is not met: what is missing.
    Missing(String),
}

/// A program that `cargo install` makes, in a suitable version.
pub(crate) fn crate_program(machine: &Machine, wanted: &Crate) -> Detection {
    let Some(path) = machine.program(wanted.name) else { return absent(wanted.name) };
    // Some commands of cargo answer only as cargo calls them: `cargo-deny deny --version`.
    let subcommand = wanted.name.trim_start_matches("cargo-");
    let answer = machine
        .answer(&path, &["--version"])
        .or_else(|| machine.answer(&path, &[subcommand, "--version"]))
        .unwrap_or_default();
    judge_version(&path, &answer, wanted)
}

fn judge_version(path: &Path, answer: &str, wanted: &Crate) -> Detection {
    let path = path.display();
    match version(answer) {
        Some(version) if suffices(version, wanted.minimum) => Detection::Found(path.to_string()),
        Some((major, minor, patch)) => Detection::Missing(format!(
            "{path} is version {major}.{minor}.{patch}, {} is needed",
            wanted.version
        )),
        None => Detection::Missing(format!("{path} does not print its version")),
    }
}

fn suffices(version: (u32, u32, u32), minimum: (u32, u32, u32)) -> bool {
    (version.0, version.1) == (minimum.0, minimum.1) && version >= minimum
}

/// A program on the path.
pub(crate) fn program(machine: &Machine, name: &str) -> Detection {
    machine.program(name).map_or_else(|| absent(name), found)
}

/// Several programs on the path.
pub(crate) fn programs(machine: &Machine, names: &[&str]) -> Detection {
    let absent = names.iter().filter(|name| machine.program(name).is_none());
    match absent.copied().collect::<Vec<_>>().join(", no ") {
        none if none.is_empty() => Detection::Found(names.join(", ")),
        some => Detection::Missing(format!("no {some}")),
    }
}

/// The QEMU for an architecture: the one that the user chose, or the one on the path.
pub(crate) fn qemu(machine: &Machine, arch: Architecture) -> Detection {
    program(machine, machine.qemu(arch).unwrap_or(arch.facts().qemu))
}

/// What compiles for another architecture, and puts together what it compiled with this other tool.
pub(crate) fn cross_compiler(machine: &Machine, other: Architecture, tool: &str) -> Detection {
    let compiler = other.facts().compiler;
    programs(machine, &[compiler, &compiler.replace("gcc", tool)])
}

/// `$CLANG` if it is set; otherwise the newest `clang-NN`, or `clang`: as in the build.
pub(crate) fn clang(machine: &Machine) -> Detection {
    if let Some(clang) = &machine.clang {
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

/// A library that the C compiler links.
pub(crate) fn library(machine: &Machine, file: &str) -> Detection {
    machine.library(file).map_or_else(|| absent(file), found)
}

/// Several libraries that the C compiler links.
pub(crate) fn libraries(machine: &Machine, files: &[&str]) -> Detection {
    let absent = files.iter().filter(|file| machine.library(file).is_none());
    match absent.copied().collect::<Vec<_>>().join(", no ") {
        none if none.is_empty() => Detection::Found(files.join(", ")),
        some => Detection::Missing(format!("no {some}")),
    }
}

/// A header that the C compiler finds.
pub(crate) fn header(machine: &Machine, name: &str) -> Detection {
    let Some(compiler) = machine.program("gcc") else { return absent("gcc") };
    let args = ["-fsyntax-only", "-include", name, "-x", "c", "/dev/null"];
    match machine.answer(&compiler, &args) {
        Some(_) => found(name),
        None => absent(name),
    }
}

/// The core library's source, in the toolchain that cargo uses here.
pub(crate) fn rust_source(machine: &Machine) -> Detection {
    let sysroot =
        machine.program("rustc").and_then(|rustc| machine.answer(&rustc, &["--print", "sysroot"]));
    let Some(sysroot) = sysroot else { return absent("rustc") };
    // Cargo builds the core library as a member of the workspace that this file belongs to.
    let lock = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock");
    if lock.is_file() { found(lock) } else { absent(&lock.display().to_string()) }
}

/// The linters, in our own environment or on the path.
pub(crate) fn linters(machine: &Machine) -> Detection {
    match workflows::missing(&machine.workspace, &machine.path) {
        None => Detection::Found(workflows::PROGRAMS.join(", ")),
        Some(missing) => Detection::Missing(format!("no {}", missing.join(", no "))),
    }
}

/// Python with its module `venv`, which Debian has in a separate package. Not needed if the linters are
/// installed.
pub(crate) fn python_environments(machine: &Machine) -> Detection {
    if let Detection::Found(linters) = linters(machine) {
        return Detection::Found(format!("not needed for {linters}"));
    }
    let Some(python) = machine.program("python3") else { return absent("python3") };
    match machine.answer(&python, &["-c", "import ensurepip, venv"]) {
        Some(_) => found(python),
        None => absent("ensurepip or venv for python3"),
    }
}

fn found(path: impl AsRef<Path>) -> Detection {
    Detection::Found(path.as_ref().display().to_string())
}

fn absent(what: &str) -> Detection {
    Detection::Missing(format!("no {what}"))
}

/// The first `1.2.3` or `1.2` of a program's answer to `--version`.
fn version(answer: &str) -> Option<(u32, u32, u32)> {
    answer.split_whitespace().find_map(|word| {
        let mut numbers = word.split('.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::OpenOptionsExt as _};

    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    /// A machine with only these programs, which are empty files.
    fn machine(programs: &[&str]) -> (TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for program in programs {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o755);
            options.open(dir.path().join(program)).unwrap();
        }
        let path = vec![dir.path().to_owned()];
        let workspace = dir.path().join("workspace");
        (dir, Machine { path, clang: None, qemu: Vec::new(), workspace })
    }

    fn name(detection: Detection) -> String {
        match detection {
            Detection::Found(path) => path.rsplit('/').next().unwrap().to_owned(),
            Detection::Missing(sought) => sought,
        }
    }

    #[rstest]
    #[case(&["clang-9", "clang-15", "clang-22", "clang"], "clang-22")]
    #[case(&["clang-14", "clang-format-19", "clang-tidy"], "clang-14")]
    #[case(&["clang-13"], "no clang")]
    #[case(&[], "no clang")]
    fn the_newest_clang_is_taken(#[case] programs: &[&str], #[case] expected: &str) {
        let (_dir, machine) = machine(programs);
        assert_eq!(name(clang(&machine)), expected);
    }

    #[test]
    fn what_the_user_insists_on_is_taken() {
        let (_dir, mut machine) = machine(&["clang-22", "my-clang", "qemu-system-x86_64"]);
        machine.clang = Some("my-clang".to_owned());
        assert_eq!(name(clang(&machine)), "my-clang");
        machine.qemu = vec![(Architecture::Aarch64, "/nowhere/qemu".to_owned())];
        assert_eq!(name(qemu(&machine, Architecture::Aarch64)), "no /nowhere/qemu");
        assert_eq!(name(qemu(&machine, Architecture::X86_64)), "qemu-system-x86_64");
        machine.qemu.clear();
        assert_eq!(name(qemu(&machine, Architecture::Aarch64)), "no qemu-system-aarch64");
    }

    #[test]
    fn who_has_the_linters_needs_no_python() {
        let (_dir, bare) = machine(&["zizmor"]);
        assert_eq!(name(linters(&bare)), "no actionlint, no mdbook, no shellcheck");
        assert_eq!(name(python_environments(&bare)), "no python3");
        let (_dir, machine) = machine(&["actionlint", "mdbook", "shellcheck", "zizmor"]);
        for detection in [linters(&machine), python_environments(&machine)] {
            assert!(matches!(detection, Detection::Found(_)), "{detection:?}");
        }
    }

    #[test]
    fn an_empty_machine_lacks_everything() {
        let (_dir, machine) = machine(&[]);
        for requirement in super::super::requirement::all() {
            let detection = requirement.detect(&machine);
            assert!(matches!(detection, Detection::Missing(_)), "{}", requirement.name);
        }
    }

    #[rstest]
    #[case::exact("bpf-linker 0.10.1", true)]
    #[case::newer("bpf-linker 0.10.12 (abc 2026-01-01)", true)]
    #[case::older("bpf-linker 0.9.15", false)]
    #[case::incompatible("bpf-linker 0.11.0", false)]
    #[case::silent("", false)]
    fn versions_are_judged(#[case] answer: &str, #[case] expected: bool) {
        let wanted = Crate {
            name: "bpf-linker",
            version: "0.10.1",
            minimum: (0, 10, 1),
            options: &[],
            archive: None,
        };
        let detection = judge_version(Path::new("/bin/bpf-linker"), answer, &wanted);
        assert_eq!(matches!(detection, Detection::Found(_)), expected, "{detection:?}");
    }
}
