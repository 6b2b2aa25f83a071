//! Programs as their projects release them: a download whose digest is known beforehand.
//!
//! curl, sha256sum and tar do the work: every command of the repository waits for xtask to build, and
//! none of these may be a dependency of it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::invocation::Invocation;

/// A few megabytes over a slow line.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(300);
/// Local work.
const LOCAL_DEADLINE: Duration = Duration::from_secs(60);

/// A compressed tar archive with a program in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    /// Where it is.
    pub(crate) url: &'static str,
    /// What it is.
    pub(crate) sha256: &'static str,
    /// The program in it.
    pub(crate) member: &'static str,
}

/// Puts the program where `cargo install` puts what it makes.
pub(crate) fn install(archive: &Archive) -> Result<()> {
    install_into(archive, &programs_of_cargo()?)
        .with_context(|| format!("failed to get {}", archive.url))
}

fn install_into(archive: &Archive, programs: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("failed to make a temporary directory")?;
    let file = text(&scratch.path().join("archive"))?.to_owned();
    let download = Invocation::new("curl")
        // No redirection leads to where nothing is encrypted; the digest is checked all the same.
        .args(["--fail", "--silent", "--show-error", "--location", "--proto-redir", "=https"])
        // A server that does not answer, or nearly not, is one that this machine can't reach.
        .args(["--connect-timeout", "10", "--speed-limit", "1000", "--speed-time", "20"])
        .args(["--output", &file, archive.url]);
    download.run(DOWNLOAD_DEADLINE)?;
    let digest = Invocation::new("sha256sum").args([&file]).read(LOCAL_DEADLINE)?;
    let digest = digest.split_whitespace().next().unwrap_or_default();
    ensure!(digest == archive.sha256, "its SHA-256 is {digest}, not {}", archive.sha256);
    Invocation::new("tar")
        .args(["--extract", "--gzip", "--no-same-owner", "--file", &file])
        .args(["--directory", text(scratch.path())?, archive.member])
        .run(LOCAL_DEADLINE)?;
    let program = scratch.path().join(archive.member);
    place(&program, programs).with_context(|| format!("failed to write to {}", programs.display()))
}

/// Copies a program into a directory. It is there as a whole or not at all.
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

/// <https://doc.rust-lang.org/cargo/commands/cargo-install.html>, without a configured root.
fn programs_of_cargo() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("CARGO_INSTALL_ROOT")
        .or_else(|| set("CARGO_HOME"))
        .or_else(|| Some(set("HOME")?.join(".cargo")));
    Ok(root.context("neither $CARGO_HOME nor $HOME is set")?.join("bin"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not a path in UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive as projects release them, with a program in a directory.
    fn release(dir: &Path) -> (&'static str, String) {
        fs::create_dir_all(dir.join("tool-1.0")).unwrap();
        fs::write(dir.join("tool-1.0/tool"), "#!/bin/sh\n").unwrap();
        let file = dir.join("tool.tar.gz");
        let tar = Invocation::new("tar")
            .args(["--create", "--gzip", "--file", text(&file).unwrap()])
            .args(["--directory", text(dir).unwrap(), "tool-1.0"]);
        tar.run(LOCAL_DEADLINE).unwrap();
        let digest = Invocation::new("sha256sum").args([text(&file).unwrap()]);
        let digest = digest.read(LOCAL_DEADLINE).unwrap();
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
