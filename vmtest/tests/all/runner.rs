//! The tests of a small cargo project in guests: as whole programs through a runner, and one by one.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_vmtest::report::{CellReport, Report};
use rstest::rstest;

const KERNEL: &str = "debian-6.1";

const MANIFEST: &str = r#"
[package]
name = "small"
version = "0.1.0"
edition = "2021"
build = "build.rs"

[[test]]
name = "own-harness"
harness = false

[workspace]
"#;

const BUILD: &str = r#"
fn main() {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").unwrap());
    std::fs::write(out.join("generated"), "generated").unwrap();
}
"#;

const LIBRARY: &str = r#"
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap()
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs_in_a_guest() {
        assert!(super::release().starts_with("6.1."), "{}", super::release());
    }

    #[test]
    #[ignore]
    fn is_ignored() {
        assert!(super::release().starts_with("6.1."));
    }

    #[test]
    fn fails() {
        panic!("on {}", super::release());
    }

    #[test]
    fn ends_its_harness() {
        std::process::exit(0);
    }

    /// Fails in a guest in which another test has run.
    fn is_alone() {
        std::fs::File::create_new("/tmp/mark").unwrap();
    }

    #[test]
    #[ignore]
    fn is_alone_1() {
        is_alone();
    }

    #[test]
    #[ignore]
    fn is_alone_2() {
        is_alone();
    }
}
"#;

const PROGRAM: &str = r#"
fn main() {
    println!("tool on {}", small::release());
}
"#;

const INTEGRATION: &str = r#"
use std::{fs, path::Path, process::Command};

#[test]
fn data_is_where_it_is_here() {
    assert_eq!(fs::read_to_string("tests/data/a file").unwrap(), "content");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/a file").is_file());
    assert!(!Path::new("big.log").exists(), "it is ignored");
}

#[test]
fn what_the_environment_names_is_there() {
    let out = std::env::var("OUT_DIR").unwrap();
    assert_eq!(fs::read_to_string(Path::new(&out).join("generated")).unwrap(), "generated");
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("written"), "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_small")).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("tool on 6.1."));
    let built = Path::new(env!("CARGO_BIN_EXE_small")).parent().unwrap();
    assert!(!built.join("incremental").exists(), "only what is named is there");
}
"#;

const OWN_HARNESS: &str = r#"
fn main() {
    assert!(!std::env::args().any(|argument| argument == "--list"), "it was run to list tests");
    println!("on {}", small::release());
}
"#;

/// A project in a directory of its own.
struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Project { dir: tempfile::tempdir().unwrap() };
        for (file, content) in [
            ("Cargo.toml", MANIFEST),
            ("build.rs", BUILD),
            ("src/lib.rs", LIBRARY),
            ("src/main.rs", PROGRAM),
            ("tests/it.rs", INTEGRATION),
            ("tests/own-harness.rs", OWN_HARNESS),
            ("tests/data/a file", "content"),
            (".gitignore", "*.log\n"),
            ("big.log", "ignored"),
            ("kernlab.toml", SUITES),
        ] {
            let path = project.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        project
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A command in the project, without what cargo tells the tests of this crate.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let is_cargo = name.starts_with("CARGO_") && name != "CARGO_HOME";
            if is_cargo || name.starts_with("NEXTEST") || name == "OUT_DIR" {
                command.env_remove(&*name);
            }
        }
        command
    }

    fn kernlab(&self, arguments: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_kernlab"), arguments)
    }

    /// Runs a line of a shell through a runner.
    fn runner(&self, options: &[&str], line: &str, more: &[&str]) -> Command {
        let mut words = vec!["runner", "--kernel", KERNEL];
        words.extend(options);
        words.extend(["--", "sh", "-c", line]);
        words.extend(more);
        self.kernlab(&words)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

#[test]
fn cargo_runs_whole_programs_in_a_guest() {
    let project = Project::new();
    let runner = format!("{} runner --kernel {KERNEL} --", env!("CARGO_BIN_EXE_kernlab"));
    let arguments = ["test", "--offline", "--no-fail-fast", "--", "--skip", "ends_its_harness"];
    let output = project
        .command("cargo", &arguments)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner)
        .output()
        .unwrap();
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(101), "{stdout}{}", stderr(&output));
    for line in [
        "test tests::runs_in_a_guest ... ok",
        "test tests::is_ignored ... ignored",
        "test tests::fails ... FAILED",
        "test data_is_where_it_is_here ... ok",
        "test what_the_environment_names_is_there ... ok",
        "on 6.1.",
    ] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    let told = format!(
        "kernlab runner: {KERNEL}: fail (unexpected-exit): the program ended: exit code 101"
    );
    assert!(stderr(&output).contains(&told), "{}", stderr(&output));
    let runs = fs::read_dir(project.path().join("target/kernlab-runner")).unwrap();
    let runs = runs.flatten().filter(|run| run.path().join("report.json").is_file());
    assert_eq!(runs.count(), 1, "only a run that failed is kept");
    assert!(!project.path().join(".kernlab").exists());
}

const WORDS: &str = r#"for word; do echo "<$word>"; done; cat "tests/data/a file""#;

#[test]
fn each_test_of_nextest_has_a_kernel_of_its_own() {
    let project = Project::new();
    let runner = format!("{} runner --kernel {KERNEL} --", env!("CARGO_BIN_EXE_kernlab"));
    let arguments =
        ["nextest", "run", "--offline", "--no-fail-fast", "--lib", "--run-ignored", "all"];
    let output = project
        .command("cargo", &arguments)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner)
        .output()
        .unwrap();
    let summary = "6 tests run: 5 passed, 1 failed, 0 skipped";
    assert!(stderr(&output).contains(summary), "{}", stderr(&output));
}

#[rstest]
#[case::of_a_success(WORDS, 0, "<two words>\n<>\n<ü>\ncontent")]
#[case::of_the_program("exit 77", 77, "")]
#[case::of_a_signal("kill -ABRT $$", 134, "")]
fn exit_code_and_output_are_passed_on(#[case] line: &str, #[case] code: i32, #[case] stdout: &str) {
    let output = Project::new().runner(&[], line, &["sh", "two words", "", "ü"]).output().unwrap();
    assert_eq!((output.status.code(), &*text(&output.stdout)), (Some(code), stdout));
    assert_eq!(output.stderr.is_empty(), code == 0, "{}", stderr(&output));
}

#[test]
fn a_program_that_takes_too_long_ends_with_124() {
    let output = Project::new().runner(&["--timeout", "1"], "sleep 1000", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
}

#[test]
fn input_is_passed_on() {
    let project = Project::new();
    let file = fs::File::open(project.path().join("tests/data/a file")).unwrap();
    let line = "cat; test ! -e big.log && test ! -e tests";
    let output = project.runner(&["--no-data"], line, &[]).stdin(file).output().unwrap();
    assert_eq!((output.status.code(), &*text(&output.stdout)), (Some(0), "content"));
}

#[test]
fn a_guest_boots_no_guests() {
    let project = Project::new();
    let started = project.runner(&[], "true", &[]).env("KERNLAB_IN_GUEST", "1").output().unwrap();
    assert_eq!(started.status.code(), Some(2));
    assert!(stderr(&started).contains("this is a guest of kernlab"), "{}", stderr(&started));
    // As `cargo run` does in a project that is a runner itself.
    let own = env!("CARGO_BIN_EXE_kernlab");
    let words = ["runner", "--kernel", KERNEL, "--no-data", "--", own, "runner", "--kernel", "all"];
    let nested = project.kernlab(&words).args(["--", "true"]).output().unwrap();
    assert_eq!(nested.status.code(), Some(2), "{}", stderr(&nested));
    assert!(stderr(&nested).contains("this is a guest of kernlab"), "{}", stderr(&nested));
}

#[test]
fn faults_of_the_lab_have_codes_of_their_own() {
    let project = Project::new();
    let output = project.kernlab(&["runner", "--kernel", "debian-*", "--", "true"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("name one of"), "{}", stderr(&output));
    let missing = project.kernlab(&["runner", "--kernel", KERNEL, "--", "./missing"]).output();
    let missing = missing.unwrap();
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
    assert!(stderr(&missing).contains("no program \"./missing\""), "{}", stderr(&missing));
    let unavailable =
        project.runner(&[], "true", &[]).env("KERNLAB_QEMU", "/bin/false").output().unwrap();
    assert_eq!(unavailable.status.code(), Some(125), "{}", stderr(&unavailable));
}

/// The report of `kernlab test`, its exit code and its standard error.
fn test(project: &Project, more: &[&str]) -> (i32, Report, String) {
    let output = project.kernlab(&["test", "--kernel", KERNEL, "--json"]).args(more).output();
    let output = output.unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report: {error}: {}", stderr(&output)));
    (output.status.code().unwrap(), report, stderr(&output))
}

fn outcomes(report: &Report) -> BTreeMap<&str, (Outcome, Option<Reason>)> {
    let cell = |cell: &CellReport| (cell.outcome, cell.reason);
    report.cells.iter().map(|at| (at.scenario.as_str(), cell(at))).collect()
}

#[test]
fn each_test_is_a_cell() {
    let project = Project::new();
    let (code, report, stderr) = test(&project, &["--cargo"]);
    assert_eq!(code, 1, "{stderr}");
    let pass = (Outcome::Pass, None);
    let expected = [
        ("small/lib/tests::ends_its_harness", (Outcome::Fail, Some(Reason::AssertionFailed))),
        ("small/lib/tests::fails", (Outcome::Fail, Some(Reason::UnexpectedExit))),
        ("small/lib/tests::runs_in_a_guest", pass),
        ("small/test/it/data_is_where_it_is_here", pass),
        ("small/test/it/what_the_environment_names_is_there", pass),
        ("small/test/own-harness", pass),
    ];
    assert_eq!(outcomes(&report), expected.into(), "{report:#?}");
    let ignored = "3 ignored tests were not run, `-- --include-ignored` runs them: \
                   small/lib/tests::is_alone_1, small/lib/tests::is_alone_2, \
                   small/lib/tests::is_ignored";
    assert!(report.remarks.iter().any(|remark| remark == ignored), "{:?}", report.remarks);
    let failed = report.cells.iter().find(|cell| cell.scenario.ends_with("::fails")).unwrap();
    let again = format!("kernlab test --kernel {KERNEL} --suite small/lib/tests::fails --cargo");
    assert_eq!(failed.again.as_deref(), Some(&*again));
    let evidence = project.path().join(".kernlab").join(&report.run.id).join(&failed.evidence);
    assert!(!failed.evidence.contains(':'), "{}", failed.evidence);
    let said = fs::read_to_string(evidence.join("stderr.txt")).unwrap();
    assert!(said.contains("on 6.1."), "{said}");
}

const SUITES: &str = r#"
[[suite]]
name = "tests"
cargo-test = { args = "--include-ignored" }

[[suite]]
name = "other"
run = "true"
exit = 0
"#;

#[test]
fn a_suite_of_tests_is_listed_and_filtered() {
    let project = Project::new();
    let output = project.kernlab(&["test", "--kernel", KERNEL, "--list"]).output().unwrap();
    let listed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let cell = |name: &str| format!("{KERNEL}/embedded/suite/{name}\n");
    assert!(listed.starts_with(&cell("other")), "{listed}");
    assert!(listed.contains(&cell("tests/small/lib/tests::is_ignored")), "{listed}");
    assert_eq!(listed.lines().count(), 10, "{listed}");
    let (code, report, stderr) = test(&project, &["--suite", "tests/*::is_ignored"]);
    assert_eq!(code, 0, "{stderr}");
    let expected = [("tests/small/lib/tests::is_ignored", (Outcome::Pass, None))];
    assert_eq!(outcomes(&report), expected.into());
}

#[test]
fn tests_that_cannot_be_run_are_told() {
    let project = Project::new();
    let fails = |more: &[&str]| {
        let output = project.kernlab(&["test", "--kernel", KERNEL, "--cargo"]).args(more).output();
        let output = output.unwrap();
        (output.status.code().unwrap(), stderr(&output))
    };
    let (code, said) = fails(&["--", "no_such_test_anywhere"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = fails(&["--test", "it", "--", "no_such_test_anywhere"]);
    assert!(code == 2 && said.contains("no test matches in the 1 test programs"), "{said}");
    let (code, said) = fails(&["--", "--format", "json"]);
    assert!(code == 2 && said.contains("can't be given --format"), "{said}");
    let (code, said) = fails(&["--package", "missing"]);
    assert!(code == 1 && said.contains("--package missing` failed"), "{said}");
}
