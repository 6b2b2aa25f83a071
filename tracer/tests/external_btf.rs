//! Real kernels whose own BTF is hidden, with BTF in a file: their own, and another's.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kernlab_core::{
    cell::{BackendKind, Cell},
    outcome::{Outcome, Reason},
    scenario::Scenario,
};
use kernlab_kernels::{BtfFile, Entry, Kernels, Silent, Unpacked};
use kernlab_vmtest::{
    report::CellReport,
    run::{cell::Runner, dir::RunDir, plan::RunPlan},
};
use rstest::rstest;

/// CO-RE relocations, fields of many structures, and nothing about BTF in the ground truth.
const SCENARIO: &str = "socket_write/tcp4";

fn kernel(id: &str) -> (Kernels, Entry, Unpacked) {
    let kernels = Kernels::open().unwrap();
    let entry = kernels.entry(id).unwrap().clone();
    let unpacked = kernels.prepare(&entry, &Silent).unwrap();
    (kernels, entry, unpacked)
}

fn vmlinux(kernel: &Unpacked) -> PathBuf {
    kernel.image.vmlinux.clone().expect("Debian's kernels have a PVH entry point")
}

/// Raw BTF of a kernel: nothing in the file tells the release.
fn raw_btf(id: &str) -> PathBuf {
    let (kernels, mut entry, kernel) = kernel(id);
    entry.btf_file = Some(BtfFile::File(vmlinux(&kernel)));
    kernels.external_btf(&entry, &kernel).unwrap()
}

/// Runs the scenario on Debian's 6.1 with this BTF file, in a guest of its own.
fn run(backend: BackendKind, btf_file: &Path) -> CellReport {
    let cell = format!("external/external/{backend}/{SCENARIO}");
    run_one_of(&cell, vec![cell.clone()], btf_file)
}

/// All cells of a backend and of both modes: so many that guests are saved in which the tracer is primed.
fn all_cells(backend: BackendKind) -> Vec<String> {
    let of = |mode| Scenario::ALL.iter().map(move |id| format!("external/{mode}/{backend}/{id}"));
    ["masked", "external"].into_iter().flat_map(of).collect()
}

/// Runs one of these cells of a run.
fn run_one_of(cell: &str, cells: Vec<String>, btf_file: &Path) -> CellReport {
    let guest = env::var_os("KERNLAB_GUEST")
        .map(PathBuf::from)
        .expect("KERNLAB_GUEST names the guest programs: run this by `cargo xtask test`");
    let (_, _, kernel) = kernel("debian-6.1");
    // A checkout with one kernel. Its test is a process of its own, as nextest makes it.
    let root = tempfile::tempdir().unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    symlink(sources.join("fixtures"), root.path().join("fixtures")).unwrap();
    let matrix = format!(
        "schema = 1\n[[kernel]]\nid = \"external\"\narch = \"x86_64\"\ntier = \"default\"\n\
         btf = [\"masked\", \"external\"]\nbtf_file = {btf_file:?}\nwhy = \"a test\"\n\
         source = {{ kind = \"file\", image = {:?} }}\n",
        vmlinux(&kernel)
    );
    fs::write(root.path().join("kernels.toml"), matrix).unwrap();
    env::set_current_dir(root.path()).unwrap();

    let cell: Cell = cell.parse().unwrap();
    let plan = RunPlan::of(cells, guest);
    let dir = RunDir::open(root.path().join("run"));
    Runner::new(Kernels::open().unwrap(), plan, dir).run(&cell).unwrap()
}

#[rstest]
fn a_file_that_fits_does_what_the_kernels_own_does(
    #[values(BackendKind::Libbpf, BackendKind::Aya)] backend: BackendKind,
) {
    let report = run(backend, &raw_btf("debian-6.1"));
    assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
    let plan = serde_json::to_string(&report.plan).unwrap();
    assert!(plan.contains(r#""types":"core""#), "{plan}");
    assert!(plan.contains(r#""layout":"external""#), "{plan}");
}

#[rstest]
fn so_does_it_for_a_tracer_that_stood_by(
    #[values(BackendKind::Libbpf, BackendKind::Aya)] backend: BackendKind,
) {
    let cell = format!("external/external/{backend}/{SCENARIO}");
    let report = run_one_of(&cell, all_cells(backend), &raw_btf("debian-6.1"));
    assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
    let plan = serde_json::to_string(&report.plan).unwrap();
    assert!(plan.contains(r#""layout":"external""#), "{plan}");
    // Its types were read before, which takes an emulated guest a tenth of a second. The host may keep the
    // guest waiting for some milliseconds at any moment.
    assert!(report.stages_ms["trace/facts"] < 50, "{report:#?}");
}

#[test]
fn a_foreign_file_is_no_matter_of_cells_that_do_not_use_it() {
    let cell = format!("external/masked/aya/{SCENARIO}");
    let foreign = vmlinux(&kernel("debian-5.10").2);
    let report = run_one_of(&cell, all_cells(BackendKind::Aya), &foreign);
    assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
}

#[rstest]
fn memory_gives_a_foreign_file_away(
    #[values(BackendKind::Libbpf, BackendKind::Aya)] backend: BackendKind,
) {
    let report = run(backend, &raw_btf("debian-5.10"));
    let verdict = (report.outcome, report.reason);
    assert_eq!(verdict, (Outcome::Unavailable, Some(Reason::ForeignBtf)), "{report:#?}");
    assert!(report.message.contains("in memory"), "{}", report.message);
}

#[test]
fn a_foreign_vmlinux_gives_itself_away() {
    let report = run(BackendKind::Libbpf, &vmlinux(&kernel("debian-5.10").2));
    let verdict = (report.outcome, report.reason);
    assert_eq!(verdict, (Outcome::Unavailable, Some(Reason::ForeignBtf)), "{report:#?}");
    assert!(report.message.contains("it is for kernel 5.10."), "{}", report.message);
}
