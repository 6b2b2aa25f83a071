//! Looks for programs and libraries on a machine.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum as _;

use crate::{architecture::Architecture, invocation::Invocation, workspace};

/// `--version` and the like never take this long, even on a busy machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Where a machine has its programs. Tests use a made-up one.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The directories of `$PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// `$CLANG`: the compiler that the user chose.
    pub(crate) clang: Option<String>,
    /// The emulators that the user chose, as in the lab: `$KERNLAB_QEMU_AARCH64` or `$KERNLAB_QEMU_X86_64`,
    /// and for this machine's architecture `$KERNLAB_QEMU` as well.
    pub(crate) qemu: Vec<(Architecture, String)>,
    /// The checkout of this repository.
    pub(crate) workspace: PathBuf,
}

impl Machine {
    /// This machine.
    pub(crate) fn this() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let qemu = |&arch: &Architecture| {
            let of_arch = set(&format!("KERNLAB_QEMU_{}", arch.facts().name.to_uppercase()));
            let of_host = || set("KERNLAB_QEMU").filter(|_| arch == Architecture::host());
            Some((arch, of_arch.or_else(of_host)?))
        };
        Machine {
            path: env::split_paths(&path).collect(),
            clang: set("CLANG"),
            qemu: Architecture::value_variants().iter().filter_map(qemu).collect(),
            workspace: workspace::root(),
        }
    }

    /// The emulator that the user chose for an architecture.
    pub(crate) fn qemu(&self, arch: Architecture) -> Option<&str> {
        let chosen = self.qemu.iter().find(|(of, _)| *of == arch);
        chosen.map(|(_, path)| path.as_str())
    }

    /// The program that a shell would run for this name, or the one at this path.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return std::path::absolute(name).ok().filter(|path| is_program(path));
        }
        self.path.iter().map(|dir| dir.join(name)).find(|path| is_program(path))
    }

    /// Programs whose names are `prefix` and a number, with the number: `clang-19`.
    pub(crate) fn numbered_programs(&self, prefix: &str) -> Vec<(u32, PathBuf)> {
        let entries = self.path.iter().filter_map(|dir| fs::read_dir(dir).ok());
        let paths = entries.flatten().filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .filter_map(|path| {
                let number = path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok()?;
                is_program(&path).then_some((number, path))
            })
            .collect()
    }

    /// The output of a program, if it exits with 0.
    pub(crate) fn answer(&self, program: &Path, args: &[&str]) -> Option<String> {
        let program = program.to_str()?;
        Invocation::new(program).args(args.iter().copied()).read(ANSWER_DEADLINE).ok()
    }

    /// The file that the C compiler would link for this name: `libc.a`.
    pub(crate) fn library(&self, file: &str) -> Option<PathBuf> {
        let question = format!("-print-file-name={file}");
        let answer = self.answer(&self.program("cc")?, &[&question])?;
        // A compiler that does not find the file answers with its bare name.
        let path = Path::new(answer.trim());
        path.is_absolute().then(|| path.canonicalize().ok())?
    }
}

/// Whether this process has the rights of root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_program_wherever_it_begins() {
        let machine = Machine { path: Vec::new(), ..Machine::this() };
        let script = workspace::root().join("scripts/bootstrap");
        let found = machine.program(script.to_str().unwrap()).unwrap();
        assert_eq!(found, script);
        // Tests run in the directory of their crate.
        let found = machine.program("../scripts/bootstrap").unwrap();
        assert!(found.is_absolute(), "{}", found.display());
        assert_eq!(machine.program("../Cargo.toml"), None, "it can't be executed");
        assert_eq!(machine.program("bootstrap"), None);
    }
}
