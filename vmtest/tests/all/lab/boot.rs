//! Boots that succeed, and boots that fail in many ways.

use std::{path::Path, time::Duration};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::Module;
use kernlab_vmtest::{
    lab::{BOOT_TIMEOUT, Guest, LabError, LabErrorKind, Phase, PowerOff},
    qemu::Binary,
};
use rstest::rstest;

use super::workbench::{
    ARM64, KERNEL, fault_machine, guest, image, kernel, machine, machine_with, program,
};

fn failure(result: Result<impl Sized, LabError>) -> LabError {
    match result {
        Ok(_) => panic!("the guest became ready"),
        Err(error) => error,
    }
}

#[test]
fn a_guest_says_hello_and_switches_itself_off() {
    let guest = guest();
    assert!(guest.hello().release.starts_with("6.1"), "{:?}", guest.hello());
    assert_eq!(guest.hello().notes, [""; 0], "everything could be set up");
    let timings = guest.timings();
    assert!(timings.spawn + timings.kernel + timings.agent <= timings.ready, "{timings:?}");
    assert!(timings.kernel > timings.agent, "the agent is quick: {timings:?}");
    assert_eq!(guest.power_off(), PowerOff::Clean);
}

#[test]
fn the_console_is_kept_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("console.log");
    let mut machine = machine();
    machine.console_file = Some(file.clone());
    let guest = Guest::boot(&machine, BOOT_TIMEOUT).unwrap();
    let log = guest.console().text();
    assert!(log.contains("[    "), "a kernel prints times: {log}");
    assert!(std::fs::read_to_string(file).unwrap().starts_with(&log.as_str()[..4]));
}

#[test]
fn a_kernel_without_an_init_panics() {
    let machine = machine_with(&image(Path::new("/dev/null"), &[]), &[]);
    let error = failure(Guest::boot(&machine, BOOT_TIMEOUT));
    assert!(matches!(error.kind(), LabErrorKind::Crashed { phase: Phase::Boot, .. }), "{error}");
    assert_eq!((error.outcome(), error.reason()), (Outcome::Infra, Reason::KernelPanicked));
    assert!(error.to_string().contains("kernel panic: No working init found"), "{error}");
    assert!(error.evidence().console.contains("Call Trace"), "{:?}", error.evidence());
    assert!(error.evidence().reproduce.contains("qemu-system-"), "{:?}", error.evidence());
}

#[rstest]
fn an_init_that_leaves_is_a_panic_too(#[values(KERNEL, ARM64)] kernel: &str) {
    let error = failure(Guest::boot(&fault_machine(kernel, "leave"), BOOT_TIMEOUT));
    assert!(error.to_string().contains("Attempted to kill init"), "{error}");
}

#[test]
fn an_init_that_never_speaks_runs_into_the_deadline() {
    let error = failure(Guest::boot(&fault_machine(KERNEL, "silent"), Duration::from_millis(1500)));
    assert!(matches!(error.kind(), LabErrorKind::NeverReady { .. }), "{error}");
    assert_eq!((error.outcome(), error.reason()), (Outcome::Infra, Reason::BootTimeout));
    assert!(
        error
            .to_string()
            .starts_with("the guest was not ready after 6 s; the last line on its console: [")
    );
}

#[rstest]
fn an_init_that_speaks_another_language_is_refused(#[values(KERNEL, ARM64)] kernel: &str) {
    let error = failure(Guest::boot(&fault_machine(kernel, "garbage"), BOOT_TIMEOUT));
    assert!(matches!(error.kind(), LabErrorKind::Garbage { .. }), "{error}");
    assert_eq!((error.outcome(), error.reason()), (Outcome::Infra, Reason::ConnectionLost));
}

#[test]
fn a_module_that_the_kernel_refuses_is_named() {
    let module = Module { name: "broken".to_owned(), content: b"not a module".to_vec() };
    let machine = machine_with(&image(&program("kernlab-agent"), &[module]), &[]);
    let error = failure(Guest::boot(&machine, BOOT_TIMEOUT));
    assert_eq!(error.reason(), Reason::ModuleRefused);
    let expected = "the kernel refused the module broken.ko: Exec format error";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn a_file_that_is_no_kernel_is_refused_before_qemu_starts() {
    let mut machine = machine();
    machine.machine.kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let error = failure(Guest::boot(&machine, BOOT_TIMEOUT));
    assert_eq!((error.outcome(), error.reason()), (Outcome::Infra, Reason::NotAKernel));
    assert!(error.verdict().message.contains("expected a bzImage"), "{}", error.verdict().message);
}

#[test]
fn an_elf_file_that_is_no_kernel_is_refused_by_qemu() {
    let mut machine = machine();
    machine.machine.kernel = program("kernlab-agent");
    let error = failure(Guest::boot(&machine, BOOT_TIMEOUT));
    assert_eq!((error.outcome(), error.reason()), (Outcome::Infra, Reason::QemuFailed), "{error}");
    assert!(error.to_string().contains("kernel"), "QEMU says why: {error}");
}

#[test]
fn without_qemu_the_error_names_the_variable() {
    // The variable only affects this process: nextest runs every test in its own.
    // SAFETY: no other thread of this test reads the environment.
    unsafe { std::env::set_var("KERNLAB_QEMU", "/nonexistent") };
    let error = LabError::from(Binary::find(kernel().arch).unwrap_err());
    assert_eq!(error.reason(), Reason::QemuFailed);
    let message = error.verdict().message;
    assert!(message.contains("KERNLAB_QEMU names /nonexistent"), "{message}");
}
