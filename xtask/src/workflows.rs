//! `cargo xtask workflows`: checks the workflows in `.github`, the actions, the workflows that the
//! documentation has as examples, and the shell scripts.

mod derived;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use kernlab_cli::Exit;

use crate::{invocation::Invocation, workspace};

/// actionlint checks syntax and types, and runs shellcheck on the scripts in workflows, which it skips
/// silently where shellcheck is missing. zizmor looks for risks.
/// mdBook, which is installed with them, builds the book and checks it.
pub(crate) const PROGRAMS: [&str; 4] = ["actionlint", "mdbook", "shellcheck", "zizmor"];
/// The Python environment that is searched first.
pub(crate) const ENVIRONMENT: &str = "target/linters";
/// Where workflows are written that are no files of their own.
const DERIVED: &str = "target/workflows";

/// Check the workflows in `.github`, the actions and the examples with actionlint and zizmor, and the
/// shell scripts with shellcheck.
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
    let Derived { examples, actions } = derive(&root)?;
    sh.change_dir(root);
    let scripts = sh.read_dir("scripts")?;
    let derived = examples.iter().chain(&actions);
    let mut exit = Exit::Success;
    for command in [
        cmd!(sh, "{shellcheck} .ci/run {scripts...}"),
        cmd!(sh, "{actionlint} -shellcheck {shellcheck}"),
        cmd!(sh, "{actionlint} -shellcheck {shellcheck} {derived...}"),
        // Offline: what zizmor learns from GitHub differs from day to day.
        cmd!(
            sh,
            "{zizmor} --offline --no-progress --persona pedantic .github action {examples...}"
        ),
    ] {
        println!("==> {command}");
        if let Err(error) = command.quiet().run() {
            eprintln!("error: {error}");
            exit = Exit::Failure;
        }
    }
    Ok(exit)
}

/// The paths of workflows that were written to be checked.
struct Derived {
    examples: Vec<PathBuf>,
    actions: Vec<PathBuf>,
}

/// Writes the examples of the documentation, and the actions as workflows.
fn derive(root: &Path) -> Result<Derived> {
    let dir = root.join(DERIVED);
    // What an older example left there is no example any more.
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("failed to remove {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
    };
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let mut derived = Derived { examples: Vec::new(), actions: Vec::new() };
    for page in files(&root.join("docs"))? {
        if page.extension().is_some_and(|extension| extension == "md") {
            let stem = page.file_stem().unwrap_or_default().to_string_lossy();
            for (number, example) in derived::examples(&read(&page)?).iter().enumerate() {
                let name = format!("{stem}-{}.yml", number + 1);
                derived.examples.push(write(&name, example)?);
            }
        }
    }
    for action in files(&root.join("action"))? {
        let file = action.join("action.yml");
        let name = action.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let workflow = derived::of_action(&read(&file)?)
            .with_context(|| format!("{} is not a composite action with inputs", file.display()))?;
        derived.actions.push(write(&format!("action-{name}.yml"), &workflow)?);
    }
    Ok(derived)
}

/// The entries of a directory, ordered by name.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

/// The programs that are missing; `None` if all are there.
pub(crate) fn missing(workspace: &Path, path: &[PathBuf]) -> Option<Vec<&'static str>> {
    Linters::find(&dirs(workspace, path)).err()
}

/// The path of one of the programs, if it is there.
pub(crate) fn find(program: &str) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = env::split_paths(&path).collect();
    let dirs = dirs(&workspace::root(), &path);
    let path = dirs.iter().map(|dir| dir.join(program)).find(|path| path.is_file());
    path.and_then(|path| path.into_os_string().into_string().ok())
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
            [Some(actionlint), Some(_), Some(shellcheck), Some(zizmor)] => {
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
        assert_eq!(missing(dir.path(), &path).unwrap(), ["actionlint", "mdbook", "shellcheck"]);
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
