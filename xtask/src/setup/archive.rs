//! Downloads programs from their projects' releases, with a pinned digest.
//!
//! curl, sha256sum and tar do the work. Crates for it would make xtask, and so every command, slower to
//! build.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

/// A compressed tar archive with a program in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    /// Its address.
    pub(crate) url: &'static str,
    /// Its digest.
    pub(crate) sha256: &'static str,
    /// The path of the program in it.
    pub(crate) member: &'static str,
}

/// Installs the program into the directory of `cargo install`.
pub(crate) fn install(archive: &Archive) -> Result<()> {
    install_into(archive, &programs_of_cargo()?)
        .with_context(|| format!("failed to get {}", archive.url))
}

fn install_into(archive: &Archive, programs: &Path) -> Result<()> {
    let Archive { url, sha256, member } = archive;
    let sh = Shell::new()?;
    let scratch = sh.create_temp_dir()?;
    let scratch = scratch.path();
    let file = scratch.join("archive");
    // Redirections stay encrypted; the digest is checked all the same.
    let strict = ["--fail", "--silent", "--show-error", "--location", "--proto-redir", "=https"];
    // A server that hardly answers is one that this machine can't reach. The archives have a few megabytes.
    let limits = ["--connect-timeout", "10", "--speed-limit", "1000", "--speed-time", "20"];
    cmd!(sh, "curl {strict...} {limits...} --max-time 300 --output {file} {url}").quiet().run()?;
    let digest = cmd!(sh, "sha256sum {file}").quiet().read()?;
    let digest = digest.split_whitespace().next().unwrap_or_default();
    ensure!(digest == *sha256, "its SHA-256 is {digest}, not {sha256}");
    cmd!(sh, "tar --extract --gzip --no-same-owner --file {file} --directory {scratch} {member}")
        .quiet()
        .run()?;
    let program = scratch.join(member);
    place(&program, programs).with_context(|| format!("failed to write to {}", programs.display()))
}

/// Copies a program into a directory, atomically.
fn place(program: &Path, dir: &Path) -> Result<()> {
    let name = program.file_name().context("the program has no name")?;
    fs::create_dir_all(dir)?;
    let copy =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempfile_in(dir)?;
    fs::copy(program, copy.path())?;
    // The archive may have been made with other permissions.
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755))?;
    copy.persist(dir.join(name))?;
    Ok(())
}

/// The directory of `cargo install`, except that a root in cargo's configuration is ignored:
/// <https://doc.rust-lang.org/cargo/commands/cargo-install.html>
fn programs_of_cargo() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("CARGO_INSTALL_ROOT")
        .or_else(|| set("CARGO_HOME"))
        .or_else(|| Some(set("HOME")?.join(".cargo")));
    Ok(root.context("neither $CARGO_HOME nor $HOME is set")?.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive as projects release them, with a program in a directory.
    fn release(dir: &Path) -> (&'static str, String) {
        fs::create_dir_all(dir.join("tool-1.0")).unwrap();
        fs::write(dir.join("tool-1.0/tool"), "#!/bin/sh\n").unwrap();
        let file = dir.join("tool.tar.gz");
        let sh = Shell::new().unwrap();
        cmd!(sh, "tar --create --gzip --file {file} --directory {dir} tool-1.0").run().unwrap();
        let digest = cmd!(sh, "sha256sum {file}").read().unwrap();
        let url: &'static str = format!("file://{}", file.display()).leak();
        (url, digest.split_whitespace().next().unwrap().to_owned())
    }

    #[test]
    fn a_program_comes_from_the_archive_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let (url, digest) = release(dir.path());
        let programs = dir.path().join("bin");
        let archive = Archive { url, sha256: digest.leak(), member: "tool-1.0/tool" };
        install_into(&archive, &programs).unwrap();
        let program = programs.join("tool");
        assert_eq!(fs::read_to_string(&program).unwrap(), "#!/bin/sh\n");
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(&programs).unwrap().count(), 1);
    }

    #[test]
    fn another_archive_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (url, digest) = release(dir.path());
        let programs = dir.path().join("bin");
        let archive = Archive { url, sha256: "00", member: "tool-1.0/tool" };
        let error = install_into(&archive, &programs).unwrap_err();
        assert_eq!(error.to_string(), format!("its SHA-256 is {digest}, not 00"));
        assert!(!programs.exists());
    }

    #[test]
    fn what_can_not_be_had_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive { url: "file:///no/such/archive", sha256: "00", member: "tool" };
        let error = install_into(&archive, &dir.path().join("bin")).unwrap_err();
        assert!(error.to_string().contains("curl"), "{error:#}");
    }
}
