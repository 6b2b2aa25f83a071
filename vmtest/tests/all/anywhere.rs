//! The host tool outside of a checkout of kernlab.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A kernel of a project's own.
const MATRIX: &str = r#"schema = 1
[[kernel]]
id = "mine"
release = "6.1"
arch = "x86_64"
tier = "extended"
btf = ["embedded"]
why = "a test"
source = { kind = "file", image = "bzImage" }
[[kernel]]
id = "debian-6.1"
release = "6.1"
arch = "x86_64"
tier = "default"
btf = ["absent"]
why = "a test"
source = { kind = "file", image = "other/bzImage" }
"#;

/// A directory that belongs to no checkout, with a store and a home directory in it.
struct Somewhere(tempfile::TempDir);

impl Somewhere {
    fn new() -> Self {
        let somewhere = Somewhere(tempfile::tempdir().unwrap());
        fs::create_dir_all(somewhere.path("project/src")).unwrap();
        somewhere
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The exit code, standard output and standard error of `kernlab ...` in this directory.
    fn kernlab(&self, dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_kernlab"))
            .args(arguments)
            .current_dir(dir)
            .env("HOME", self.0.path())
            .env("KERNLAB_STORE", self.path("store"))
            .env("KERNLAB_OFFLINE", "1")
            .env_remove("KERNLAB_GUEST")
            .env_remove("KERNLAB_MATRIX")
            .env_remove("XDG_STATE_HOME")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The words of a kernel's line in the list, without those of its source.
    fn listed(&self, dir: &str, kernel: &str) -> Vec<String> {
        let (code, stdout, stderr) = self.kernlab(&self.path(dir), &["kernels", "list"]);
        assert_eq!(code, Some(0), "{stderr}");
        let line = stdout.lines().find(|line| line.split_whitespace().next() == Some(kernel));
        let words = line.unwrap_or_default().split_whitespace().take(7);
        words.map(str::to_owned).collect()
    }
}

#[test]
fn the_matrix_is_part_of_the_program() {
    let somewhere = Somewhere::new();
    let [id, release, version, arch, tier, btf, state] =
        &somewhere.listed("project", "debian-6.1")[..]
    else {
        panic!()
    };
    assert_eq!(
        [id, release, arch, tier, btf, state],
        ["debian-6.1", "6.1", "x86_64", "default", "embedded,masked", "locked"]
    );
    assert!(version.starts_with("6.1."), "{version}");
    assert!(!somewhere.path("project/.kernlab").exists(), "a list needs no directory for runs");
    assert!(!somewhere.path(".local").exists(), "a list needs no lock of its own");
}

#[test]
fn a_project_adds_and_replaces_kernels_wherever_in_it_the_command_runs() {
    let somewhere = Somewhere::new();
    fs::write(somewhere.path("project/kernels.toml"), MATRIX).unwrap();
    for dir in ["project", "project/src"] {
        let local = |id, tier, btf| [id, "6.1", "-", "x86_64", tier, btf, "local"];
        assert_eq!(somewhere.listed(dir, "mine"), local("mine", "extended", "embedded"));
        assert_eq!(somewhere.listed(dir, "debian-6.1"), local("debian-6.1", "default", "absent"));
        assert_eq!(somewhere.listed(dir, "debian-6.12")[6], "locked");
    }
}

#[test]
fn a_mistake_in_the_project_s_matrix_is_told_with_its_place() {
    let somewhere = Somewhere::new();
    fs::write(somewhere.path("project/kernels.toml"), "schema = 1\nkernel = 3\n").unwrap();
    let (code, _, stderr) = somewhere.kernlab(&somewhere.path("project"), &["kernels", "list"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("project/kernels.toml:2:10: invalid type"), "{stderr}");
}

#[test]
fn the_newest_report_of_a_project_is_beside_its_suites() {
    let somewhere = Somewhere::new();
    fs::write(somewhere.path("project/kernlab.toml"), "").unwrap();
    let dir = somewhere.path("project/src");
    let (code, _, stderr) = somewhere.kernlab(&dir, &["report"]);
    assert_eq!(code, Some(2), "{stderr}");
    let runs = fs::canonicalize(somewhere.path("project")).unwrap().join(".kernlab");
    assert!(stderr.contains(&format!("there is no report in {}", runs.display())), "{stderr}");
}
