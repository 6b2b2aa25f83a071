//! Breaks the C programs on purpose, one at a time, and sees the right cell fail for the right reason.
//!
//! A harness that passes whatever the programs do is worth nothing: this is the test of the test.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use kernlab_core::{
    cell::Cell,
    outcome::{Outcome, Reason},
};
use kernlab_libbpf::source;
use kernlab_vmtest::{
    kernels::Kernels,
    report::CellReport,
    run::{cell::Runner, directory::RunDirectory, plan::RunPlan},
};
use rstest::rstest;

/// Where the mutants run. Masked, so that the plan's layout is used, not CO-RE.
const WHERE: &str = "debian-6.1/masked/libbpf";

/// Runs one scenario with the programs as they are, but for `from`, which becomes `to` in `file`.
fn run(scenario: &str, mutation: Option<(&str, &str, &str)>) -> CellReport {
    let guest = env::var_os("KERNLAB_GUEST")
        .map(PathBuf::from)
        .expect("KERNLAB_GUEST names the guest programs: run this by `cargo xtask test`");
    let directory = tempfile::tempdir().unwrap();
    source::copy(directory.path()).unwrap();
    if let Some((file, from, to)) = mutation {
        let path = directory.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?} to break");
        fs::write(&path, text.replace(from, to)).unwrap();
    }
    let tracer = scenario.split('/').next().unwrap();
    let object = source::compile(directory.path(), tracer).unwrap();
    let cell = format!("{WHERE}/{scenario}");
    let plan = RunPlan {
        selectors: vec!["debian-6.1".to_owned()],
        cells: vec![cell.clone()],
        unavailable: BTreeMap::new(),
        guest,
        object: Some(object),
        update_snapshots: false,
    };
    let kernels = Kernels::open().unwrap();
    let run = RunDirectory::open(directory.path().to_owned());
    Runner::new(kernels, plan, run).run(&cell.parse::<Cell>().unwrap()).unwrap()
}

#[rstest]
#[case::wrong_argument_register(
    "inotify/rename_same_dir",
    ("arch_x86_64.h", "REGISTER(ctx, 64)", "REGISTER(ctx, 72)"),
    Reason::EventsDiffer,
    "cookie="
)]
#[case::stack_slot_off_by_one(
    "many_args/key_alloc",
    ("arch_x86_64.h", "(n - 6)", "(n - 5)"),
    Reason::EventsDiffer,
    "flags="
)]
#[case::pid_and_tid_swapped(
    "sys_write/threads",
    ("tracer.h", "header->tgid = pid_tgid >> 32;\n\theader->tid = pid_tgid;",
     "header->tid = pid_tgid >> 32;\n\theader->tgid = pid_tgid;"),
    Reason::EventsDiffer,
    "pid=<writer-1> tid=<workload>"
)]
#[case::map_keyed_by_process(
    "sys_write/threads",
    ("sys_write.bpf.c", "thread = bpf_get_current_pid_tgid();",
     "thread = bpf_get_current_pid_tgid() >> 32;"),
    Reason::EventsDiffer,
    "-pid=<workload> tid=<writer-1>"
)]
#[case::entry_not_deleted(
    "sys_write/failed_write",
    ("sys_write.bpf.c", "bpf_map_delete_elem(&pending, &thread);", ""),
    Reason::StateLeftBehind,
    ""
)]
#[case::wrong_field_offset(
    "inotify/rename_same_dir",
    ("inotify.bpf.c", "FIELD_OFFSET(config, qstr, name);", "FIELD_OFFSET(config, qstr, name) + 8;"),
    Reason::EventsDiffer,
    "name="
)]
fn a_broken_program_is_caught(
    #[case] scenario: &str,
    #[case] mutation: (&str, &str, &str),
    #[case] reason: Reason,
    #[case] shows: &str,
) {
    let report = run(scenario, Some(mutation));
    assert_eq!((report.outcome, report.reason), (Outcome::Fail, Some(reason)), "{report:#?}");
    let diff = report.diff.unwrap_or_default();
    assert!(diff.contains(shows), "{shows:?} is not in the diff:\n{diff}");
}

/// What is compiled here is what the build compiles: without a mutation, all is well.
#[rstest]
#[case("inotify/rename_same_dir")]
#[case("many_args/key_alloc")]
#[case("sys_write/failed_write")]
fn an_unbroken_program_is_not(#[case] scenario: &str) {
    let report = run(scenario, None);
    assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
}
