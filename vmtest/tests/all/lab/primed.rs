//! Guests that are saved with a primed program.

use std::{collections::BTreeSet, fs, sync::Mutex, time::Duration};

use kernlab_core::outcome::Outcome;
use kernlab_kernels::{Event, Observer, Store};
use kernlab_proto::suite::ARCHIVES;
use kernlab_vmtest::{
    checkpoints::Checkpoints,
    lab::{BOOT_TIMEOUT, Bootable, Checkpoint, Exit, Guest, JobOutput, LabErrorKind},
    qemu::InjectedFile,
};
use rstest::rstest;

use super::workbench::{fault_agent, machine};

/// Restores the guest, and returns what the primed program does with this input.
fn proceed(machine: &Bootable, saved: &Checkpoint, input: &str) -> JobOutput {
    let program = fault_agent(&["prime"]).timeout(Duration::from_secs(1));
    let guest = Guest::restore_primed(machine, saved).unwrap();
    let (mut guest, output) = guest.proceed(input, &program).unwrap();
    assert!(guest.kernel_log().unwrap().starts_with(&saved.kernel_log));
    // Nothing is left of the guest.
    let after = guest.run(&fault_agent(&["list", "/sys/kernel/btf"])).unwrap();
    assert_eq!(String::from_utf8_lossy(&after.stdout).trim(), "vmlinux");
    output
}

/// Records notices.
#[derive(Default)]
struct Notices(Mutex<Vec<String>>);

impl Observer for Notices {
    fn observe(&self, _: &str, _: Event<'_>) {}

    fn notice(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

/// Fails on any notice.
struct NoNotice;

impl Observer for NoNotice {
    fn observe(&self, _: &str, _: Event<'_>) {}

    fn notice(&self, line: &str) {
        panic!("{line}");
    }
}

#[test]
fn a_program_that_stands_by_goes_on_in_every_guest() {
    let mut machine = machine();
    let booted = Checkpoint::of_boot(&machine, BOOT_TIMEOUT).unwrap();
    let program = fault_agent(&["prime"]).hide("/sys/kernel/btf");
    let saved = Checkpoint::of_primed(&machine, &booted, &program).unwrap();
    assert!(saved.kernel_log.starts_with(&booted.kernel_log));
    // The saved guest already has its files.
    machine.machine.injected.clear();

    let hidden = proceed(&machine, &saved, "list /sys/kernel/btf");
    assert_eq!((hidden.exit, hidden.stdout), (Exit::Code(0), Vec::new()));
    assert_eq!(proceed(&machine, &saved, "exit 7").exit, Exit::Code(7));
    let late = proceed(&machine, &saved, "nap 1000 1000000");
    assert_eq!(late.exit, Exit::Deadline);
    let mut identities = BTreeSet::new();
    for _ in 0..3 {
        let output = proceed(&machine, &saved, "identify");
        assert!(identities.insert(output.stdout), "two guests have the same random bytes");
    }
}

#[rstest]
#[case::ends(&["exit", "0"])]
#[case::speaks(&["list", "/"])]
#[case::goes_on(&["nap", "1000", "1000000"])]
fn a_program_that_does_something_else_is_not_saved(#[case] words: &[&str]) {
    let machine = machine();
    let booted = Checkpoint::of_boot(&machine, BOOT_TIMEOUT).unwrap();
    let program = fault_agent(words).timeout(Duration::from_secs(1));
    let error = Checkpoint::of_primed(&machine, &booted, &program).unwrap_err();
    assert!(matches!(error.kind(), LabErrorKind::EndedEarly { .. }), "{error}");
    // The guest that it was restored from is unchanged.
    let mut guest = Guest::restore(&machine, &booted).unwrap();
    assert_eq!(guest.run(&fault_agent(&["exit", "3"])).unwrap().exit, Exit::Code(3));
}

#[test]
fn a_kernel_that_complained_meanwhile_is_not_saved() {
    let machine = machine();
    let booted = Checkpoint::of_boot(&machine, BOOT_TIMEOUT).unwrap();
    let program = fault_agent(&["prime", "warn"]);
    let error = Checkpoint::of_primed(&machine, &booted, &program).unwrap_err();
    assert!(matches!(error.kind(), LabErrorKind::KernelWarned(_)), "{error}");
    assert_eq!(error.outcome(), Outcome::KernelWarning);
}

#[test]
fn a_program_that_crashes_the_kernel_is_no_notice() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(&Store::open(dir.path()).unwrap());
    let program = fault_agent(&["prime", "crash"]);
    let prepared = checkpoints.prime(&machine(), &program, &NoNotice);
    assert_eq!(prepared.unwrap_err().outcome(), Outcome::KernelCrash);
}

#[test]
fn a_kernel_that_does_not_boot_is_only_told() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(&Store::open(dir.path()).unwrap());
    let mut machine = machine();
    machine.machine.kernel = dir.path().join("no-kernel");
    fs::write(&machine.machine.kernel, "text").unwrap();
    let notices = Notices::default();
    checkpoints.prime(&machine, &fault_agent(&["prime"]), &notices).unwrap();
    let notices = notices.0.into_inner().unwrap();
    assert!(notices[0].contains("could not save a primed guest"), "{notices:?}");
}

#[test]
fn a_guest_that_can_t_use_its_files_is_no_primed_guest() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(&Store::open(dir.path()).unwrap());
    let (machine, program) = (machine(), fault_agent(&["prime"]));
    checkpoints.prime(&machine, &program, &NoNotice).unwrap();
    let host = dir.path().join("text");
    fs::write(&host, "no archive".repeat(100)).unwrap();
    let files = [InjectedFile { guest: format!("{ARCHIVES}3-job.tar"), host }];
    let notices = Notices::default();
    assert!(checkpoints.primed(&machine, &program, &files, &notices).is_none());
    let notices = notices.0.into_inner().unwrap();
    assert!(notices[0].contains("restoring the primed guest failed"), "{notices:?}");
    assert!(checkpoints.primed(&machine, &program, &[], &NoNotice).is_none(), "it is discarded");
}

#[test]
fn a_saved_program_is_that_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(&Store::open(dir.path()).unwrap());
    let mut machine = machine();
    let host = dir.path().join("kernlab-fault-agent");
    fs::copy(&machine.machine.injected[0].host, &host).unwrap();
    machine.machine.injected[0].host = host.clone();
    let program = fault_agent(&["prime"]);
    let notices = Notices::default();
    let exit = || {
        let guest = checkpoints.primed(&machine, &program, &[], &notices)?;
        Some(guest.proceed("exit 5", &program).unwrap().1.exit)
    };
    let prepare = || checkpoints.prime(&machine, &program, &NoNotice).unwrap();

    assert_eq!(exit(), None, "no guest was saved");
    prepare();
    assert_eq!(exit(), Some(Exit::Code(5)));
    let bytes = fs::read(&host).unwrap();
    fs::write(&host, bytes).unwrap();
    assert_eq!(exit(), None, "its file was written again");
    prepare();
    assert_eq!(exit(), Some(Exit::Code(5)));
    for state in fs::read_dir(dir.path().join("checkpoints")).unwrap() {
        fs::write(state.unwrap().path().join("devices"), "damaged").unwrap();
    }
    assert_eq!(exit(), None);
    let notices = notices.0.into_inner().unwrap();
    assert!(notices[0].contains("the checksum of its devices is wrong"), "{notices:?}");
}
