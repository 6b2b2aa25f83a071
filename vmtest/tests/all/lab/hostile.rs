//! Hostile guests. A shell script in place of QEMU sends whatever a test wants to the console
//! (descriptor 3) and to the protocol's port (descriptor 4).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::Arch;
use kernlab_proto::{Begin, Exit, GuestMessage, Hello, HostMessage, RunReport, Stream, encode};
use kernlab_vmtest::{
    lab::{Bootable, Guest, Job, LabError, LabErrorKind, Limits, Phase},
    qemu::{Accelerator, Binary, MachineSpec},
};
use rstest::rstest;

/// The timeout of a boot in these tests.
const BOOT: Duration = Duration::from_secs(5);

/// A machine whose guest sends these messages at once, and then runs the script.
fn pretend(dir: &Path, messages: &[GuestMessage], script: &str) -> Bootable {
    let answers = dir.join("answers");
    let frames = messages.iter().flat_map(|message| encode(message).unwrap());
    fs::write(&answers, frames.collect::<Vec<_>>()).unwrap();
    let qemu = dir.join("qemu");
    fs::write(&qemu, format!("#!/bin/sh\ncat {} >&4\n{script}\n", answers.display())).unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let kernel = dir.join("vmlinux");
    let mut header = b"\x7fELF\x02\x01".to_vec();
    header.resize(0x300, 0);
    header[18] = 62;
    fs::write(&kernel, header).unwrap();
    // KVM has the shortest timeouts.
    Bootable::new(
        Binary::at(qemu),
        MachineSpec::new(Arch::X86_64, Accelerator::Kvm, kernel, "/image"),
    )
}

fn hello() -> GuestMessage {
    GuestMessage::Hello(Hello {
        release: "6.1".to_owned(),
        version: "#1".to_owned(),
        processors: 1,
        user_space_ms: u64::MAX,
        ready_ms: 0,
        notes: vec!["\u{1b}[2J".to_owned()],
    })
}

fn output(stream: Stream, length: usize) -> GuestMessage {
    GuestMessage::Output { stream, bytes: vec![b'x'; length] }
}

fn exited() -> GuestMessage {
    let report =
        RunReport { exit: Exit::Code(0), duration_us: 1, dropped: 0, killed: 0, stuck: false };
    GuestMessage::Exited(report)
}

fn job() -> Job {
    Job::new(["/bin/x"]).timeout(Duration::from_millis(1)).limits(Limits {
        stdout: 1000,
        stderr: 0,
        result: 0,
    })
}

fn boot_error(messages: &[GuestMessage], script: &str) -> LabError {
    let dir = tempfile::tempdir().unwrap();
    let machine = pretend(dir.path(), messages, script);
    Guest::boot(&machine, BOOT).map(|_| "a guest").unwrap_err()
}

fn run_error(answers: &[GuestMessage], script: &str) -> LabError {
    let dir = tempfile::tempdir().unwrap();
    let messages: Vec<_> =
        [hello(), GuestMessage::Done].into_iter().chain(answers.iter().cloned()).collect();
    let machine = pretend(dir.path(), &messages, script);
    Guest::boot(&machine, BOOT).unwrap().run(&job()).unwrap_err()
}

#[rstest]
#[case::nothing_that_was_asked(&[GuestMessage::Done])]
#[case::hello_again(&[hello()])]
#[case::primed(&[GuestMessage::Primed])]
#[case::at_the_terminal(&[GuestMessage::AtTerminal])]
#[case::more_than_allowed(&[output(Stream::Stdout, 600), output(Stream::Stdout, 600)])]
#[case::output_of_another_kind(&[output(Stream::KernelLog, 1)])]
fn an_answer_that_is_none_breaks_the_protocol(#[case] answers: &[GuestMessage]) {
    let error = run_error(answers, "exec sleep 60");
    assert!(matches!(error.kind(), LabErrorKind::Unexpected { .. }), "{error}");
    assert_eq!((error.outcome(), error.reason()), (Outcome::Infra, Reason::ConnectionLost));
}

#[test]
fn an_honest_answer_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let messages = [hello(), GuestMessage::Done, output(Stream::Stdout, 1000), exited()];
    let machine = pretend(dir.path(), &messages, "exec sleep 60");
    let output = Guest::boot(&machine, BOOT).unwrap().run(&job()).unwrap();
    assert_eq!(output.stdout.len(), 1000);
}

#[test]
fn a_crash_outranks_silence() {
    let panic = "echo '[    1.000000] Kernel panic - not syncing: test' >&3; exec sleep 60";
    let error = run_error(&[], panic);
    assert!(matches!(error.kind(), LabErrorKind::Crashed { phase: Phase::Work, .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::KernelCrash);
}

#[test]
fn a_crash_outranks_a_lost_connection() {
    let error = boot_error(&[], "echo 'kernel BUG at a/b.c:12!' >&3; exit 0");
    assert!(matches!(error.kind(), LabErrorKind::Crashed { phase: Phase::Boot, .. }), "{error}");
}

#[test]
fn silence_ends() {
    let started = Instant::now();
    let error = run_error(&[], "exec sleep 60");
    assert!(matches!(error.kind(), LabErrorKind::Silent { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn an_end_without_a_word_is_no_verdict_on_the_kernel() {
    // Waits for the request to run the program: that is the first byte after the request to begin,
    // whose length is constant from 1972 to 2262.
    let begin =
        HostMessage::Begin(Begin { unix_time_ns: 1 << 60, entropy: [0; 32], has_files: false });
    let asked = encode(&begin).unwrap().len() + 1;
    let end = format!("head -c {asked} <&4 >/dev/null; exit 0");
    let error = run_error(&[output(Stream::Stdout, 1)], &end);
    assert!(matches!(error.kind(), LabErrorKind::Died { phase: Phase::Work, .. }), "{error}");
    assert_eq!((error.outcome(), error.reason()), (Outcome::Infra, Reason::ConnectionLost));
}

#[test]
fn a_qemu_that_gives_up_says_why() {
    let error = boot_error(&[], "echo 'qemu: cannot allocate memory' >&2; exit 1");
    assert!(matches!(error.kind(), LabErrorKind::QemuFailed { .. }), "{error}");
    assert!(error.to_string().contains("cannot allocate memory"), "{error}");
}

#[test]
fn garbage_never_waits_for_the_deadline() {
    let started = Instant::now();
    let error = boot_error(&[], "echo 'Linux version 6.1' >&4; exec sleep 60");
    assert!(matches!(error.kind(), LabErrorKind::Garbage { .. }), "{error}");
    assert!(started.elapsed() < BOOT, "{:?}", started.elapsed());
}

#[test]
fn an_endless_console_does_not_hold_anybody_up() {
    let error = boot_error(&[], "yes 'a line' >&3 & yes 'another' >&4; exec sleep 60");
    assert!(matches!(error.kind(), LabErrorKind::Garbage { .. }), "{error}");
    assert!(error.evidence().console.len() < 10_000, "{}", error.evidence().console.len());
}
