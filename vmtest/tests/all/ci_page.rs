//! The shell lines of docs/ci.md work: as its CI systems would run them, in a project, on a real kernel.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const SUITES: &str = r#"
kernels = ["debian-6.1"]
[[suite]]
name = "first"
run = "true"
exit = 0
[[suite]]
name = "second"
run = "true"
exit = 0
"#;

/// The text of the first block whose info string is this.
fn block(info: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/ci.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(&format!("\n```{info}\n")).unwrap_or_else(|| panic!("{info}"));
    rest.split_once("\n```").unwrap().0.to_owned()
}

fn yaml(info: &str) -> Value {
    serde_saphyr::from_str(&block(info)).unwrap()
}

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::write(dir.path().join("kernlab.toml"), SUITES).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kernlab"), dir.path().join("bin/kernlab"))
        .unwrap();
    dir
}

fn shell(dir: &Path, script: &str, variables: &[(&str, &str)]) -> Output {
    Command::new("bash")
        .args(["-ec", script])
        .current_dir(dir)
        .env("PATH", format!("{}:{}", dir.join("bin").display(), env!("PATH")))
        .env_remove("GITHUB_OUTPUT")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// What a merged report must say.
fn check(merged: &Output) {
    let stdout = String::from_utf8_lossy(&merged.stdout);
    let both = "counts={\"cells\":2,\"outcomes\":{\"pass\":2},\"changes\":{}}";
    assert!(stdout.contains(both), "{stdout}{}", String::from_utf8_lossy(&merged.stderr));
    assert!(merged.status.success());
}

#[test]
fn gitlab() {
    let (jobs, dir) = (yaml("yaml gitlab"), project());
    let script = |job: &str| jobs[job]["script"][0].as_str().unwrap().to_owned();
    let total = jobs["part"]["parallel"].to_string();
    for index in ["1", "2"] {
        let node = [("CI_NODE_INDEX", index), ("CI_NODE_TOTAL", total.as_str())];
        let part = shell(dir.path(), &script("part"), &node);
        assert!(part.status.success(), "{}", String::from_utf8_lossy(&part.stderr));
    }
    check(&shell(dir.path(), &script("report"), &[]));
    let junit = jobs["report"]["artifacts"]["reports"]["junit"].as_str().unwrap();
    assert!(dir.path().join(junit).is_file());
}

#[test]
fn slurm() {
    let dir = project();
    for task in ["1", "2"] {
        let variables = [("SLURM_ARRAY_TASK_ID", task), ("SLURM_ARRAY_TASK_COUNT", "2")];
        let part = shell(dir.path(), &block("sh slurm"), &variables);
        assert!(part.status.success(), "{}", String::from_utf8_lossy(&part.stderr));
    }
    check(&shell(dir.path(), &block("sh merge"), &[]));
    let again = shell(dir.path(), &block("sh merge"), &[]);
    assert_eq!(again.status.code(), Some(2), "results are not mixed");
}

#[test]
fn kubernetes() {
    let (job, dir) = (yaml("yaml kubernetes"), project());
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(["bash", "-c"]));
    let script = container["args"][0].as_str().unwrap();
    let config = dir.path().join("kernlab.toml");
    let script = script.replace("/src/kernlab.toml", config.to_str().unwrap());
    for index in ["0", "1"] {
        let pod = shell(dir.path(), &script, &[("JOB_COMPLETION_INDEX", index)]);
        assert!(pod.status.success(), "{}", String::from_utf8_lossy(&pod.stderr));
    }
    check(&shell(dir.path(), &block("sh merge"), &[]));
}
