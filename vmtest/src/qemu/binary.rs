//! Finds QEMU.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use kernlab_kernels::Arch;
use nix::{
    sys::signal::Signal,
    unistd::{AccessFlags, access},
};
use wait_timeout::ChildExt as _;

use super::hardware::Hardware;

/// The environment variable that names the QEMU to use instead of the one in `PATH`: for kernels of this
/// machine's architecture. `KERNLAB_QEMU_AARCH64` names that for kernels of `aarch64`, on every machine.
pub const QEMU_VARIABLE: &str = "KERNLAB_QEMU";

/// Confines QEMU to the system calls that it needs for a guest: it can't start programs, gain rights
/// or change its priority, whatever makes it try.
const SANDBOX: [&str; 2] =
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"];
/// What QEMU says if it, or the kernel below it, has no sandbox: system/vl.c and system/qemu-seccomp.c.
const NO_SANDBOX: [&str; 4] = [
    "There is no option group 'sandbox'",
    "seccomp is not compiled into this build",
    "seccomp support is disabled",
    "failed to install seccomp syscall filter in the kernel",
];
/// The time for the trial of the sandbox; it takes a tenth of a second.
const SANDBOX_TRIAL: Duration = Duration::from_secs(10);

/// An installed QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
    /// Whether its guests run in its sandbox.
    sandbox: bool,
}

/// What came of starting QEMU in its sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SandboxTrial {
    /// QEMU started and ended as it was told to.
    Works,
    /// QEMU says that it has none, or its sandbox ended it.
    Refused(String),
    /// It failed for another reason, which tells nothing of the sandbox.
    Inconclusive,
}

/// No usable QEMU was found.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// QEMU is not in `PATH`.
    #[error(
        "{name} is not in PATH: install QEMU (`cargo xtask setup`), or set {variable} to its path"
    )]
    Missing {
        /// The executable's name.
        name: &'static str,
        /// The variable that may name it.
        variable: String,
    },
    /// The environment variable names something else.
    #[error("{variable} names {path}, which is not an executable file")]
    NotExecutable {
        /// The variable.
        variable: String,
        /// The path that it names.
        path: PathBuf,
    },
    /// The executable did not report its version.
    #[error("could not execute {path}")]
    Execute {
        /// The executable.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

impl Binary {
    /// The QEMU for kernels of this architecture that the environment names, otherwise the one in `PATH`.
    pub fn find(arch: Arch) -> Result<Self, BinaryError> {
        let given = |name: &str| env::var_os(name).filter(|path| !path.is_empty());
        let of_arch = format!("{QEMU_VARIABLE}_{}", arch.name().to_uppercase());
        let is_hosts = Arch::of_this_program() == Some(arch);
        let variable = match given(&of_arch) {
            None if is_hosts => QEMU_VARIABLE.to_owned(),
            _ => of_arch,
        };
        let named = given(&variable);
        Binary::find_in(arch, &variable, named.as_deref(), env::var_os("PATH").as_deref())
    }

    fn find_in(
        arch: Arch,
        variable: &str,
        named: Option<&OsStr>,
        search: Option<&OsStr>,
    ) -> Result<Self, BinaryError> {
        let variable = variable.to_owned();
        if let Some(named) = named {
            let path = std::path::absolute(named).unwrap_or_else(|_| named.into());
            return if is_executable(&path) {
                Ok(Binary { path, sandbox: true })
            } else {
                Err(BinaryError::NotExecutable { variable, path })
            };
        }
        let name = Hardware::of(arch).qemu;
        env::split_paths(search.unwrap_or_default())
            .map(|dir| dir.join(name))
            .find(|path| is_executable(path))
            .map(|path| Binary { path, sandbox: true })
            .ok_or(BinaryError::Missing { name, variable })
    }

    /// A QEMU at this path, without a check.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Binary { path: path.into(), sandbox: true }
    }

    /// The same QEMU, whose guests run without its sandbox.
    #[must_use]
    pub fn without_sandbox(self) -> Self {
        Binary { sandbox: false, ..self }
    }

    /// The arguments that confine it to the system calls that it needs for a guest.
    pub(super) fn confinement(&self) -> &'static [&'static str] {
        if self.sandbox { &SANDBOX } else { &[] }
    }

    /// Starts it without a guest in its sandbox, and ends it.
    pub(crate) fn try_sandbox(&self) -> SandboxTrial {
        const SMALLEST: [&str; 8] = [
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "none",
            "-display",
            "none",
            "-monitor",
            "stdio",
        ];
        let spawned = Command::new(&self.path)
            .args(SMALLEST)
            .args(SANDBOX)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else { return SandboxTrial::Inconclusive };
        let asked = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(b"quit\n"));
        let ended = child.wait_timeout(SANDBOX_TRIAL);
        // It does not outlive the trial.
        let _ = child.kill();
        let Ok(output) = child.wait_with_output() else { return SandboxTrial::Inconclusive };
        let said = String::from_utf8_lossy(&output.stderr);
        match (asked, ended) {
            (Ok(()), Ok(Some(status))) if status.success() => SandboxTrial::Works,
            (_, Ok(Some(status))) if status.signal() == Some(Signal::SIGSYS as i32) => {
                SandboxTrial::Refused("its sandbox ended it (SIGSYS)".to_owned())
            }
            (_, Ok(Some(_))) => {
                let is_refusal = |line: &&str| NO_SANDBOX.iter().any(|words| line.contains(words));
                let refusal = said.lines().find(is_refusal);
                refusal.map_or(SandboxTrial::Inconclusive, |line| {
                    SandboxTrial::Refused(line.to_owned())
                })
            }
            _ => SandboxTrial::Inconclusive,
        }
    }

    /// The path of the executable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line with its version.
    pub fn version(&self) -> Result<String, BinaryError> {
        let output = Command::new(&self.path).arg("--version").stdin(Stdio::null()).output();
        let output =
            output.map_err(|source| BinaryError::Execute { path: self.path.clone(), source })?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use rstest::rstest;

    use super::*;

    fn find_in(named: Option<&str>, search: Option<&str>) -> Result<Binary, BinaryError> {
        let (named, search) = (named.map(AsRef::as_ref), search.map(AsRef::as_ref));
        Binary::find_in(Arch::X86_64, QEMU_VARIABLE, named, search)
    }

    #[test]
    fn the_environment_outranks_the_search() {
        let found = find_in(Some("/bin/sh"), None).unwrap();
        assert_eq!(found.path(), "/bin/sh");
    }

    #[test]
    fn what_is_missing_is_named() {
        let named = find_in(Some("/nonexistent"), Some("/bin"));
        let named = named.unwrap_err().to_string();
        assert_eq!(named, "KERNLAB_QEMU names /nonexistent, which is not an executable file");
        let searched = find_in(None, Some("/nonexistent")).unwrap_err();
        assert!(searched.to_string().starts_with("qemu-system-x86_64 is not in PATH"));
    }

    #[rstest]
    #[case::it_has_none(
        "echo \"qemu: -sandbox on: There is no option group 'sandbox'\" >&2; exit 1",
        SandboxTrial::Refused("qemu: -sandbox on: There is no option group 'sandbox'".to_owned())
    )]
    #[case::the_sandbox_ends_it(
        "kill -SYS $$",
        SandboxTrial::Refused("its sandbox ended it (SIGSYS)".to_owned())
    )]
    #[case::a_library_is_missing(
        "echo 'error while loading shared libraries: libseccomp.so.2' >&2; exit 127",
        SandboxTrial::Inconclusive
    )]
    #[case::somebody_ends_it("kill -KILL $$", SandboxTrial::Inconclusive)]
    #[case::no_memory("echo 'Cannot allocate memory' >&2; exit 1", SandboxTrial::Inconclusive)]
    #[case::it_works("read quit", SandboxTrial::Works)]
    fn a_trial_tells_of_the_sandbox_alone(#[case] script: &str, #[case] expected: SandboxTrial) {
        let dir = tempfile::tempdir().unwrap();
        let qemu = dir.path().join("qemu");
        fs::write(&qemu, format!("#!/bin/sh\nulimit -c 0\n{script}\n")).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(Binary::at(qemu).try_sandbox(), expected);
        assert_eq!(Binary::at("/bin/ls").without_sandbox().confinement(), [""; 0]);
    }

    #[test]
    fn a_qemu_that_is_missing_tells_nothing_of_its_sandbox() {
        assert_eq!(Binary::at("/nonexistent").try_sandbox(), SandboxTrial::Inconclusive);
    }

    #[test]
    fn its_version_is_one_line() {
        // Any program that knows `--version` will do.
        let version = Binary::at("/bin/ls").version().unwrap();
        assert!(version.starts_with("ls ") && !version.contains('\n'), "{version}");
        let error = Binary::at("/nonexistent").version().unwrap_err();
        assert_eq!(error.to_string(), "could not execute /nonexistent");
    }
}
