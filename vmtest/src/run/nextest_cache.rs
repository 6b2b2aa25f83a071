//! Caches what nextest asks cargo for before it starts the first cell: the workspace and its test
//! binary. These queries take as long as several cells, and `cargo xtask` has just built that
//! binary. nextest reads the cached answers: `nextest run --help`, "Reuse build options".

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{self, Path, PathBuf},
    process::{self, Command, Stdio},
    time::SystemTime,
};

use kernlab_kernels::replace_private_file;
use serde::Deserialize;
use serde_json::{Value, json};

/// The environment variable with the freshly built test binary whose tests are the cells.
pub const CELLS_VARIABLE: &str = "KERNLAB_CELLS";

/// The arguments that make cargo build the cells' test binary. They use the features of the whole
/// workspace, as for everything else on the host, so that nothing is compiled twice.
const CELLS: [&str; 5] = ["--workspace", "--exclude", "kernlab-aya-ebpf", "--test", "cells"];

/// nextest's name of that binary.
const BINARY: &str = "kernlab-cells::cells";

/// Which tests there are.
pub(super) struct Tests {
    /// The arguments of nextest that tell it.
    pub(super) arguments: Vec<OsString>,
    /// The test binary, through which cells are started.
    _open: Option<File>,
}

/// Tells nextest which tests there are: the cached answers if they are certainly still valid, otherwise
/// those that make nextest query cargo.
pub(super) fn tests(root: &Path, cargo: &OsStr, run: &Path) -> Tests {
    let kept = env::var_os(CELLS_VARIABLE).and_then(|cells| {
        let cells = path::absolute(cells).ok()?;
        let [workspace, binaries] = kept(root, cargo, &cells).ok()?;
        opened(&cells, &binaries, run).ok().map(|(binaries, open)| (workspace, binaries, open))
    });
    match kept {
        Some((workspace, binaries, open)) => Tests {
            arguments: vec![
                "--cargo-metadata".into(),
                workspace.into(),
                "--binaries-metadata".into(),
                binaries.into(),
            ],
            _open: Some(open),
        },
        None => Tests { arguments: CELLS.map(OsString::from).into(), _open: None },
    }
}

/// Opens the test binary, and writes a list of binaries that names the open file. A build during the run
/// gives the binary's name to another file; cells are still started from the open one.
fn opened(cells: &Path, binaries: &Path, run: &Path) -> io::Result<(PathBuf, File)> {
    let open = File::open(cells)?;
    let place = format!("/proc/{}/fd/{}", process::id(), open.as_raw_fd());
    // In a PID namespace of its own, this process has another number in a /proc from outside.
    let [there, here] =
        [fs::metadata(&place)?, open.metadata()?].map(|file| (file.dev(), file.ino()));
    if there != here {
        return Err(io::Error::other("this process is not the one in /proc"));
    }
    let mut list: Value = serde_json::from_slice(&fs::read(binaries)?)?;
    list["rust-binaries"][BINARY]["binary-path"] = json!(place);
    let binaries = run.join("binaries.json");
    fs::write(&binaries, list.to_string())?;
    Ok((binaries, open))
}

/// The files with the answers: the workspace according to cargo, and the cells' test binary.
fn kept(root: &Path, cargo: &OsStr, cells: &Path) -> io::Result<[PathBuf; 2]> {
    let dir = root.join("target").join("kernlab-nextest");
    let (workspace, binaries) = (dir.join("workspace.json"), dir.join("binaries.json"));
    let ask = |args: &[&str]| {
        answer(Command::new(cargo).args(args).current_dir(root).stdin(Stdio::null()))
    };
    let is_fresh = written(&workspace)
        .and_then(|written| is_newer_than_inputs(written, root))
        .unwrap_or(false);
    if !is_fresh {
        let text = ask(&["metadata", "--format-version", "1", "--all-features"])?;
        keep(&workspace, &text)?;
    }
    let is_listed = |text: Vec<u8>| binary(&text).is_some_and(|binary| binary == cells);
    if !is_fresh || !fs::read(&binaries).is_ok_and(is_listed) {
        let package = ask(&["pkgid", "--package", "kernlab-cells"])?;
        let package = String::from_utf8_lossy(&package);
        keep(&binaries, list(package.trim(), &root.join("target"), cells).to_string().as_bytes())?;
    }
    Ok([workspace, binaries])
}

/// A list of test binaries with one entry, in the format of `nextest list --list-type
/// binaries-only`: `BinaryListSummary` of the crate nextest-metadata.
fn list(package: &str, target: &Path, cells: &Path) -> Value {
    json!({
        "rust-build-meta": {
            "target-directory": target,
            "base-output-directories": [],
            "non-test-binaries": {},
            "linked-paths": [],
        },
        "rust-binaries": {
            BINARY: {
                "binary-id": BINARY,
                "binary-name": "cells",
                "package-id": package,
                "kind": "test",
                "binary-path": cells,
                "build-platform": "target",
            },
        },
    })
}

fn answer(ask: &mut Command) -> io::Result<Vec<u8>> {
    let output = ask.stderr(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(io::Error::other(format!("cargo failed: {}", output.status))),
    }
}

fn keep(file: &Path, text: &[u8]) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(file))?;
    replace_private_file(file, text)
}

/// The path of the cells' test binary in nextest's list.
fn binary(list: &[u8]) -> Option<PathBuf> {
    let list: Value = serde_json::from_slice(list).ok()?;
    let binary = &list["rust-binaries"][BINARY]["binary-path"];
    Some(binary.as_str()?.into())
}

/// The part of the workspace's manifest that names its members.
#[derive(Deserialize)]
struct Manifest {
    workspace: Members,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<String>,
}

/// Where cargo finds targets that a package's manifest does not name.
const TARGETS: [&str; 5] = ["src", "src/bin", "tests", "examples", "benches"];

/// Is the answer newer than everything that it depends on?
fn is_newer_than_inputs(answer: SystemTime, root: &Path) -> io::Result<bool> {
    let manifest = root.join("Cargo.toml");
    let Manifest { workspace: Members { members } } =
        toml::from_str(&fs::read_to_string(&manifest)?).map_err(io::Error::other)?;
    let mut inputs = vec![manifest, root.join("Cargo.lock")];
    for member in members {
        let member = root.join(member);
        inputs.push(member.join("Cargo.toml"));
        // A directory's modification time changes when files are added or removed.
        inputs.extend(TARGETS.map(|name| member.join(name)).into_iter().filter(|it| it.exists()));
    }
    let times = inputs.iter().map(|input| written(input)).collect::<io::Result<Vec<_>>>()?;
    Ok(times.into_iter().all(|time| time < answer))
}

fn written(file: &Path) -> io::Result<SystemTime> {
    File::open(file)?.metadata()?.modified()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rstest::rstest;

    use super::*;

    /// A workspace with a fake cargo that records its calls.
    struct Workspace(tempfile::TempDir);

    impl Workspace {
        fn new() -> Self {
            let workspace = Workspace(tempfile::tempdir().unwrap());
            let root = workspace.0.path();
            fs::create_dir(root.join("vmtest")).unwrap();
            fs::write(root.join("Cargo.toml"), "[workspace]\nmembers = [\"vmtest\"]\n").unwrap();
            fs::write(root.join("vmtest/Cargo.toml"), "[package]\n").unwrap();
            fs::write(root.join("Cargo.lock"), "").unwrap();
            fs::create_dir(root.join("vmtest/tests")).unwrap();
            fs::write(root.join("cargo"), "#!/bin/sh\necho $1 >> asked\necho answer\n").unwrap();
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(root.join("cargo"), executable).unwrap();
            workspace
        }

        /// What cargo was asked for, with this test binary.
        fn asked_for(&self, cells: &str) -> String {
            let root = self.0.path();
            let _ = fs::remove_file(root.join("asked"));
            let [_, list] = kept(root, root.join("cargo").as_os_str(), Path::new(cells)).unwrap();
            assert_eq!(binary(&fs::read(list).unwrap()).as_deref(), Some(Path::new(cells)));
            let asked = fs::read_to_string(root.join("asked")).unwrap_or_default();
            asked.split_whitespace().collect::<Vec<_>>().join(" ")
        }

        /// Gives a file a later modification time than all others.
        fn touch(&self, file: &str) {
            let file = File::open(self.0.path().join(file)).unwrap();
            file.set_modified(SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
        }
    }

    #[test]
    fn cargo_is_asked_once() {
        let workspace = Workspace::new();
        assert_eq!(workspace.asked_for("/t/cells-1"), "metadata pkgid");
        assert_eq!(workspace.asked_for("/t/cells-1"), "");
    }

    #[rstest]
    #[case("Cargo.toml")]
    #[case("Cargo.lock")]
    #[case("vmtest/Cargo.toml")]
    #[case::a_new_test("vmtest/tests")]
    fn cargo_is_asked_again_when_the_workspace_changes(#[case] changed: &str) {
        let workspace = Workspace::new();
        workspace.asked_for("/t/cells-1");
        workspace.touch(changed);
        assert_eq!(workspace.asked_for("/t/cells-1"), "metadata pkgid");
    }

    #[test]
    fn a_build_during_a_run_takes_nothing_from_it() {
        let workspace = Workspace::new();
        let root = workspace.0.path();
        let (cells, run) = (root.join("cells-1"), root.join("run"));
        fs::create_dir(&run).unwrap();
        fs::write(&cells, "as it was").unwrap();
        let [_, binaries] = kept(root, root.join("cargo").as_os_str(), &cells).unwrap();
        let (list, _open) = opened(&cells, &binaries, &run).unwrap();
        fs::remove_file(&cells).unwrap();
        let named = binary(&fs::read(list).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(named).unwrap(), "as it was");
    }

    #[test]
    fn another_build_of_the_binary_changes_only_its_place() {
        let workspace = Workspace::new();
        workspace.asked_for("/t/cells-1");
        assert_eq!(workspace.asked_for("/t/cells-2"), "pkgid");
    }
}
