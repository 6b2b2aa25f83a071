//! Programs that end in every way, and programs that crash or hang the kernel.

use std::time::{Duration, Instant};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_vmtest::lab::{Exit, Job, LabErrorKind, Limits, Phase};

use rstest::rstest;

use super::workbench::{ARM64, KERNEL, fault_agent, restored, restored_on};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program writes text")
}

#[test]
fn a_program_has_what_it_was_promised() {
    let mut guest = restored();
    let given = vec![b'g'; 100_000];
    let job = fault_agent(&["report"]).env("NAME", "value").file("/tmp/given", 0o600, given);
    let output = guest.run(&job).unwrap();
    let expected = [
        "stdin: \"\"",
        "variables: [(\"NAME\", \"value\")]",
        "directory: /tmp",
        "descriptors: 5",
        "file: 100000",
    ];
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
    assert_eq!(text(&output.stderr), "errors go here\n");
    assert_eq!(text(&output.result), "the result");
    assert_eq!((output.exit, output.killed, output.stuck), (Exit::Code(0), 0, false));

    let output = guest.run(&fault_agent(&["connect"])).unwrap();
    assert_eq!(text(&output.stdout), "127.0.0.1:0 hello\n[::1]:0 hello\n", "{output:?}");
}

#[test]
fn ends_are_told_apart() {
    let mut guest = restored();
    let mut exit = |words: &[&str]| guest.run(&fault_agent(words)).unwrap().exit;
    assert_eq!(exit(&["exit", "0"]), Exit::Code(0));
    assert_eq!(exit(&["exit", "42"]), Exit::Code(42));
    assert_eq!(exit(&["abort"]), Exit::Signal(6));
}

#[test]
fn a_program_that_does_not_exist_is_refused() {
    let error = restored().run(&Job::new(["/bin/nothing"])).unwrap_err();
    let expected = "the guest could not execute /bin/nothing: No such file or directory";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn a_command_line_that_fits_no_message_is_refused() {
    let error = restored().run(&fault_agent(&["exit", &"0".repeat(100_000)])).unwrap_err();
    assert!(matches!(error.kind(), LabErrorKind::Unsendable(_)), "{error}");
    assert!(error.verdict().message.contains("shorten the command line"), "{error}");
}

#[rstest]
fn a_flood_is_cut_at_the_limit(#[values(KERNEL, ARM64)] kernel: &str) {
    let limits = Limits { stdout: 10_000, stderr: 10_000, result: 10_000 };
    let output =
        restored_on(kernel).run(&fault_agent(&["flood", "3000000"]).limits(limits)).unwrap();
    assert_eq!(output.exit, Exit::Code(0), "the program never blocks for ever");
    assert_eq!((output.stdout.len(), output.dropped), (10_000, 2_990_000));
}

#[rstest]
fn a_program_that_ignores_its_deadline_is_killed(#[values(KERNEL, ARM64)] kernel: &str) {
    let mut guest = restored_on(kernel);
    let started = Instant::now();
    let output =
        guest.run(&fault_agent(&["stubborn"]).timeout(Duration::from_millis(250))).unwrap();
    assert_eq!(output.exit, Exit::Deadline);
    assert_eq!(text(&output.stdout), "here to stay\n");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let console = guest.console().text();
    assert!(console.contains("the program did not end in time; its threads:"), "{console}");
    let its_line = console.lines().find(|line| line.contains("(kernlab-fault-a) "));
    assert!(its_line.is_some(), "{console}");
    // The guest still works.
    assert_eq!(guest.run(&fault_agent(&["exit", "3"])).unwrap().exit, Exit::Code(3));
}

#[test]
fn daemons_do_not_outlive_their_job() {
    let mut guest = restored();
    let output = guest.run(&fault_agent(&["daemons", "3"])).unwrap();
    assert_eq!((output.exit, output.killed, output.stuck), (Exit::Code(0), 3, false));
    assert_eq!(text(&output.stdout), "left 3\n");
}

#[test]
fn hidden_dirs_are_empty_for_one_job() {
    let mut guest = restored();
    let btf = fault_agent(&["list", "/sys/kernel/btf"]);
    let hidden = btf.clone().hide("/sys/kernel/btf").hide("/nonexistent").hide("/proc/kallsyms");
    assert_eq!(text(&guest.run(&hidden).unwrap().stdout), "");
    assert!(text(&guest.run(&btf).unwrap().stdout).contains("vmlinux"));
}

#[rstest]
fn the_guests_clock_keeps_time(#[values(KERNEL, ARM64)] kernel: &str) {
    let mut guest = restored_on(kernel);
    let mut nap = |count: &str, microseconds: &str| {
        let output = guest.run(&fault_agent(&["nap", count, microseconds])).unwrap();
        let guests = Duration::from_micros(text(&output.stdout).trim().parse().unwrap());
        assert!(output.duration >= guests, "the guest's clock is not ahead of ours: {output:?}");
        guests
    };
    assert!(nap("1", "500000") >= Duration::from_millis(500));
    // With a clock that ticks 250 times a second, this would take at least two seconds.
    let short = nap("500", "100");
    assert!(short < Duration::from_millis(1900), "{short:?}");
}

#[test]
fn the_kernels_log_is_read_whole() {
    let mut guest = restored();
    let log = guest.kernel_log().unwrap();
    assert!(log.contains("Linux version 6.1"), "{log}");
    assert!(log.contains("Run /init as init process"), "{log}");
    assert!(log.lines().all(|line| line.starts_with('<')), "{log}");
}

#[rstest]
fn a_crash_is_reported_with_its_evidence(#[values(KERNEL, ARM64)] kernel: &str) {
    let mut guest = restored_on(kernel);
    let started = Instant::now();
    let error = guest.run(&fault_agent(&["crash"])).unwrap_err();
    assert!(matches!(error.kind(), LabErrorKind::Crashed { phase: Phase::Work, .. }), "{error}");
    assert_eq!((error.outcome(), error.reason()), (Outcome::KernelCrash, Reason::KernelPanicked));
    let evidence = &error.evidence().console;
    // arm64 spells it in lower case.
    let traces = ["Call Trace:", "Call trace:"];
    assert!(evidence.contains("sysrq"), "{evidence}");
    assert!(traces.iter().any(|trace| evidence.contains(trace)), "{evidence}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // The guest is gone.
    assert!(guest.run(&fault_agent(&["exit", "0"])).is_err());
}

#[test]
fn a_guest_that_answers_no_more_is_given_up() {
    let mut guest = restored();
    let error =
        guest.run(&fault_agent(&["wedge"]).timeout(Duration::from_millis(500))).unwrap_err();
    assert!(matches!(error.kind(), LabErrorKind::Silent { .. }), "{error}");
    assert_eq!((error.outcome(), error.reason()), (Outcome::Timeout, Reason::DeadlineExceeded));
}
