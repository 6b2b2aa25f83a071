//! Finds QEMU.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{AccessFlags, access};

use super::x86_64;

/// The environment variable that names the QEMU to use instead of the one in `PATH`.
pub const QEMU_VARIABLE: &str = "KERNLAB_QEMU";

/// An installed QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
}

/// No usable QEMU was found.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// QEMU is not in `PATH`.
    #[error(
        "{name} is not in PATH: install QEMU (`cargo xtask setup`), or set {QEMU_VARIABLE} to its path"
    )]
    Missing {
        /// The executable's name.
        name: &'static str,
    },
    /// The environment variable names something else.
    #[error("{QEMU_VARIABLE} names {path}, which is not an executable file")]
    NotExecutable {
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
    /// The QEMU that `$KERNLAB_QEMU` names, otherwise the one in `PATH`.
    pub fn find() -> Result<Self, BinaryError> {
        Binary::find_in(env::var_os(QEMU_VARIABLE).as_deref(), env::var_os("PATH").as_deref())
    }

    fn find_in(named: Option<&OsStr>, search: Option<&OsStr>) -> Result<Self, BinaryError> {
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            let path = PathBuf::from(named);
            return if is_executable(&path) {
                Ok(Binary { path })
            } else {
                Err(BinaryError::NotExecutable { path })
            };
        }
        env::split_paths(search.unwrap_or_default())
            .map(|dir| dir.join(x86_64::QEMU))
            .find(|path| is_executable(path))
            .map(|path| Binary { path })
            .ok_or(BinaryError::Missing { name: x86_64::QEMU })
    }

    /// A QEMU at this path, without a check.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Binary { path: path.into() }
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
    use super::*;

    #[test]
    fn the_environment_outranks_the_search() {
        let found = Binary::find_in(Some("/bin/sh".as_ref()), None).unwrap();
        assert_eq!(found.path(), "/bin/sh");
    }

    #[test]
    fn what_is_missing_is_named() {
        let named = Binary::find_in(Some("/nonexistent".as_ref()), Some("/bin".as_ref()));
        let named = named.unwrap_err().to_string();
        assert_eq!(named, "KERNLAB_QEMU names /nonexistent, which is not an executable file");
        let searched = Binary::find_in(None, Some("/nonexistent".as_ref())).unwrap_err();
        assert!(searched.to_string().starts_with("qemu-system-x86_64 is not in PATH"));
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
