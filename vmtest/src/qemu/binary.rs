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
/// The time for the trial of the sandbox; it takes a tenth of a second.
const SANDBOX_TRIAL: Duration = Duration::from_secs(10);

/// An installed QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
    /// Whether its guests run in its sandbox.
    sandbox: bool,
}

/// Why QEMU's guests can't run in its sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoSandbox {
    pub(crate) why: String,
    /// Whether QEMU refused. Otherwise it was ended from outside or did not run, which tells nothing of
    /// its sandbox.
    pub(crate) is_certain: bool,
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
            let path = PathBuf::from(named);
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

    /// Starts it without a guest in its sandbox, and ends it. Returns what it says if it can't: it
    /// was built without a sandbox, or its host's kernel has none.
    pub(crate) fn try_sandbox(&self) -> Result<(), NoSandbox> {
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
        let unknown = |why: String| NoSandbox { why, is_certain: false };
        let mut child = spawned.map_err(|error| unknown(error.to_string()))?;
        let asked = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(b"quit\n"));
        let ended = child.wait_timeout(SANDBOX_TRIAL);
        // It does not outlive the trial.
        let _ = child.kill();
        let output = child.wait_with_output().map_err(|error| unknown(error.to_string()))?;
        match (asked, ended) {
            (Ok(()), Ok(Some(status))) if status.success() => Ok(()),
            (_, Ok(None)) => {
                Err(unknown(format!("it did not end within {} s", SANDBOX_TRIAL.as_secs())))
            }
            (_, Ok(Some(_))) | (_, Err(_)) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().rfind(|line| !line.trim().is_empty());
                let why = last.map_or_else(|| output.status.to_string(), str::to_owned);
                // The sandbox ends a program with SIGSYS.
                let by_others = |signal: i32| signal != Signal::SIGSYS as i32;
                let is_certain = !output.status.signal().is_some_and(by_others);
                Err(NoSandbox { why, is_certain })
            }
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

    #[test]
    fn a_program_that_is_no_qemu_has_no_sandbox() {
        // It does not know the options, and says so.
        let refused = Binary::at("/bin/ls").try_sandbox().unwrap_err();
        assert!(refused.why.contains("ls") && refused.is_certain, "{refused:?}");
        let missing = Binary::at("/nonexistent").try_sandbox().unwrap_err();
        assert!(missing.why.contains("No such file") && !missing.is_certain, "{missing:?}");
        assert_eq!(Binary::at("/bin/ls").without_sandbox().confinement(), [""; 0]);
    }

    #[rstest]
    #[case::from_outside("KILL", false)]
    #[case::by_the_sandbox("SYS", true)]
    fn a_signal_tells_of_the_sandbox_if_it_is_its_own(#[case] signal: &str, #[case] tells: bool) {
        let dir = tempfile::tempdir().unwrap();
        let qemu = dir.path().join("qemu");
        fs::write(&qemu, format!("#!/bin/sh\nkill -{signal} $$\n")).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Binary::at(qemu).try_sandbox().unwrap_err();
        assert_eq!(refused.is_certain, tells, "{refused:?}");
        assert!(refused.why.starts_with("signal: "), "{refused:?}");
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
