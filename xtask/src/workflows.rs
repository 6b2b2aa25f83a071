//! `cargo xtask workflows`: checks the workflows in `.github` and the shell scripts.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;
use xshell::{Shell, cmd};

use kernlab_cli::Exit;

use crate::{invocation::Invocation, workspace};

/// actionlint checks syntax and types, and runs shellcheck on the scripts in workflows, which it skips
/// silently where shellcheck is missing. zizmor looks for risks.
pub(crate) const PROGRAMS: [&str; 3] = ["actionlint", "shellcheck", "zizmor"];
/// The Python environment that is searched first.
const ENVIRONMENT: &str = "target/linters";

/// Check the workflows in `.github` with actionlint and zizmor, and the shell scripts with shellcheck.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// The paths of the programs.
struct Linters {
    actionlint: String,
    shellcheck: String,
    zizmor: String,
}

pub(crate) fn run(_: &Args) -> Result<Exit> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = env::split_paths(&path).collect();
    let root = workspace::root();
    let Linters { actionlint, shellcheck, zizmor } = match Linters::find(&dirs(&root, &path)) {
        Ok(linters) => linters,
        Err(missing) => {
            let missing = missing.join(", no ");
            eprintln!("error: no {missing} here: run `cargo xtask setup`");
            return Ok(Exit::Infrastructure);
        }
    };
    let sh = Shell::new()?;
    sh.change_dir(root);
    let scripts = sh.read_dir("scripts")?;
    let mut exit = Exit::Success;
    for command in [
        cmd!(sh, "{shellcheck} .ci/run {scripts...}"),
        cmd!(sh, "{actionlint} -shellcheck {shellcheck}"),
        // Offline: what zizmor learns from GitHub differs from day to day.
        cmd!(sh, "{zizmor} --offline --no-progress --persona pedantic .github"),
    ] {
        println!("==> {command}");
        if let Err(error) = command.quiet().run() {
            eprintln!("error: {error}");
            exit = Exit::Failure;
        }
    }
    Ok(exit)
}

/// The programs that are missing; `None` if all are there.
pub(crate) fn missing(workspace: &Path, path: &[PathBuf]) -> Option<Vec<&'static str>> {
    Linters::find(&dirs(workspace, path)).err()
}

/// The command that installs all of them, in pinned versions, in [`ENVIRONMENT`].
pub(crate) fn install() -> Invocation {
    // An environment whose creation was interrupted has no pip: `--clear` recreates it.
    let environment = format!("python3 -m venv --clear {ENVIRONMENT}");
    let packages = format!("{ENVIRONMENT}/bin/pip install --require-hashes -r .github/linters.txt");
    let script = format!("{environment} && {packages}");
    Invocation::new("sh").args(["-c".to_owned(), script]).dir(&workspace::root())
}

/// The directories that are searched for the programs.
fn dirs(workspace: &Path, path: &[PathBuf]) -> Vec<PathBuf> {
    let ours = workspace.join(ENVIRONMENT).join("bin");
    [ours].into_iter().chain(path.iter().cloned()).collect()
}

impl Linters {
    /// Finds all of them, or returns the names of the missing ones.
    fn find(dirs: &[PathBuf]) -> Result<Self, Vec<&'static str>> {
        let find = |name: &str| {
            let mut paths = dirs.iter().map(|dir| dir.join(name));
            paths
                .find(|path| path.is_file())
                .and_then(|path| path.into_os_string().into_string().ok())
        };
        match PROGRAMS.map(find) {
            [Some(actionlint), Some(shellcheck), Some(zizmor)] => {
                Ok(Linters { actionlint, shellcheck, zizmor })
            }
            found => {
                let all = PROGRAMS.into_iter().zip(found);
                Err(all.filter_map(|(name, path)| path.is_none().then_some(name)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("zizmor"), "").unwrap();
        let path = [dir.path().to_owned()];
        assert_eq!(missing(dir.path(), &path).unwrap(), ["actionlint", "shellcheck"]);
    }

    #[test]
    fn what_setup_installs_is_found() {
        let checkout = tempfile::tempdir().unwrap();
        let bin = checkout.path().join(ENVIRONMENT).join("bin");
        fs::create_dir_all(&bin).unwrap();
        PROGRAMS.iter().for_each(|name| fs::write(bin.join(name), "").unwrap());
        assert_eq!(missing(checkout.path(), &[]), None);
        assert!(install().to_string().contains(&format!(" {ENVIRONMENT} && ")));
    }

    #[test]
    fn the_first_dir_that_has_one_is_taken() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for (dir, names) in dirs.iter().zip([&PROGRAMS[1..], &PROGRAMS[..]]) {
            names.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
        }
        let paths: Vec<_> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
        let Ok(linters) = Linters::find(&paths) else { panic!("all of them are there") };
        assert!(Path::new(&linters.actionlint).starts_with(&paths[1]));
        assert!(Path::new(&linters.zizmor).starts_with(&paths[0]));
    }
}
