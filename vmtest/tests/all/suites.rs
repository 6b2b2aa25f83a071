//! Suites of a project's own, on a real kernel: those that are well, and those that are not.

mod corners;
mod mislabelled;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_vmtest::report::{CellReport, Report};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

const SNAPSHOT: &str = include_str!("suites/well.snap");

/// A directory with suites.
struct Project(tempfile::TempDir);

impl Project {
    fn new(description: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("kernlab.toml"), description).unwrap();
        fs::write(dir.path().join("tracer.c"), include_str!("suites/tracer.c")).unwrap();
        fs::write(dir.path().join("well.snap"), SNAPSHOT).unwrap();
        Project(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The exit code of `kernlab test`, and its report.
    fn test(&self, more: &[&str]) -> (i32, Report) {
        let output = Command::new(env!("CARGO_BIN_EXE_kernlab"))
            .args(["test", "--json"])
            .args(more)
            .current_dir(self.path())
            // Golden snapshots are not written in a CI system.
            .env_remove("CI")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("no report: {error}: {stderr}"));
        (output.status.code().unwrap(), report)
    }
}

fn by_suite(report: &Report) -> BTreeMap<&str, &CellReport> {
    report.cells.iter().map(|cell| (cell.scenario.as_str(), cell)).collect()
}

#[test]
fn each_fault_has_its_outcome_and_reason() {
    use Outcome::{Fail, Infra, KernelCrash, Timeout, Unsupported};

    let project = Project::new(include_str!("suites/kernlab.toml"));
    let (code, report) = project.test(&[]);
    assert_eq!(code, 1);
    let cells = by_suite(&report);
    assert_eq!(cells["well"].outcome, Outcome::Pass, "{}", cells["well"].message);
    let expected = [
        ("loses-by-golden", Fail, Reason::EventsDiffer, "well.snap"),
        ("loses-by-assertion", Fail, Reason::AssertionFailed, "count(stdout ~ \"second\") is 0"),
        ("says-that-it-loses", Fail, Reason::EventsLost, "3 lost events, and 2 are allowed"),
        ("says-nothing", Fail, Reason::SnapshotMissing, "an empty snapshot is not written"),
        ("never-ready", Timeout, Reason::NotReady, "no BPF program was loaded"),
        ("loads-too-little", Timeout, Reason::NotReady, "1 BPF program was loaded"),
        (
            "dies-early",
            Fail,
            Reason::TracerDied,
            "before it was ready: exit code 4; stderr:\ncannot",
        ),
        ("dies-later", Fail, Reason::TracerDied, "while the workload ran: exit code 5"),
        ("leaves-a-daemon", Fail, Reason::StateLeftBehind, "sleep"),
        ("survives-its-signal", Fail, Reason::StopIgnored, " s of SIGINT, and was killed"),
        ("never-ends", Timeout, Reason::DeadlineExceeded, "stopped after"),
        ("leaves-a-program", Fail, Reason::StateLeftBehind, "probe"),
        ("workload-fails", Infra, Reason::WorkloadFailed, "no such device"),
        ("workload-never-ends", Timeout, Reason::DeadlineExceeded, "workload did not end within"),
        ("setup-fails", Infra, Reason::SetupFailed, "no widgets"),
        ("exits-otherwise", Fail, Reason::UnexpectedExit, "exit code 3, expected code 2"),
        ("crashes", Fail, Reason::UnexpectedExit, "SIGSEGV"),
        ("restarts-the-guest", Fail, Reason::TracerDied, "shut the guest down"),
        ("fails-as-expected", Unsupported, Reason::ExpectedFailure, "known"),
        ("passes-unexpectedly", Fail, Reason::ExpectationStale, "remove the expectation"),
        ("fails-elsewhere", Fail, Reason::UnexpectedExit, "exit code 1"),
    ];
    for (suite, outcome, reason, message) in expected {
        let cell = cells[suite];
        let what = format!("{suite}: {}: {}", cell.verdict(), cell.message);
        assert_eq!((cell.outcome, cell.reason), (outcome, Some(reason)), "{what}");
        assert!(cell.message.contains(message), "{what}");
    }
    let due = "fails-as-expected: review what is expected where `map_type.ringbuf` holds (known): \
               that was due on 2026-01-01";
    assert_eq!(report.remarks, [due]);
    // A flood is no fault: what was read until the workload ended is kept.
    assert_eq!(cells["floods"].outcome, Outcome::Pass, "{}", cells["floods"].message);
    for well in ["in-a-network-of-its-own", "has-what-it-asks-for"] {
        assert_eq!(cells[well].outcome, Outcome::Pass, "{well}: {}", cells[well].message);
    }
    assert_eq!(cells["crashes-the-kernel"].outcome, KernelCrash);
    let run = project.path().join(".kernlab/latest");
    let said = fs::read(run.join(&cells["crashes-the-kernel"].evidence).join("stdout.txt"));
    assert_eq!(said.unwrap(), b"last words\n", "what a lost guest wrote is kept");
    // Nobody waits for a fault much longer than its deadline, which is four times as long without
    // KVM, and each guest is another.
    assert_eq!(cells.len(), expected.len() + 5);
    for cell in cells.values() {
        assert!(cell.duration_ms < 60_000, "{}: {} ms", cell.scenario, cell.duration_ms);
    }
}

#[test]
fn a_fallback_is_seen_and_so_is_a_suite_without_cells() {
    let project = Project::new(
        r#"
kernels = ["debian-6.1"]
build = "cc -O1 -static -o tracer tracer.c"
[[suite]]
name = "opens"
run = ["./tracer", "falls-back"]
workload = ["true"]
btf = ["embedded", "masked"]
[[suite]]
name = "idle"
run = "true"
btf = ["absent"]
"#,
    );
    let (code, report) = project.test(&[]);
    assert_eq!(code, 0);
    let idle = "idle: not run: no kernel of this run has one of its BTF modes (absent)";
    let remark = "opens: on debian-6.1 masked it uses program untyped (socket_filter) instead of \
                  program typed (socket_filter)";
    assert_eq!(report.remarks, [idle, remark]);
}

#[test]
fn a_new_snapshot_is_only_written_if_nothing_else_is_wrong() {
    let suite = |assertion: &str| {
        format!(
            "kernels = [\"debian-6.1\"]\nbuild = \"cc -static -o tracer tracer.c\"\n[[suite]]\nname = \
             \"new\"\nrun = [\"./tracer\", \"reports\"]\nworkload = [\"true\"]\nnormalise = {{ pid = \
             \"alias\" }}\ngolden = \"tests/new.snap\"\nassert = ['count(stdout ~ \"second\") == \
             {assertion}']\n"
        )
    };
    let project = Project::new(&suite("2"));
    let snapshot = project.path().join("tests/new.snap");
    assert_eq!(project.test(&["--update-snapshots"]).0, 1);
    assert!(!snapshot.exists());
    fs::write(project.path().join("kernlab.toml"), suite("1")).unwrap();
    let (code, report) = project.test(&[]);
    assert_eq!((code, report.cells[0].reason), (1, Some(Reason::SnapshotMissing)));
    assert_eq!(project.test(&["--update-snapshots"]).0, 0);
    assert_eq!(fs::read_to_string(snapshot).unwrap(), SNAPSHOT);
    let copies = project.path().join("copies");
    assert_eq!(project.test(&["--repeat", "2", "--report", copies.to_str().unwrap()]).0, 0);
    assert!(copies.join("report.json").is_file());
}

/// A snapshot is what all kernels should say.
#[test]
fn what_a_kernel_is_known_to_get_wrong_is_in_no_snapshot() {
    let project = Project::new(
        r#"
kernels = ["debian-6.1", "debian-5.10"]
[[suite]]
name = "release"
run = "case $(uname -r) in 5.*) echo wrong ;; *) echo right ;; esac"
golden = "tests/release.snap"
expect = [{ when = "!map_type.bloom_filter", outcome = "fail", code = "events-differ", reason = "known" }]
"#,
    );
    let snapshot = project.path().join("tests/release.snap");
    for before in [None, Some("old\n"), Some("wrong\n")] {
        let _ = fs::remove_file(&snapshot);
        before.iter().for_each(|before| fs::write(&snapshot, before).unwrap());
        // With the wrong snapshot, it is unexpected that the old kernel's events are like it.
        let (code, old) = match before {
            Some("wrong\n") => (1, Outcome::Fail),
            _ => (0, Outcome::Unsupported),
        };
        let (found, report) = project.test(&["--update-snapshots"]);
        let outcomes: Vec<_> = report.cells.iter().map(|cell| cell.outcome).collect();
        let messages: Vec<_> = report.cells.iter().map(|cell| &cell.message).collect();
        assert_eq!((found, outcomes), (code, vec![old, Outcome::Pass]), "{before:?} {messages:?}");
        assert_eq!(fs::read_to_string(&snapshot).unwrap(), "right\n");
        assert_eq!(project.test(&[]).0, 0);
    }
}

/// What ended before a signal keeps its verdict.
#[rstest]
#[case(Signal::SIGINT)]
#[case(Signal::SIGTERM)]
fn an_interrupted_run_has_a_report(#[case] signal: Signal) {
    let project = Project::new(
        "kernels = [\"debian-6.1\"]\n[[suite]]\nname = \"fails\"\nrun = \"false\"\n\
         [[suite]]\nname = \"hangs\"\nrun = \"sleep 1000\"\ntimeout = 600\n\
         [[suite]]\nname = \"waits\"\nrun = \"true\"\n",
    );
    let mut test = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(["test", "--jobs", "1"])
        .current_dir(project.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(test.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("suite/fails: fail (unexpected-exit)") {
        assert!(told.read_line(&mut seen).unwrap() > 0, "it ended: {seen}");
    }
    kill(Pid::from_raw(test.id().cast_signed()), signal).unwrap();
    let began = Instant::now();
    let output = test.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(60));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    let report = fs::read(project.path().join(".kernlab/latest/report.json")).unwrap();
    let report: Report = serde_json::from_slice(&report).unwrap();
    assert_eq!(report.remarks, [format!("the run was interrupted by {signal}")]);
    let outcomes: Vec<_> = report.cells.iter().map(|cell| (cell.outcome, cell.reason)).collect();
    let not_run = (Outcome::NotRun, Some(Reason::Interrupted));
    let failed = (Outcome::Fail, Some(Reason::UnexpectedExit));
    assert_eq!(outcomes, [failed, not_run, not_run], "{stdout}");
    let again = "kernlab test --kernel debian-6.1 --suite waits";
    assert_eq!(report.cells[2].repro_command(), again);
}

/// A full disk takes the report, and not what it would say.
#[test]
fn without_a_report_a_failure_is_still_told() {
    let project = Project::new(
        "kernels = [\"debian-6.1\"]\n[[suite]]\nname = \"ill\"\nrun = \"false\"\nexit = 0\n",
    );
    // A file can't replace a directory.
    let spoil = "n=0; until set -- .kernlab/2*/plan.json && [ -e \"$1\" ]; do \
                 n=$((n + 1)); [ $n -lt 3000 ] || exit 1; sleep 0.01; done; \
                 mkdir \"${1%/*}/report.json\"";
    let mut spoiler =
        Command::new("sh").args(["-c", spoil]).current_dir(project.path()).spawn().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .arg("test")
        .current_dir(project.path())
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(spoiler.wait().unwrap().success());
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("ill") && stdout.contains("exit code 1"), "{stdout}");
    assert!(stderr.contains("failed to write the report"), "{stderr}");
    assert!(!project.path().join(".kernlab/latest").exists());
}

const CRASH: &str =
    "kernel-crash (kernel-panicked): kernel panic: sysrq triggered crash [panic], line ";

/// Asserts that a crash left its trace, and what the program wrote just before it.
fn expect_evidence_of_crash(evidence: &Path) {
    let read = |name: &str| fs::read_to_string(evidence.join(name)).unwrap_or_default();
    assert!(read("console.log").contains("sysrq_handle_crash+0x"), "{}", read("console.log"));
    assert!(read("guest.txt").contains("to boot it again: "), "{}", read("guest.txt"));
    assert_eq!(read("stdout.txt"), "{\"event\": \"last\"}\n");
    assert_eq!(read("stderr.txt"), "last words\n");
}

#[rstest]
#[case("debian-5.10")]
#[case("debian-6.1")]
#[case("debian-6.12")]
fn a_program_that_crashes_its_kernel_has_said_its_last_words(#[case] kernel: &str) {
    let project = Project::new("");
    let compiled = Command::new("cc")
        .args(["-O1", "-static", "-o", "tracer", "tracer.c"])
        .current_dir(project.path())
        .status();
    assert!(compiled.unwrap().success());
    let output = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(["exec", "--kernel", kernel, "--", "./tracer", "crashes"])
        .current_dir(project.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "{\"event\": \"last\"}\n");
    assert!(stderr.starts_with("last words\n"), "{stderr}");
    for part in [CRASH, " of console.log:\n", "Call Trace:"] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    let evidence = stderr.lines().find_map(|line| line.strip_prefix("evidence: "));
    expect_evidence_of_crash(Path::new(evidence.unwrap()));
}

#[test]
fn a_crash_outranks_a_snapshot_and_changes_none() {
    let project = Project::new(
        r#"
kernels = ["debian-6.1", "debian-5.10"]
build = "cc -O1 -static -o tracer tracer.c"
[[suite]]
name = "crashes"
run = ["./tracer", "crashes"]
workload = ["true"]
golden = "well.snap"
"#,
    );
    let (code, report) = project.test(&["--update-snapshots"]);
    assert_eq!((code, report.cells.len()), (1, 2));
    assert_eq!(fs::read_to_string(project.path().join("well.snap")).unwrap(), SNAPSHOT);
    for cell in &report.cells {
        let verdict = format!("{}: {}", cell.verdict(), cell.message);
        assert!(verdict.starts_with(CRASH), "{verdict}");
        assert!(verdict.contains("Call Trace:"), "{verdict}");
        expect_evidence_of_crash(&project.path().join(".kernlab/latest").join(&cell.evidence));
    }
}

/// Runs a shell's line in a guest, with an input.
fn exec(input: &[u8], arguments: &[&str]) -> (i32, Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input");
    fs::write(&file, input).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kernlab"))
        .args(["exec", "--kernel", "debian-6.1"])
        .args(arguments)
        .current_dir(dir.path())
        .env("A_VARIABLE", "with spaces")
        .stdin(fs::File::open(file).unwrap())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), output.stdout, stderr)
}

#[test]
fn a_program_finds_what_it_was_given() {
    let line = r#"pwd; cat; echo "$A_VARIABLE"; for word; do echo "<$word>"; done; cat /proc/self/status; sleep 0 & wait"#;
    let words = ["--", "sh", "-c", line, "sh", "two words", "ü", ""];
    let (code, stdout, stderr) = exec(b"some input\n", &words);
    assert_eq!(code, 0, "{stderr}");
    let text = String::from_utf8(stdout).unwrap();
    let (directory, rest) = text.split_once('\n').unwrap();
    assert!(directory.starts_with('/') && !directory.ends_with("/tmp"), "{text}");
    let given = "some input\nwith spaces\n<two words>\n<ü>\n<>\n";
    assert!(rest.starts_with(given), "{text}");
    // Nothing of the lab's own is inherited: no blocked, ignored or caught signal.
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(rest.contains(&format!("{field}:\t0000000000000000\n")), "{text}");
    }
}

#[test]
fn a_dynamic_program_finds_its_libraries() {
    let (code, stdout, stderr) = exec(b"", &["--", "/usr/bin/sort", "-r", "/proc/filesystems"]);
    assert_eq!(code, 0, "{stderr}");
    let stdout = String::from_utf8(stdout).unwrap();
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines.len() > 3 && lines.is_sorted_by(|a, b| a >= b), "{stdout}");
}

#[rstest]
#[case::of_the_program("exit 125", 125)]
#[case::of_a_signal("kill -TERM $$", 143)]
#[case::of_a_success("true", 0)]
fn the_exit_code_is_passed_on(#[case] line: &str, #[case] expected: i32) {
    assert_eq!(exec(b"", &["--", "sh", "-c", line]).0, expected);
}

#[test]
fn a_program_that_takes_too_long_is_asked_to_stop_and_its_words_are_kept() {
    let line = "trap 'echo stopped; exit 0' INT; echo begun; while :; do sleep 0.1; done";
    let (code, stdout, _) = exec(b"", &["--timeout", "1", "--", "sh", "-c", line]);
    assert_eq!((code, &*String::from_utf8(stdout).unwrap()), (124, "begun\nstopped\n"));
}

#[test]
fn output_is_passed_on_byte_by_byte_however_long_it_is() {
    const LENGTH: usize = 20 << 20;
    let input: Vec<u8> = (0..LENGTH).map(|at| (at * 31 + at / 251) as u8).collect();
    let (code, stdout, stderr) = exec(&input, &["--timeout", "60", "--", "cat"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout == input, "{} bytes", stdout.len());
}
