//! Kernels that are broken on purpose, from inside their guests: the verdict on a cell whose tracer
//! runs on such a kernel.
//!
//! A program replaces the workload. It makes the kernel misbehave and then does what the workload
//! does. The tracer, the plan and the guest are those of every cell.

use std::{
    env, fs,
    num::NonZeroU32,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use kernlab_cli::{RunOptions, Selected};
use kernlab_core::{
    cell::Cell,
    outcome::{Outcome, Reason},
};
use kernlab_kernels::{Kernels, Silent, Unpacked};
use kernlab_splat::AllowEntry;
use kernlab_vmtest::{
    guest_programs,
    report::{CellReport, Kernel, Report, Run, SCHEMA},
    run::{cell::Runner, dir::RunDir, plan::RunPlan},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rstest::rstest;

use crate::schema;

const KERNEL: &str = "debian-6.1";
const ARM64: &str = "debian-6.1-arm64";

/// A run with one cell, in a directory that is removed when this is dropped.
struct Broken {
    scratch: tempfile::TempDir,
    plan: RunPlan,
}

impl Broken {
    /// A run in which the workload's program first does this.
    fn by(behaviour: &str) -> Self {
        Broken::on(KERNEL, behaviour)
    }

    /// A run on this kernel in which the workload's program first does this.
    fn on(kernel: &str, behaviour: &str) -> Self {
        let given = env::var_os("KERNLAB_GUEST")
            .map(PathBuf::from)
            .expect("KERNLAB_GUEST names the guest's programs: run this by `cargo xtask test`");
        let arch = Kernels::open().unwrap().entry(kernel).unwrap().arch;
        let given = guest_programs::of_arch(&given, arch).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let guest = scratch.path().join("guest");
        fs::create_dir(&guest).unwrap();
        for (name, of) in [
            ("kernlab-agent", "kernlab-agent"),
            ("kernlab-tracer", "kernlab-tracer"),
            // The replacement looks for the workload under this name.
            ("kernlab-workload-static", "kernlab-workload"),
        ] {
            std::os::unix::fs::symlink(given.join(of), guest.join(name)).unwrap();
        }
        let mut program = fs::read(given.join("kernlab-fault-agent")).unwrap();
        program.extend(format!("\nbehaviour: {behaviour}").bytes());
        fs::write(guest.join("kernlab-workload"), program).unwrap();
        let plan = RunPlan {
            options: RunOptions {
                selected: Selected { kernels: vec![kernel.to_owned()], ..Selected::default() },
                ..RunOptions::default()
            },
            ..RunPlan::of(vec![format!("{kernel}/embedded/aya/sys_write/files_and_pipes")], guest)
        };
        Broken { scratch, plan }
    }

    fn run(&self) -> CellReport {
        let kernels = Kernels::open().unwrap();
        // The first test waits for the kernel, which must not count as the cell's time.
        let entry = kernels.entry(&self.plan.options.selected.kernels[0]).unwrap();
        kernels.prepare(entry, &Silent).unwrap();
        let dir = RunDir::open(self.scratch.path().to_owned());
        let cell: Cell = self.plan.cells[0].parse().unwrap();
        let started = Instant::now();
        let report = Runner::new(kernels, self.plan.clone(), dir).run(&cell).unwrap();
        println!("{:.1} s: {report:#?}", started.elapsed().as_secs_f64());
        for name in ["kernel.log", "console.log", "stderr.txt"] {
            println!("{name}:\n{}", self.evidence(name));
        }
        self.expect_documented(&report);
        report
    }

    /// Asserts that a report with this cell matches `docs/report.schema.json`.
    fn expect_documented(&self, cell: &CellReport) {
        let kernel = Kernel {
            id: cell.kernel.clone(),
            arch: None,
            release: cell.release.clone(),
            unavailable: None,
            sha256: None,
        };
        let run = Run {
            id: "broken".to_owned(),
            started: "2026-01-01T00:00:00Z".to_owned(),
            duration_ms: cell.duration_ms,
            selectors: self.plan.options.selected.kernels.clone(),
            jobs: 1,
            repeat: self.plan.options.execution.repeats(),
            exit_code: 1,
            ..Run::default()
        };
        let report = Report {
            schema: SCHEMA,
            run,
            kernels: vec![kernel],
            cells: vec![cell.clone()],
            remarks: vec![],
        };
        let json = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(schema::violations(&json), [""; 0], "{json:#}");
    }

    fn evidence(&self, name: &str) -> String {
        let scratch = self.scratch.path().join("cells").join(&self.plan.cells[0]);
        fs::read_to_string(scratch.join(name)).unwrap_or_default()
    }
}

#[test]
fn a_kernel_that_is_left_alone_is_no_trouble() {
    let report = Broken::by("nothing").run();
    assert_eq!(report.outcome, Outcome::Pass, "{}", report.message);
}

#[test]
fn a_btf_mode_that_the_image_cannot_have_is_unavailable() {
    let mut broken = Broken::by("nothing");
    broken.plan.cells = vec![format!("{KERNEL}/absent/aya/sys_write/files_and_pipes")];
    let report = broken.run();
    let verdict = (report.outcome, report.reason);
    assert_eq!(verdict, (Outcome::Unavailable, Some(Reason::WrongBtfMode)), "{}", report.message);
}

#[test]
fn a_guest_of_another_build_of_the_kernel_is_not_judged() {
    let kernels = Kernels::open().unwrap();
    let kernel = kernels.prepare(kernels.entry(KERNEL).unwrap(), &Silent).unwrap();
    let other = Unpacked { version: Some("#1 another build".to_owned()), ..kernel };
    let mut broken = Broken::by("nothing");
    broken.plan.kernels.insert(KERNEL.to_owned(), other);
    let report = broken.run();
    let verdict = (report.outcome, report.reason);
    assert_eq!(verdict, (Outcome::Infra, Some(Reason::WrongKernel)), "{}", report.message);
}

/// A kernel's splats outrank events that are correct, and explain a guest that is gone.
#[rstest]
#[case::warns(
    "warn",
    (Outcome::KernelWarning, Reason::KernelWarned),
    "WARNING in sys_sethostname [warning], line ",
    ["__x64_sys_sethostname+0x", "__arm64_sys_sethostname+0x"]
)]
#[case::oopses(
    "oops",
    (Outcome::KernelCrash, Reason::KernelPanicked),
    "BUG: unable to handle kernel NULL pointer dereference in sys_sethostname [page-fault], line ",
    ["RIP: 0010:__x64_sys_sethostname+0x", "pc : __arm64_sys_sethostname+0x"]
)]
#[case::panics(
    "crash",
    (Outcome::KernelCrash, Reason::KernelPanicked),
    "kernel panic: sysrq triggered crash [panic], line ",
    ["sysrq_handle_crash+0x", "__handle_sysrq+0x"]
)]
fn a_cell_is_what_its_kernel_says(
    #[case] behaviour: &str,
    #[case] verdict: (Outcome, Reason),
    #[case] title: &str,
    #[case] excerpts: [&str; 2],
    #[values((KERNEL, false), (KERNEL, true), ("debian-5.10", false), (ARM64, false))] on: (
        &str,
        bool,
    ),
) {
    let (kernel, cold) = on;
    let mut broken = Broken::on(kernel, behaviour);
    broken.plan.options.execution.cold = cold;
    let report = broken.run();
    assert_eq!((report.outcome, report.reason), (verdict.0, Some(verdict.1)), "{}", report.message);
    expect_evidence(&report, title, excerpts[usize::from(kernel == ARM64)]);
    // If the kernel survived, the workload did its actions.
    let observed = broken.evidence("events.txt");
    assert_eq!(observed.is_empty(), report.outcome == Outcome::KernelCrash, "{observed}");
    assert_eq!(report.diff, None);
}

#[rstest]
#[case::known("WARNING in sys_set*", Outcome::Pass)]
#[case::of_another_function("WARNING in sys_get*", Outcome::KernelWarning)]
fn a_known_warning_is_told_and_has_no_consequence(#[case] title: &str, #[case] outcome: Outcome) {
    let mut broken = Broken::by("warn");
    broken.plan.allow.allow.push(AllowEntry {
        title: title.to_owned(),
        reason: "it is made to".to_owned(),
        link: "https://example.org".to_owned(),
    });
    let report = broken.run();
    assert_eq!(report.outcome, outcome, "{}", report.message);
    let allowed: Vec<_> = report.allowed.iter().map(|splat| splat.title.as_str()).collect();
    let expected = (outcome == Outcome::Pass).then_some("WARNING in sys_sethostname");
    assert_eq!(allowed, expected.as_slice());
}

/// The message has the title and the excerpt, and nothing waited for a deadline.
fn expect_evidence(report: &CellReport, title: &str, excerpt: &str) {
    assert!(report.message.contains(title), "{}", report.message);
    assert!(report.message.contains(excerpt), "{}", report.message);
    // The shortest deadline is eighty seconds.
    assert!(report.duration_ms < 40_000, "{} ms", report.duration_ms);
}

/// The splat also outranks a tracer that came to no result because of it.
#[rstest]
#[case::for_a_while("stall 4000", None)]
#[case::until_the_time_is_over("stall 13000", NonZeroU32::new(2))]
fn a_kernel_that_stalls_is_to_blame_if_it_was_run(
    #[case] behaviour: &str,
    #[case] timeout: Option<NonZeroU32>,
) {
    let mut broken = Broken::by(behaviour);
    broken.plan.options.timeout = timeout;
    // A very busy host does not run the guest enough, and the verdict says so.
    let attempts = (0..3).map(|_| broken.run());
    let conclusive = |report: &CellReport| report.reason != Some(Reason::GuestStarved);
    let report = attempts.into_iter().find(conclusive).expect("the host can run a guest");
    let verdict = (report.outcome, report.reason);
    assert_eq!(verdict, (Outcome::KernelWarning, Some(Reason::KernelWarned)));
    let excerpt = "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:";
    expect_evidence(&report, "INFO: rcu detected stall in ", excerpt);
}

/// QEMU is stopped for a while, like on a host that has no time for it.
#[test]
fn a_kernel_that_was_not_run_is_not_to_blame_for_the_time() {
    let broken = Broken::by("stall 15000 500");
    let report = thread::scope(|scope| {
        let report = scope.spawn(|| broken.run());
        let deadline = Instant::now() + Duration::from_secs(60);
        while !broken.evidence("console.log").contains("RCU is kept waiting") {
            assert!(
                Instant::now() < deadline && !report.is_finished(),
                "the guest never gets there"
            );
            thread::sleep(Duration::from_millis(10));
        }
        let qemu = our_qemu();
        kill(qemu, Signal::SIGSTOP).unwrap();
        // This sleep is the fault itself, not a wait. A running guest would have kept RCU waiting
        // for less.
        thread::sleep(Duration::from_secs(15));
        kill(qemu, Signal::SIGCONT).unwrap();
        report.join().unwrap()
    });
    let verdict = (report.outcome, report.reason);
    assert_eq!(verdict, (Outcome::Infra, Some(Reason::GuestStarved)), "{}", report.message);
    let excerpt = "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:";
    expect_evidence(&report, "INFO: rcu detected stall in ", excerpt);
    assert!(report.message.contains("the host ran the guest for "), "{}", report.message);
}

/// The only child of this process.
fn our_qemu() -> Pid {
    let us = std::process::id();
    let children = fs::read_dir(format!("/proc/{us}/task")).unwrap().flat_map(|thread| {
        let children = fs::read_to_string(thread.unwrap().path().join("children"));
        let pids = children.unwrap_or_default();
        pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
    });
    let children: Vec<i32> = children.collect();
    assert_eq!(children.len(), 1, "{children:?}");
    Pid::from_raw(children[0])
}

#[rstest]
fn a_kernel_that_hangs_is_given_up(#[values(KERNEL, ARM64)] kernel: &str) {
    let mut broken = Broken::on(kernel, "hang");
    broken.plan.options.timeout = NonZeroU32::new(1);
    let report = broken.run();
    assert_eq!((report.outcome, report.reason), (Outcome::Timeout, Some(Reason::DeadlineExceeded)));
    let parts = ["the guest did not answer within 8 s", "; the host ran the guest for "];
    assert!(parts.iter().all(|part| report.message.contains(part)), "{}", report.message);
    assert!(report.duration_ms < 40_000, "{} ms", report.duration_ms);
}

/// What is not the kernel's doing: the workload's, a program's that stays, a place's that is gone.
#[rstest]
#[case::workload_fails(
    "workload fails",
    "inotify/unwatched",
    (Outcome::Infra, Reason::WorkloadFailed),
    "the disk is full"
)]
#[case::program_stays(
    "workload leaves-a-program",
    "inotify/unwatched",
    (Outcome::Fail, Reason::StateLeftBehind),
    "1 program"
)]
#[case::nothing_to_attach_to(
    "detach /sys/kernel/tracing /sys/kernel/debug",
    "sys_write/files_and_pipes",
    (Outcome::Fail, Reason::AttachRefused),
    "attaching sys_"
)]
fn a_verdict_names_the_part_that_failed(
    #[case] behaviour: &str,
    #[case] scenario: &str,
    #[case] (outcome, reason): (Outcome, Reason),
    #[case] message: &str,
    #[values("aya", "libbpf")] backend: &str,
) {
    let mut broken = Broken::by(behaviour);
    broken.plan.cells = vec![format!("{KERNEL}/embedded/{backend}/{scenario}")];
    let report = broken.run();
    assert_eq!((report.outcome, report.reason), (outcome, Some(reason)), "{}", report.message);
    assert!(report.message.contains(message), "{}", report.message);
}

/// A program in the workload's place takes the protocol's port from the agent: `hostile.rs` has more
/// of these.
#[rstest]
#[case::another_scenario(
    KERNEL,
    "record-of-another-scenario",
    (Outcome::Fail, Reason::TracerDied),
    "the record is of sys_write/threads under aya: expected sys_write/files_and_pipes under aya"
)]
#[case::another_plan(
    KERNEL,
    "record-of-another-plan",
    (Outcome::Fail, Reason::PredictionDiffers),
    "observed unsupported (missing-symbol): none"
)]
#[case::another_kernel(
    KERNEL,
    "record-of-another-kernel",
    (Outcome::Infra, Reason::WrongKernel),
    "the tracer's record is of kernel 5.10.0-owned instead of 6.1."
)]
#[case::largest_numbers(
    KERNEL,
    "record-of-largest-numbers",
    (Outcome::Fail, Reason::EventsLost),
    "18446744073709551615 events that the programs meant to send are missing"
)]
#[case::no_end(
    KERNEL,
    "endless-record",
    (Outcome::Infra, Reason::ConnectionLost),
    "while it ran a program: unexpected output, unexpected or beyond the limits"
)]
#[case::half_a_frame(
    KERNEL,
    "half-a-frame",
    (Outcome::Timeout, Reason::DeadlineExceeded),
    "the guest did not answer within 8 s while it ran a program"
)]
#[case::silence(
    KERNEL,
    "says-nothing",
    (Outcome::Timeout, Reason::DeadlineExceeded),
    "the guest did not answer within 8 s while it ran a program"
)]
#[case::almost_silence(
    KERNEL,
    "dribbles",
    (Outcome::Timeout, Reason::DeadlineExceeded),
    "the guest did not answer within 8 s while it ran a program"
)]
#[case::too_late(
    KERNEL,
    "answers-too-late",
    (Outcome::Timeout, Reason::DeadlineExceeded),
    "the guest did not answer within 8 s while it ran a program"
)]
#[case::another_kernel_on_arm64(
    ARM64,
    "record-of-another-kernel",
    (Outcome::Infra, Reason::WrongKernel),
    "the tracer's record is of kernel 5.10.0-owned instead of 6.1."
)]
#[case::half_a_frame_on_arm64(
    ARM64,
    "half-a-frame",
    (Outcome::Timeout, Reason::DeadlineExceeded),
    "the guest did not answer within 8 s while it ran a program"
)]
fn a_hostile_cell_gets_no_more_than_its_verdict(
    #[case] kernel: &str,
    #[case] way: &str,
    #[case] (outcome, reason): (Outcome, Reason),
    #[case] message: &str,
) {
    let mut broken = Broken::on(kernel, &format!("hostile {way}"));
    if outcome == Outcome::Timeout {
        broken.plan.options.timeout = NonZeroU32::new(1);
    }
    let report = broken.run();
    assert_eq!((report.outcome, report.reason), (outcome, Some(reason)), "{}", report.message);
    assert!(report.message.contains(message), "{}", report.message);
    assert!(report.duration_ms < 40_000, "{} ms", report.duration_ms);
}
