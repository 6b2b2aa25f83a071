//! Defects at the edges, where programs meet: the guest's programs are replaced by others, and the cell
//! says which of them is to blame.

use std::{env, fs, path::PathBuf};

use kernlab_core::{
    cell::Cell,
    outcome::{Outcome, Reason},
};
use kernlab_kernels::Kernels;
use kernlab_vmtest::run::{cell::Runner, dir::RunDir, plan::RunPlan};
use rstest::rstest;

const CELL: &str = "debian-6.1/masked/libbpf/syncsnoop/every_call";

/// The agent says one line and ends well if it isn't PID 1.
const SOMETHING_ELSE: &str = "kernlab-agent";

#[rstest]
#[case::tracer(
    "kernlab-tracer",
    (Outcome::Fail, Reason::TracerDied),
    "the tracer's record can't be read"
)]
#[case::workload(
    "kernlab-workload",
    (Outcome::Infra, Reason::WorkloadFailed),
    "the workload did not stop itself"
)]
fn a_program_that_does_nothing_is_blamed(
    #[case] replaced: &str,
    #[case] (outcome, reason): (Outcome, Reason),
    #[case] expected: &str,
) {
    let guest = env::var_os("KERNLAB_GUEST")
        .map(PathBuf::from)
        .expect("KERNLAB_GUEST names the guest programs: run this by `cargo xtask test`");
    let dir = tempfile::tempdir().unwrap();
    let programs = dir.path().join("guest");
    fs::create_dir(&programs).unwrap();
    for name in ["kernlab-agent", "kernlab-tracer", "kernlab-workload", "kernlab-workload-static"] {
        let original = if name == replaced { SOMETHING_ELSE } else { name };
        fs::copy(guest.join(original), programs.join(name)).unwrap();
    }
    let plan = RunPlan::of(vec![CELL.to_owned()], programs);
    let run = RunDir::open(dir.path().join("run"));
    let runner = Runner::new(Kernels::open().unwrap(), plan, run);
    let report = runner.run(&CELL.parse::<Cell>().unwrap()).unwrap();
    assert_eq!((report.outcome, report.reason), (outcome, Some(reason)), "{report:#?}");
    assert!(report.message.contains(expected), "{}", report.message);
}
