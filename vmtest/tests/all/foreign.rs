//! Programs for arm64, on a kernel for it: with libraries and a shell that this machine can't run.
//!
//! They are compiled with the compiler that compiles the programs for guests of arm64.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use kernlab_core::outcome::Outcome;
use kernlab_kernels::Arch;
use kernlab_vmtest::{guest_programs, report::Report};
use rstest::rstest;

const KERNEL: &str = "debian-6.1-arm64";
const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// Says on what it runs, and ends with 7.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <sys/utsname.h>

int main(void)
{
	struct utsname name;

	uname(&name);
	printf("%s on %.4s\n", name.machine, name.release);
	return 7;
}
"#;

/// Lists its two tests, or runs one, as the harness of rustc does.
const TESTS: &str = r#"
#include <stdio.h>
#include <string.h>

const char *const harness[] = {"RUST_TEST_THREADS", "RUST_TEST_NOCAPTURE",
			       "RUST_TEST_SHUFFLE_SEED"};

int main(int argc, char **argv)
{
	int is_listing = 0, is_ignored = 0;

	for (int i = 1; i < argc; i++) {
		is_listing |= !strcmp(argv[i], "--list");
		is_ignored |= !strcmp(argv[i], "--ignored");
	}
	if (is_listing) {
		puts(is_ignored ? "slow: test" : "quick: test\nslow: test");
		return 0;
	}
	printf("running 1 test\ntest result: ok. 1 passed; 0 failed\n%s", harness[argc > 99]);
	return 0;
}
"#;

/// A directory with sources.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("program.c", PROGRAM), ("tests.c", TESTS)] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Project(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn compile(&self, compiler: &str, arguments: &[&str]) {
        let compiled = Command::new(compiler).args(arguments).current_dir(self.path()).status();
        assert!(compiled.unwrap().success(), "{arguments:?}");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernlab"));
        command.args(arguments).current_dir(self.path()).env_remove("CI").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

fn code_and_texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[rstest]
#[case::without_libraries(&["-static"])]
#[case::with_the_libraries_of_the_compiler(&[])]
#[case::with_one_of_its_own(&["-L.", "-Wl,--no-as-needed", "-lown", "-Wl,-rpath,$ORIGIN/lib"])]
fn a_program_of_arm64_runs(#[case] more: &[&str]) {
    let project = Project::new();
    fs::create_dir(project.path().join("lib")).unwrap();
    fs::write(project.path().join("own.c"), "int own(void) { return 1; }\n").unwrap();
    project.compile(COMPILER, &["-shared", "-o", "libown.so", "own.c"]);
    project.compile(COMPILER, &[&["-o", "program", "program.c"], more].concat());
    fs::rename(project.path().join("libown.so"), project.path().join("lib/libown.so")).unwrap();
    let output = project.run(&["exec", "--kernel", KERNEL, "--", "./program"]);
    let (code, stdout, stderr) = code_and_texts(&output);
    assert_eq!((code, stdout.as_str()), (Some(7), "aarch64 on 6.1.\n"), "{stderr}");
}

#[test]
fn a_library_that_is_nowhere_is_named() {
    let project = Project::new();
    fs::write(project.path().join("own.c"), "int own(void) { return 1; }\n").unwrap();
    project.compile(COMPILER, &["-shared", "-o", "libown.so", "own.c"]);
    let linked = ["-o", "program", "program.c", "-L.", "-Wl,--no-as-needed", "-lown"];
    project.compile(COMPILER, &linked);
    let output = project.run(&["exec", "--kernel", KERNEL, "--", "./program"]);
    let (code, _, stderr) = code_and_texts(&output);
    assert_eq!(code, Some(2), "{stderr}");
    let expected = "/program needs libown.so for aarch64, which is neither in \
                    /lib/aarch64-linux-gnu nor in /usr/aarch64-linux-gnu/lib: ";
    assert!(stderr.contains(expected), "{stderr}");
}

#[rstest]
#[case::on_arm64(KERNEL, "cc", "x86_64", "aarch64")]
#[case::on_x86_64("debian-6.1", COMPILER, "aarch64", "x86_64")]
fn a_program_for_another_kernel_is_refused(
    #[case] kernel: &str,
    #[case] compiler: &str,
    #[case] found: &str,
    #[case] arch: &str,
    #[values("exec", "runner", "test")] command: &str,
) {
    let project = Project::new();
    project.compile(compiler, &["-static", "-o", "program", "program.c"]);
    let output = project.run(&[command, "--kernel", kernel, "--", "./program"]);
    let (code, _, stderr) = code_and_texts(&output);
    assert_eq!(code, Some(2), "{stderr}");
    let expected =
        format!("/program is a program for {found}, and the kernel is one of {arch}: build it ");
    assert!(stderr.contains(&expected), "{stderr}");
}

#[rstest]
#[case::on_arm64(KERNEL, "cc", "x86_64", "aarch64")]
#[case::on_x86_64("debian-6.1", COMPILER, "aarch64", "x86_64")]
fn a_root_for_another_kernel_is_refused(
    #[case] kernel: &str,
    #[case] compiler: &str,
    #[case] found: &str,
    #[case] arch: &str,
    #[values(false, true)] is_packed: bool,
) {
    let project = Project::new();
    fs::create_dir_all(project.path().join("root/bin")).unwrap();
    project.compile(compiler, &["-static", "-o", "root/bin/shell", "program.c"]);
    std::os::unix::fs::symlink("shell", project.path().join("root/bin/sh")).unwrap();
    let mut root = "root";
    if is_packed {
        let packed = Command::new("tar")
            .args(["-C", "root", "-czf", "root.tar.gz", "."])
            .current_dir(project.path())
            .status();
        assert!(packed.unwrap().success());
        root = "root.tar.gz";
    }
    let run = ["exec", "--kernel", kernel, "--root", root, "--", "/bin/true"];
    let (code, _, stderr) = code_and_texts(&project.run(&run));
    assert_eq!(code, Some(2), "{stderr}");
    let expected = format!(
        "/{root} is a root file system for {found}, and the kernel is one of {arch}: take one for "
    );
    assert!(stderr.contains(&expected), "{stderr}");
}

#[test]
fn a_shell_runs_a_script() {
    let project = Project::new();
    fs::write(project.path().join("file"), "a line\n").unwrap();
    let mut shell = project
        .command(&["shell", "--kernel", KERNEL, "--file", "file=/tmp/file"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let script = "read line < /tmp/file\necho \"<$line> on $(uname -m)\" | sed s/on/is/\nexit 5\n";
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let (code, stdout, _) = code_and_texts(&shell.wait_with_output().unwrap());
    assert!(stdout.contains("<a line> is aarch64"), "{stdout}");
    assert_eq!(code, Some(5), "that of the script");
}

#[rstest]
#[case("cc", "x86_64 on 6.1.\n")]
#[case(COMPILER, "aarch64 on 6.1.\n")]
fn a_release_means_the_kernel_that_runs_the_program(
    #[case] compiler: &str,
    #[case] expected: &str,
) {
    let project = Project::new();
    project.compile(compiler, &["-o", "program", "program.c"]);
    let output = project.run(&["runner", "--kernel", "6.1", "--", "./program"]);
    let (code, stdout, stderr) = code_and_texts(&output);
    assert_eq!((code, stdout.as_str()), (Some(7), expected), "{stderr}");
}

#[test]
fn a_suite_runs_on_kernels_of_both_architectures() {
    let project = Project::new();
    for (compiler, arch) in [("cc", "x86_64"), (COMPILER, "aarch64")] {
        fs::create_dir(project.path().join(arch)).unwrap();
        let program = format!("{arch}/program");
        project.compile(compiler, &["-static", "-o", &program, "program.c"]);
    }
    let suites = r#"
        kernels = ["debian-6.1", "debian-6.1-arm64"]
        [[suite]]
        name = "program"
        run = ["./{arch}/program"]
        exit = 7
        assert = ['count(stdout ~ " on 6.1.") == 1']
        [[suite]]
        name = "script"
        run = "test $(uname -m) = $(./*/program | cut -d ' ' -f 1)"
        files = ["{arch}"]
    "#;
    fs::write(project.path().join("kernlab.toml"), suites).unwrap();
    let (code, stdout, stderr) = code_and_texts(&project.run(&["test", "--json"]));
    let report: Report = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
    assert_eq!(report.cells.len(), 4);
    for cell in &report.cells {
        assert_eq!(cell.outcome, Outcome::Pass, "{}: {}", cell.id(), cell.message);
    }
    assert_eq!(code, Some(0));
}

/// Kernels that were asked for are never left out without a word.
#[test]
fn a_kernel_that_no_qemu_runs_has_its_cell() {
    let project = Project::new();
    for (compiler, arch) in [("cc", "x86_64"), (COMPILER, "aarch64")] {
        project.compile(compiler, &["-static", "-o", arch, "program.c"]);
    }
    let kernels = ["--kernel", "debian-6.1", "--kernel", KERNEL];
    let suites = "[[suite]]\nname = \"program\"\nrun = [\"./{arch}\"]\nexit = 7\n";
    fs::write(project.path().join("kernlab.toml"), suites).unwrap();
    let mut test = project.command(&[&["test", "--json"], &kernels[..]].concat());
    let output = test.env("KERNLAB_QEMU_AARCH64", "/nonexistent").output().unwrap();
    let (code, stdout, stderr) = code_and_texts(&output);
    let report: Report = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
    let cell = |kernel| format!("{kernel}/embedded/suite/program");
    let cells: Vec<_> = report.cells.iter().map(|cell| (cell.id(), cell.outcome)).collect();
    let expected = [(cell("debian-6.1"), Outcome::Pass), (cell(KERNEL), Outcome::Infra)];
    assert_eq!(cells, expected);
    assert!(report.cells[1].message.contains("/nonexistent, which is not an executable file"));
    assert_eq!(code, Some(3));
}

#[rstest]
fn guests_without_programs_are_an_error(#[values("exec", "runner", "test")] command: &str) {
    let project = Project::new();
    project.compile(COMPILER, &["-static", "-o", "program", "program.c"]);
    let guest = std::env::var_os("KERNLAB_GUEST").expect("`cargo xtask test` sets KERNLAB_GUEST");
    let guest = guest_programs::of_arch(Path::new(&guest), Arch::X86_64).unwrap();
    fs::create_dir(project.path().join("guest")).unwrap();
    for program in ["kernlab-agent", "kernlab-conductor"] {
        std::os::unix::fs::symlink(guest.join(program), project.path().join("guest").join(program))
            .unwrap();
    }
    let mut run = project.command(&[command, "--kernel", KERNEL, "--", "./program"]);
    let output = run.env("KERNLAB_GUEST", project.path().join("guest")).output().unwrap();
    let (code, _, stderr) = code_and_texts(&output);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("/guest has no programs for guests of aarch64: "), "{stderr}");
}

#[test]
fn tests_of_cargo_are_listed_in_a_guest() {
    let project = Project::new();
    project.compile(COMPILER, &["-o", "tests", "tests.c"]);
    // Cargo can't build for a target whose standard library is not installed: this one says what it would.
    let message = serde_json::json!({
        "reason": "compiler-artifact",
        "package_id": "path+file:///demo#0.1.0",
        "manifest_path": project.path().join("Cargo.toml"),
        "target": { "kind": ["test"], "name": "it" },
        "profile": { "test": true },
        "executable": project.path().join("tests"),
    });
    let cargo = project.path().join("cargo");
    let script = "#!/bin/sh\necho \"$@\" > arguments\ncat message\n";
    fs::write(project.path().join("message"), message.to_string()).unwrap();
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let target = "aarch64-unknown-linux-gnu";
    let arguments = ["test", "--json", "--cargo", "--target", target, "--kernel", KERNEL];
    let output = project.command(&arguments).env("CARGO", &cargo).output().unwrap();
    let (code, stdout, stderr) = code_and_texts(&output);
    let report: Report = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
    let cells: Vec<_> = report.cells.iter().map(|cell| (cell.id(), cell.outcome)).collect();
    let quick = format!("{KERNEL}/embedded/suite/demo/test/it/quick");
    assert_eq!(cells, [(quick, Outcome::Pass)], "{stderr}");
    assert!(report.remarks.iter().any(|remark| remark.contains("slow")), "{:?}", report.remarks);
    assert_eq!(code, Some(0));
    let given = fs::read_to_string(project.path().join("arguments")).unwrap();
    assert!(given.contains("--target aarch64-unknown-linux-gnu"), "{given}");
}
