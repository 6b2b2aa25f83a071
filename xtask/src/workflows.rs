//! `cargo xtask workflows`: what is wrong with the workflows in `.github`.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use crate::{exit::Exit, invocation::Invocation, workspace};

/// Parses, types and shells; risks.
///
/// shellcheck is not run by us: actionlint asks it about the scripts in workflows, and says nothing
/// where it is missing.
const PROGRAMS: [&str; 3] = ["actionlint", "shellcheck", "zizmor"];
/// Each takes less than a second.
const DEADLINE: Duration = Duration::from_secs(60);
/// Gets all of them, in the versions that CI has, to where they are looked for first.
const INSTALL: &str = "python3 -m venv target/linters && \
                       target/linters/bin/pip install --require-hashes -r .github/linters.txt";

/// Check the workflows in `.github` with actionlint and zizmor.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// The programs, wherever they are.
struct Linters {
    actionlint: String,
    shellcheck: String,
    zizmor: String,
}

pub(crate) fn run(_: &Args) -> Result<Exit> {
    let linters = match Linters::find(&folders()) {
        Ok(linters) => linters,
        Err(missing) => {
            eprintln!("error: {}", explain(&missing));
            return Ok(Exit::Infrastructure);
        }
    };
    let mut exit = Exit::Success;
    for command in linters.commands(&workspace::root()) {
        println!("==> {command}");
        if let Err(error) = command.run(DEADLINE) {
            eprintln!("error: {error:#}");
            exit = Exit::Failure;
        }
    }
    Ok(exit)
}

/// What is not here, and how to get it; none if everything is.
pub(crate) fn missing() -> Option<String> {
    Linters::find(&folders()).err().map(|missing| explain(&missing))
}

fn explain(missing: &[&str]) -> String {
    format!("no {} here; to get it, run `{INSTALL}`", missing.join(", no "))
}

/// Where programs are looked for.
fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let ours = workspace::root().join("target/linters/bin");
    [ours].into_iter().chain(env::split_paths(&path)).collect()
}

impl Linters {
    /// Finds all, or tells which are not there.
    fn find(folders: &[PathBuf]) -> Result<Self, Vec<&'static str>> {
        let find = |name: &str| {
            let mut paths = folders.iter().map(|folder| folder.join(name));
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

    fn commands(&self, root: &Path) -> [Invocation; 2] {
        [
            Invocation::new(&self.actionlint)
                .args(["-shellcheck", &self.shellcheck])
                .directory(root),
            // What it would ask GitHub about is left out: the answer would differ from day to day.
            Invocation::new(&self.zizmor)
                .args(["--offline", "--no-progress", "--persona", "pedantic", ".github"])
                .directory(root),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_missing_is_told_and_how_ci_gets_it_too() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("zizmor"), "").unwrap();
        let missing = Linters::find(&[folder.path().to_owned()]).err().unwrap();
        assert_eq!(missing, ["actionlint", "shellcheck"]);
        let told = explain(&missing);
        assert!(told.starts_with("no actionlint, no shellcheck here; "), "{told}");
        for place in [".github/linters.txt", ".github/workflows/ci.yml", ".ci/run"] {
            let text = fs::read_to_string(workspace::root().join(place)).unwrap();
            for command in INSTALL.split(" && ") {
                assert!(text.contains(command), "{place} has {command:?}");
            }
        }
    }

    #[test]
    fn the_first_folder_that_has_one_is_taken() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for (folder, names) in folders.iter().zip([&PROGRAMS[1..], &PROGRAMS[..]]) {
            names.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        }
        let paths: Vec<_> = folders.iter().map(|folder| folder.path().to_owned()).collect();
        let Ok(linters) = Linters::find(&paths) else { panic!("all of them are there") };
        assert!(Path::new(&linters.actionlint).starts_with(&paths[1]));
        assert!(Path::new(&linters.zizmor).starts_with(&paths[0]));
    }
}
