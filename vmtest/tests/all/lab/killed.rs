//! QEMUs that somebody else ends or stops.

use std::{
    thread,
    time::{Duration, Instant},
};

use kernlab_core::outcome::{Outcome, Reason};
use kernlab_kernels::{Event, Observer, Store};
use kernlab_vmtest::{
    checkpoints::Checkpoints,
    lab::{Exit, LabError, LabErrorKind},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

use super::{
    survivors::qemus_of,
    workbench::{ARM64, KERNEL, fault_agent, machine, restored_on},
};

/// Sends a signal to the QEMUs of this process as soon as there are any, while something goes on.
fn struck<T: Send>(signal: Signal, after: Duration, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let work = scope.spawn(work);
        let deadline = Instant::now() + Duration::from_secs(60);
        let qemus = loop {
            let qemus = qemus_of(std::process::id());
            if !qemus.is_empty() {
                break qemus;
            }
            assert!(Instant::now() < deadline && !work.is_finished(), "there is no QEMU");
            thread::yield_now();
        };
        // This sleep chooses the moment of the fault, and waits for nothing.
        thread::sleep(after);
        for pid in qemus {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
        work.join().unwrap()
    })
}

fn expect_qemu_failed(error: &LabError, words: &str) {
    let verdict = (error.outcome(), error.reason());
    assert_eq!(verdict, (Outcome::Infra, Reason::QemuFailed), "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(qemus_of(std::process::id()), [0; 0]);
}

/// QEMU ends with 0 after the signals that it catches, as if its guest had powered off.
#[rstest]
#[case::kill(KERNEL, Signal::SIGKILL, "signal: 9")]
#[case::kill_on_arm64(ARM64, Signal::SIGKILL, "signal: 9")]
#[case::term(KERNEL, Signal::SIGTERM, "terminating on signal 15")]
#[case::int(KERNEL, Signal::SIGINT, "terminating on signal 2")]
#[case::hup(KERNEL, Signal::SIGHUP, "terminating on signal 1")]
fn a_qemu_that_is_killed_while_a_program_runs_is_named(
    #[case] kernel: &str,
    #[case] signal: Signal,
    #[case] words: &str,
) {
    let mut guest = restored_on(kernel);
    let job = fault_agent(&["nap", "20000", "20000000"]).timeout(Duration::from_secs(30));
    let error = struck(signal, Duration::from_millis(300), || guest.run(&job)).unwrap_err();
    expect_qemu_failed(&error, words);
}

#[rstest]
fn a_qemu_that_stands_still_runs_into_the_deadline(#[values(KERNEL, ARM64)] kernel: &str) {
    let mut guest = restored_on(kernel);
    let job = fault_agent(&["nap", "20000", "20000000"])
        .timeout(Duration::from_millis(500))
        .grace(Duration::from_millis(500));
    let run = || guest.run(&job);
    let error = struck(Signal::SIGSTOP, Duration::from_millis(300), run).unwrap_err();
    assert!(matches!(error.kind(), LabErrorKind::Silent { .. }), "{error}");
    assert_eq!((error.outcome(), error.reason()), (Outcome::Timeout, Reason::DeadlineExceeded));
    assert_eq!(qemus_of(std::process::id()), [0; 0]);
}

/// Notices are not looked at: whether one comes depends on the moment.
struct Any;

impl Observer for Any {
    fn observe(&self, _: &str, _: Event<'_>) {}

    fn notice(&self, _: &str) {}
}

/// At moments from the start of the boot to the end of the save, and of the restore.
#[test]
fn a_qemu_that_is_killed_while_a_guest_is_saved_or_restored_damages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let checkpoints = Checkpoints::of(&store);
    let machine = machine();
    let began = Instant::now();
    checkpoints.prepare(&machine, &Any).unwrap();
    let saving = began.elapsed();
    let began = Instant::now();
    drop(checkpoints.guest(&machine, &Any).unwrap());
    let restoring = began.elapsed();
    for (part, times) in [(0.4, saving), (0.97, saving), (0.5, restoring)] {
        if times == saving {
            std::fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
        }
        let guest =
            struck(Signal::SIGKILL, times.mul_f64(part), || checkpoints.guest(&machine, &Any));
        match guest {
            Ok(guest) => drop(guest),
            Err(error) => expect_qemu_failed(&error, "signal: 9"),
        }
        let mut guest = checkpoints.guest(&machine, &Any).unwrap();
        assert_eq!(guest.run(&fault_agent(&["exit", "7"])).unwrap().exit, Exit::Code(7));
        drop(guest);
        assert_eq!(qemus_of(std::process::id()), [0; 0]);
    }
    let names = std::fs::read_dir(dir.path().join("checkpoints")).unwrap().flatten();
    let unfinished = names.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(unfinished.count(), 0);
}
