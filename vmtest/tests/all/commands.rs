//! The host tool from a user's view: bad input, its exit code and its message.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use rstest::rstest;

use crate::checkout;

/// Runs the tool in `dir` with its own store and guest programs.
fn kernlab(dir: &Path, words: &[&str]) -> Output {
    fs::write(dir.join("kernlab-agent"), "").unwrap();
    Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(words)
        .current_dir(dir)
        .env("KERNLAB_STORE", dir.join("store"))
        .env("KERNLAB_GUEST", dir)
        .output()
        .unwrap()
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A directory with a copy of the matrix.
fn copy_of_checkout() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    checkout::mark(dir.path());
    for file in ["kernels.toml", "kernels.lock"] {
        fs::copy(checkout().join(file), dir.path().join(file)).unwrap();
    }
    dir
}

#[rstest]
#[case::a_typo(&["run", "--kernel", "debain-6.1"], "did you mean debian-6.1")]
#[case::no_such_release(&["run", "--kernel", "3.10"], "no kernel matches \"3.10\"")]
#[case::no_such_file(&["run", "--kernel", "./bzImage"], "there is no kernel image \"./bzImage\"")]
#[case::nothing_left(&["run", "--kernel", "debian-6.1", "--scenario", "none/*"], "no scenario matches \"none/*\": --list lists them all")]
#[case::a_typo_in_a_scenario(&["run", "--scenario", "inotfy"], "did you mean inotify/*?")]
#[case::no_such_backend(&["run", "--backend", "bcc"], "invalid value 'bcc'")]
#[case::no_such_tracer(&["deps", "--tracer", "ptrace"], "there is no tracer \"ptrace\"")]
#[case::no_object(&["deps", "kernels.toml"], "kernels.toml is not a BPF object, and has none in it")]
#[case::two_kernels_for_one(&["kernels", "diff", "6.1", "debian-*"], "kernels: name one of debian-4.18,")]
#[case::no_such_program(&["exec", "--", "./nothing"], "no program \"./nothing\" in ")]
#[case::a_text(&["exec", "--", "./kernels.toml"], "kernels.toml is not executable: chmod +x it")]
#[case::a_relative_place(
    &["exec", "--file", "kernels.toml=there", "--", "/bin/true"],
    "`there` is a path in the guest, and must begin with `/`"
)]
#[case::a_taken_id(
    &["kernels", "add", "6.1", "--id", "debian-6.1"],
    "the id \"debian-6.1\" is taken: name another with --id"
)]
#[case::a_shell_after_an_own_tracer(
    &["shell", "--after", "debian-6.1/masked/aya/inotify/unwatched"],
    "`kernlab shell --kernel debian-6.1` opens a shell"
)]
#[case::a_shell_without_suites(
    &["shell", "--after", "debian-6.1/masked/suite/opens"],
    "there is no kernlab.toml at or above"
)]
#[case::a_shell_of_nothing(&["shell"], "--kernel <SEL>")]
#[case::no_such_mode(&["run", "--btf", "hidden"], "invalid value 'hidden'")]
fn bad_usage_ends_with_2(#[case] words: &[&str], #[case] message: &str) {
    let dir = copy_of_checkout();
    let output = kernlab(dir.path(), words);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
    assert!(!dir.path().join("target").exists(), "a run was begun");
}

#[test]
fn a_malformed_matrix_is_named_with_its_line() {
    let dir = copy_of_checkout();
    let file = dir.path().join("kernels.toml");
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().position(|line| line.starts_with("tier")).unwrap() + 1;
    let broken = text.replacen("tier = \"extended\"", "tier = \"sometimes\"", 1);
    fs::write(&file, broken).unwrap();
    let output = kernlab(dir.path(), &["run"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&format!("kernels.toml:{line}")), "line {line}: {stderr}");
    assert!(stderr.contains("default"), "what is expected is said: {stderr}");
}

#[test]
fn outside_of_a_checkout_there_is_nothing_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let output = kernlab(dir.path(), &["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("needs a checkout of kernlab"));
}

#[test]
fn missing_guest_programs_end_with_3() {
    let dir = copy_of_checkout();
    let nowhere = ["run", "--guest", "/nonexistent", "--kernel", "debian-6.1"];
    let output = kernlab(dir.path(), &nowhere);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("`cargo xtask guest` builds them"));
}

/// Every command that opens the matrix and the store, with a kernel if it takes one.
#[rstest]
fn what_can_t_be_opened_has_one_exit_code(
    #[values(
        "run --kernel KERNEL",
        "exec --kernel KERNEL -- /bin/true",
        "deps --kernel KERNEL",
        "shell --kernel KERNEL",
        "matrix --shards 2 --kernel KERNEL",
        "bench boot --kernel KERNEL",
        "bench matrix --kernel KERNEL",
        "kernels list",
        "kernels update KERNEL",
        "kernels verify KERNEL",
        "kernels fetch KERNEL",
        "kernels build KERNEL",
        "kernels check KERNEL",
        "kernels dossier KERNEL",
        "kernels diff KERNEL KERNEL",
        "kernels add KERNEL",
        "kernels gc"
    )]
    command: &str,
) {
    let code = |dir: &Path, kernel: &str| {
        let command = command.replace("KERNEL", kernel);
        let output = kernlab(dir, &command.split(' ').collect::<Vec<_>>());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("error: "), "{stderr}");
        (output.status.code(), stderr)
    };
    let dir = copy_of_checkout();
    if command.contains("KERNEL") && !command.contains("add") {
        let (exit, stderr) = code(dir.path(), "no-such-kernel");
        assert_eq!(exit, Some(2), "an unknown kernel: {stderr}");
    }
    // The first of these calls may have created the store.
    let _ = fs::remove_dir_all(dir.path().join("store"));
    fs::write(dir.path().join("store"), "no directory").unwrap();
    let (exit, stderr) = code(dir.path(), "debian-6.1");
    assert_eq!(exit, Some(3), "a store that can't be used: {stderr}");
    fs::write(dir.path().join("kernels.toml"), "schema = ").unwrap();
    fs::remove_file(dir.path().join("store")).unwrap();
    let (exit, stderr) = code(dir.path(), "debian-6.1");
    assert_eq!(exit, Some(2), "a malformed matrix: {stderr}");
}
