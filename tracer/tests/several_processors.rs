//! Guests with two processors: what one of them does must not get lost, nor be counted for the other, nor come
//! in another order.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kernlab_core::{
    cell::{BackendKind, Cell},
    outcome::Outcome,
};
use kernlab_kernels::{Kernels, Silent};
use kernlab_vmtest::run::{cell::Runner, dir::RunDir, plan::RunPlan};
use rstest::rstest;

/// Threads that write as fast as they can on both processors, each of which has a perf buffer and counters of
/// its own; threads that move between them, also inside of a call; and writes on both that must wake the
/// reader.
#[rstest]
fn every_processor_is_heard(
    #[values(BackendKind::Libbpf, BackendKind::Aya)] backend: BackendKind,
    #[values(
        "sys_write/burst_ring",
        "sys_write/burst_perf",
        "sys_write/overflow_ring",
        "sys_write/overflow_perf",
        "sys_write/moved_thread",
        "sys_write/moved_perf",
        "sys_write/live_ring",
        "sys_write/live_perf",
        "socket_write/two_at_once",
        "filetop/two_at_once",
        "filelife/two_at_once",
        "opensnoop/two_at_once",
        "user_args/two_at_once"
    )]
    scenario: &str,
) {
    let guest = env::var_os("KERNLAB_GUEST")
        .map(PathBuf::from)
        .expect("KERNLAB_GUEST names the guest programs: run this by `cargo xtask test`");
    let kernels = Kernels::open().unwrap();
    let entry = kernels.entry("debian-6.1").unwrap().clone();
    let kernel = kernels.prepare(&entry, &Silent).unwrap();
    let vmlinux = kernel.image.vmlinux.expect("Debian's kernels have a PVH entry point");

    // A checkout with one kernel. Its test is a process of its own, as nextest makes it.
    let root = tempfile::tempdir().unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    symlink(sources.join("fixtures"), root.path().join("fixtures")).unwrap();
    let matrix = format!(
        "schema = 1\n[[kernel]]\nid = \"two\"\narch = \"x86_64\"\ntier = \"default\"\n\
         btf = [\"embedded\"]\nprocessors = 2\nwhy = \"a test\"\n\
         source = {{ kind = \"file\", image = {vmlinux:?} }}\n"
    );
    fs::write(root.path().join("kernels.toml"), matrix).unwrap();
    env::set_current_dir(root.path()).unwrap();

    let cell: Cell = format!("two/embedded/{backend}/{scenario}").parse().unwrap();
    let plan = RunPlan::of(vec![cell.to_string()], guest);
    let dir = RunDir::open(root.path().join("run"));
    let report = Runner::new(Kernels::open().unwrap(), plan, dir).run(&cell).unwrap();
    assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
}
