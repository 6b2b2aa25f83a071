//! Breaks the C programs on purpose, one at a time, and sees the right cell fail for the right reason.
//!
//! A harness that passes whatever the programs do is worth nothing: this is the test of the test. These are
//! mistakes that a person would make; `cargo xtask mutants` makes others by rules, and has `given` run them.

mod given;

use std::{env, fs, path::PathBuf};

use kernlab_core::{
    cell::Cell,
    outcome::{Outcome, Reason},
};
use kernlab_kernels::Kernels;
use kernlab_libbpf::source::{self, Variant};
use kernlab_vmtest::{
    golden,
    report::CellReport,
    run::{cell::Runner, dir::RunDir, plan::RunPlan},
};
use rstest::rstest;

/// Where the mutants run. Masked, so that the plan's layout is used, not CO-RE.
const WHERE: &str = "debian-6.1/masked/libbpf";

/// Runs one scenario with the programs as they are, but for `from`, which becomes `to` in `file`.
fn run(scenario: &str, mutation: Option<(&str, &str, &str)>) -> CellReport {
    run_with(scenario, mutation, |_| ())
}

/// The same, with the plan of the run changed.
fn run_with(
    scenario: &str,
    mutation: Option<(&str, &str, &str)>,
    change: impl FnOnce(&mut RunPlan),
) -> CellReport {
    let guest = env::var_os("KERNLAB_GUEST")
        .map(PathBuf::from)
        .expect("KERNLAB_GUEST names the guest programs: run this by `cargo xtask test`");
    let dir = tempfile::tempdir().unwrap();
    source::copy(dir.path()).unwrap();
    if let Some((file, from, to)) = mutation {
        let path = dir.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?} to break");
        fs::write(&path, text.replace(from, to)).unwrap();
    }
    let tracer = scenario.split('/').next().unwrap();
    let object = source::compile(dir.path(), tracer, Variant::RING_LAYOUT).unwrap();
    let cell = format!("{WHERE}/{scenario}");
    let mut plan = RunPlan { object: Some(object), ..RunPlan::of(vec![cell.clone()], guest) };
    change(&mut plan);
    let kernels = Kernels::open().unwrap();
    let run = RunDir::open(dir.path().to_owned());
    Runner::new(kernels, plan, run).run(&cell.parse::<Cell>().unwrap()).unwrap()
}

#[rstest]
#[case::wrong_argument_register(
    "inotify/rename_same_dir",
    ("arch_x86_64.h", "ARGUMENT_6 64", "ARGUMENT_6 72"),
    Reason::EventsDiffer,
    "cookie="
)]
#[case::stack_slot_off_by_one(
    "many_args/key_alloc",
    ("arch_x86_64.h", "FIRST_STACK_ARGUMENT 8", "FIRST_STACK_ARGUMENT 16"),
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
    // A thread's entry takes the place of another's, whose call then has no end.
    Reason::EventsLost,
    ""
)]
#[case::entry_not_deleted(
    "sys_write/failed_write",
    // The thread's next call takes the entry for one of a call that never ended.
    ("sys_write.bpf.c", "bpf_map_delete_elem(&pending, &thread);", ""),
    Reason::EventsLost,
    " are of calls whose end went unseen"
)]
#[case::entry_of_the_last_call_not_deleted(
    "opensnoop/two_at_once",
    // The last call of each thread fails.
    ("opensnoop.bpf.c", "bpf_map_delete_elem(&pending", "if (ret >= 0)\n\t\tbpf_map_delete_elem(&pending"),
    Reason::StateLeftBehind,
    ""
)]
#[case::map_stays_pinned(
    "sys_write/threads",
    ("sys_write.bpf.c", "__uint(max_entries, MAX_PENDING);",
     "__uint(max_entries, MAX_PENDING);\n\t__uint(pinning, LIBBPF_PIN_BY_NAME);"),
    Reason::StateLeftBehind,
    "stay pinned"
)]
#[case::event_of_another_size(
    "sys_write/threads",
    ("sys_write.bpf.c", "emit(ctx, &event, sizeof(event));", "emit(ctx, &event, sizeof(event) - 8);"),
    Reason::TracerDied,
    ""
)]
#[case::wrong_field_offset(
    "inotify/rename_same_dir",
    ("inotify.bpf.c", "FIELD_OFFSET(config, qstr, name)", "FIELD_OFFSET(config, qstr, name) + 8"),
    Reason::EventsDiffer,
    "name="
)]
#[case::user_stack_read_as_kernel_memory(
    "user_args/eight_ints",
    ("arch.h", "read_user(config", "read_kernel(config"),
    Reason::EventsDiffer,
    "kernlab_eight_ints(1, 2, 3, 4, 5, 6, 0, 0)"
)]
#[case::stack_slots_of_four_bytes(
    "user_args/ten_ints",
    ("arch.h", "8 * (n - REGISTER_ARGUMENTS - 1)", "4 * (n - REGISTER_ARGUMENTS - 1)"),
    Reason::EventsDiffer,
    "kernlab_ten_ints(1, 2, 3, 4, 5, 6, 7, 0, 8, 0)"
)]
#[case::arguments_cut_to_signed_ints(
    "user_args/mixed_types",
    ("user_args.bpf.c", "= user_argument(config", "= (__s32)user_argument(config"),
    Reason::EventsDiffer,
    "kernlab_mixed_types(-100, 1985229328, 61922, 18446744071724322287,"
)]
#[case::guard_forgotten(
    "guarded_read/hostile_pointers",
    ("tracer.h", "address < config->kernel_address_min", "0"),
    Reason::EventsDiffer,
    "+pid=<workload> tid=<workload> comm=workload read(<null>) = refused by the kernel"
)]
#[case::reader_never_woken(
    "sys_write/live_ring",
    // BPF_RB_NO_WAKEUP
    ("tracer.h", "bpf_ringbuf_output(&events, event, size, 0)",
     "bpf_ringbuf_output(&events, event, size, 1)"),
    Reason::EventsLate,
    ""
)]
#[case::losses_not_counted(
    "sys_write/overflow_ring",
    ("tracer.h", "bpf_map_lookup_elem(&emitted, &slot)", "0"),
    Reason::EventsDiffer,
    "lost 0"
)]
#[case::descriptors_of_the_first_table_only(
    "socket_write/high_fd",
    ("socket_write.bpf.c", "(__u64)fd", "(__u64)(fd & 63)"),
    Reason::EventsDiffer,
    "-pid=<workload> tid=<workload> comm=workload write fd=1000"
)]
#[case::any_file_taken_for_a_socket(
    "socket_write/not_a_socket",
    ("socket_write.bpf.c", "!= config->socket_file_ops", "== 0"),
    Reason::EventsDiffer,
    "+pid=<workload>"
)]
#[case::local_port_taken_for_the_remote_one(
    "socket_write/udp4",
    ("socket_write.bpf.c", "event.remote_port, sock_common, skc_dport",
     "event.remote_port, sock_common, skc_num"),
    Reason::EventsDiffer,
    "remote=none"
)]
#[case::failed_transfers_counted(
    "filetop/mixed_io",
    ("filetop.bpf.c", "if (ret >= 0) {", "if (1) {"),
    Reason::EventsDiffer,
    "+pid=<workload> tid=<workload> comm=workload file kind=pipe"
)]
#[case::files_told_apart_by_their_place_in_memory(
    "filetop/mixed_io",
    ("filetop.bpf.c", "pointer_at(config, inode + FIELD_OFFSET(config, inode, i_ino));", "inode;"),
    Reason::EventsDiffer,
    "-pid=<workload> tid=<workload> comm=workload file kind=pipe name=\"\" reads=0 bytes_read=0 writes=1 bytes_written=1"
)]
#[case::name_of_the_last_call(
    "filetop/mixed_io",
    ("filetop.bpf.c", "\tif (!found) {", "\tif (found)\n\t\t__builtin_memcpy(found->name, transfer->totals.name, 4);\n\tif (!found) {"),
    Reason::EventsDiffer,
    "name=\"old\""
)]
#[case::failed_unlink_taken_for_an_end(
    "filelife/failed_unlink",
    ("filelife.bpf.c", "if ((__s32)return_value(ctx))", "if (0)"),
    Reason::EventsDiffer,
    "+pid=<workload> tid=<workload> comm=workload unlinked name=\"stays\""
)]
#[case::inode_taken_for_a_dentry(
    "filelife/create_unlink",
    ("filelife.bpf.c", "return argument(config, ctx, 3);", "return argument(config, ctx, 2);"),
    Reason::EventsDiffer,
    "-pid=<workload> tid=<workload> comm=workload unlinked name=\"file\""
)]
fn a_broken_program_is_caught(
    #[case] scenario: &str,
    #[case] mutation: (&str, &str, &str),
    #[case] reason: Reason,
    #[case] shows: &str,
) {
    let report = run(scenario, Some(mutation));
    assert_eq!((report.outcome, report.reason), (Outcome::Fail, Some(reason)), "{report:#?}");
    let told = format!("{}\n{}", report.message, report.diff.unwrap_or_default());
    assert!(told.contains(shows), "{shows:?} is not in what is told:\n{told}");
}

/// What the workload's ground truth does not confirm becomes no golden snapshot.
#[test]
fn a_broken_program_makes_no_snapshot() {
    let scenario = "sys_write/threads";
    let snapshot = golden::dir(Kernels::open().unwrap().root()).join("sys_write__threads.snap");
    let before = fs::read(&snapshot).unwrap();
    let mutation = ("tracer.h", "header->tid = pid_tgid;", "header->tid = pid_tgid >> 32;");
    let report = run_with(scenario, Some(mutation), |plan| plan.options.update_snapshots = true);
    let after = fs::read(&snapshot).unwrap();
    // Only then: other tests read it at the same time.
    if after != before {
        fs::write(&snapshot, &before).unwrap();
    }
    let verdict = (report.outcome, report.reason);
    assert_eq!(verdict, (Outcome::Fail, Some(Reason::EventsDiffer)), "{report:#?}");
    assert_eq!(after, before);
}

/// Nor does the workload seem to have been left behind, though a process stands by it in one of these.
#[rstest]
#[case("inotify/rename_same_dir", ("inotify.bpf.c", "if (!event)\n\t\treturn 0;\n", ""), "inotify")]
#[case("sys_write/threads", ("sys_write.bpf.c", "if (!write)\n\t\treturn 0;\n", ""), "sys_write")]
fn a_program_that_the_verifier_refuses_is_no_tracer_that_died(
    #[case] scenario: &str,
    #[case] mutation: (&str, &str, &str),
    #[case] object: &str,
) {
    let report = run(scenario, Some(mutation));
    let verdict = (report.outcome, report.reason);
    assert_eq!(verdict, (Outcome::Fail, Some(Reason::VerifierRejected)), "{report:#?}");
    let begins = format!("loading the {object} object");
    assert!(report.message.starts_with(&begins), "{}", report.message);
}

/// What is compiled here is what the build compiles: without a mutation, all is well.
#[rstest]
#[case("inotify/rename_same_dir")]
#[case("many_args/key_alloc")]
#[case("sys_write/failed_write")]
#[case("user_args/eight_ints")]
#[case("guarded_read/hostile_pointers")]
#[case("sys_write/overflow_ring")]
#[case("socket_write/udp4")]
fn an_unbroken_program_is_not(#[case] scenario: &str) {
    let report = run(scenario, None);
    assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
}
