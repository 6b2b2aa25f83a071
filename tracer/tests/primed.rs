//! A primed tracer, in a guest that was saved meanwhile, finds out and reports what one does that
//! was started for its scenario.

use std::{env, fs, path::PathBuf};

use kernlab_core::{
    cell::{BackendKind, Cell},
    outcome::Outcome,
    record::Record,
    scenario::Scenario,
};
use kernlab_kernels::Kernels;
use kernlab_vmtest::run::{cell::Runner, dir::RunDir, plan::RunPlan};
use rstest::rstest;

/// What a cell left in a run of these cells: its record, and its events as text.
fn run(cell: &str, cells: Vec<String>) -> (Record, String) {
    let guest = env::var_os("KERNLAB_GUEST")
        .map(PathBuf::from)
        .expect("KERNLAB_GUEST names the guest programs: run this by `cargo xtask test`");
    let cell: Cell = cell.parse().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let dir = RunDir::open(scratch.path().to_owned());
    let runner = Runner::new(Kernels::open().unwrap(), RunPlan::of(cells, guest), dir);
    let report = runner.run(&cell).unwrap();
    assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
    let evidence = scratch.path().join(report.evidence);
    let record = fs::read(evidence.join("record.json")).unwrap();
    let events = fs::read_to_string(evidence.join("events.txt")).unwrap();
    (serde_json::from_slice(&record).unwrap(), events)
}

/// The first follows pointers of many structures, the second needs none.
#[rstest]
fn it_makes_no_difference(
    #[values("embedded", "masked")] mode: &str,
    #[values(BackendKind::Libbpf, BackendKind::Aya)] backend: BackendKind,
    #[values("socket_write/tcp4", "inotify/rename_cross_dir")] scenario: &str,
) {
    let cell = |id: &str| format!("debian-6.1/{mode}/{backend}/{id}");
    let wanted = cell(scenario);
    let (alone, its_events) = run(&wanted, vec![wanted.clone()]);
    let all = Scenario::ALL.iter().map(|id| cell(&id.to_string())).collect();
    let (stood_by, events) = run(&wanted, all);
    assert_eq!(stood_by.decision, alone.decision);
    assert_eq!(stood_by.discovered, alone.discovered);
    let is_searched = mode == "masked" && scenario.starts_with("socket_write");
    assert_eq!(stood_by.discovered.is_some(), is_searched);
    assert_eq!(events, its_events);
    // It did prime: the kernel's facts were there when it was told what to trace, and so were the
    // programs. On a quiet machine this takes a hundredth of the time; other tests run beside this one.
    for stage in ["facts", "load"] {
        assert!(stood_by.stages_us[stage] < alone.stages_us[stage] / 3, "{stage}");
    }
}
