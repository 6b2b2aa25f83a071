//! Cells with one cause, and how it is explained.

use super::*;

#[test]
fn explanations_that_say_the_same_are_told_together() {
    let made = |kernel: &str, beside: &str, release: &str| Explanation {
        kernel: kernel.to_owned(),
        beside: beside.to_owned(),
        changes: vec![format!("`f` takes the x as 2nd argument on {release}, was 3rd")],
    };
    let explanations = [made("b", "a", "6.19"), made("c", "a", "7.3"), made("d", "other", "7.3")];
    let titles: Vec<_> =
        Explanation::together(&explanations).iter().map(|alike| alike.title()).collect();
    assert_eq!(titles, ["how b, c differ from a", "how d differs from other"]);
}

#[test]
fn the_causes_in_a_run_are_those_of_its_cells_that_are_not_as_they_should_be() {
    let cells = [
        ("debian-6.18/embedded/aya/filelife/mknod", Pass),
        ("debian-6.18/embedded/aya/inotify/unwatched", Unsupported),
        ("debian-6.19/embedded/aya/filelife/mknod", Fail),
        ("debian-6.19/embedded/libbpf/filelife/mknod", Fail),
        ("debian-6.19/embedded/libbpf/inotify/unwatched", Infra),
    ];
    let report = report("run", &cells);
    let causes = Regression::causes(Side { report: &report, evidence: &Made::default() });
    let [failure, unknown] = &causes[..] else { panic!("{causes:?}") };
    assert_eq!(failure.place(), "filelife/mknod on debian-6.19 (embedded; aya, libbpf)");
    assert_eq!(failure.explanations[0].beside, "debian-6.18");
    assert_eq!(unknown.cells, ["debian-6.19/embedded/libbpf/inotify/unwatched"]);
}

#[test]
fn one_cause_is_one_finding_on_all_kernels_and_is_explained() {
    let scenarios = ["filelife/mknod", "filelife/create_unlink"];
    let cells = |kernels: &[(&str, Outcome)]| {
        let mut cells = Vec::new();
        for (kernel, outcome) in kernels {
            for backend in ["libbpf", "aya"] {
                for scenario in scenarios {
                    cells.push((format!("{kernel}/embedded/{backend}/{scenario}"), *outcome));
                }
            }
        }
        cells
    };
    let made = |run, kernels| {
        let cells = cells(kernels);
        let cells: Vec<_> = cells.iter().map(|(id, outcome)| (id.as_str(), *outcome)).collect();
        let mut report = report(run, &cells);
        for (number, cell) in report.cells.iter_mut().enumerate() {
            if cell.outcome == Fail {
                cell.diff = Some(format!(
                    "--- expected\n+++ observed\n@@ -{number} +0 @@\n-tid=<worker-{number}> unlinked name=\"{number}\"\n"
                ));
            }
        }
        report
    };
    let base = made("old", &[("debian-6.12", Pass), ("debian-6.18", Pass)]);
    let head = made("new", &[("debian-6.12", Pass), ("debian-6.18", Pass), ("debian-6.19", Fail)]);
    let nothing = Made::default();
    let regression = Regression::of_runs(
        Side { report: &base, evidence: &nothing },
        Side { report: &head, evidence: &nothing },
    );
    insta::assert_snapshot!(regression, @r#"
    new compared with old: 8 of 8 cells are the same, new failure: 4; the events of 8 that pass were not recorded and can't be compared

    new failure [24378bcefe57], 4 cells: fail (events-differ)
      debian-6.19: events differ at 42
      how debian-6.19 differs from debian-6.18:
        `vfs_create` takes the dentry as 2nd argument from 6.19, was 3rd
        `vfs_create` takes the mode as 3rd argument from 6.19, was 4th
        `vfs_unlink` is `int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct delegated_inode *delegated_inode)` from 6.19, was `int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)`
      debian-6.19/embedded/libbpf/filelife/mknod
      debian-6.19/embedded/libbpf/filelife/create_unlink
      debian-6.19/embedded/aya/filelife/mknod
      debian-6.19/embedded/aya/filelife/create_unlink
        --- expected
        +++ observed
        @@ -8 +0 @@
        -tid=<worker-8> unlinked name="8"
    "#);
    let json: serde_json::Value = serde_json::from_str(&regression.to_json()).unwrap();
    assert_eq!(json["findings"][0]["explanations"][0]["beside"], "debian-6.18");
    assert_eq!(json["findings"][0]["category"], "new-failure");
}

#[test]
fn a_failure_of_another_kind_is_another_finding() {
    let ids = ["k/masked/aya/sys_write/threads", "k/masked/aya/sys_write/burst_ring"];
    let base = report("old", &ids.map(|id| (id, Pass)));
    let mut head = report("new", &ids.map(|id| (id, Fail)));
    for (cell, field) in head.cells.iter_mut().zip(["fd", "ret"]) {
        cell.diff = Some(format!("-write {field}=1\n+write {field}=2\n"));
    }
    let nothing = Made::default();
    let findings = |head: &Report| {
        let side = |report| Side { report, evidence: &nothing as &dyn EvidenceSource };
        Regression::of_runs(side(&base), side(head)).findings.len()
    };
    assert_eq!(findings(&head), 2);
    head.cells[1].diff = head.cells[0].diff.clone();
    assert_eq!(findings(&head), 1);
    head.cells[1].reason = Some(Reason::EventsLost);
    assert_eq!(findings(&head), 2);
}

/// The kernel itself reports what is wrong, regardless of the tracer.
#[test]
fn a_crash_is_one_cause_for_all_tracers() {
    let ids = ["k/masked/aya/sys_write/threads", "k/masked/aya/inotify/unwatched"];
    let found = |outcome| compare(&ids.map(|id| (id, Pass)), &ids.map(|id| (id, outcome)));
    assert_eq!(found(KernelCrash).findings.len(), 1);
    assert_eq!(found(Fail).findings.len(), 2);
}

#[test]
fn two_kernels_of_a_run() {
    let cells = [
        ("debian-6.18/embedded/aya/filelife/mknod", Pass),
        ("debian-6.18/masked/aya/filelife/mknod", Pass),
        ("debian-6.18/masked/aya/inotify/unwatched", Unsupported),
        ("debian-6.18/masked/aya/filetop/mixed_io", Pass),
        ("debian-6.19/absent/aya/filelife/mknod", Fail),
        ("debian-6.19/absent/aya/inotify/unwatched", Pass),
        ("debian-6.19/external/aya/inotify/unwatched", Pass),
    ];
    let report = report("run", &cells);
    let nothing = Made::default();
    let run = Side { report: &report, evidence: &nothing };
    let mut regression = Regression::of_kernels(run, "debian-6.18", "debian-6.19").unwrap();
    assert!(regression.difference.is_some());
    // It has its own tests.
    regression.difference = None;
    insta::assert_snapshot!(regression, @r"
    debian-6.19 compared with debian-6.18: 0 of 2 cells are the same, new failure: 1, vanished: 1, newly supported: 1, only one kernel has the BTF mode: 2

    new failure [fb1487b637a9], 1 cell: pass -> fail (events-differ)
      debian-6.19: events differ at 37
      how debian-6.19 differs from debian-6.18:
        `vfs_create` takes the dentry as 2nd argument from 6.19, was 3rd
        `vfs_create` takes the mode as 3rd argument from 6.19, was 4th
        `vfs_unlink` is `int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct delegated_inode *delegated_inode)` from 6.19, was `int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)`
      debian-6.19/absent/aya/filelife/mknod

    vanished, 1 cell
      debian-6.18/masked/aya/filetop/mixed_io

    newly supported [466560c23b93], 1 cell: unsupported (missing-symbol) -> pass
      debian-6.18: no such symbol at 40
      debian-6.19/absent/aya/inotify/unwatched

    only one kernel has the BTF mode, 1 cell
      debian-6.19/external/aya/inotify/unwatched

    only one kernel has the BTF mode, 1 cell
      debian-6.19 has no cells of the mode embedded
      debian-6.18/embedded/aya/filelife/mknod
    ");
    let error = Regression::of_kernels(run, "debian-6.18", "6.19").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the run run has no cells of a kernel \"6.19\"; its kernels are debian-6.18, debian-6.19"
    );
}

#[test]
fn a_suite_is_explained_by_what_its_tracer_names() {
    let [good, bad] = ["debian-6.18", "debian-6.19"].map(|k| format!("{k}/embedded/suite/mine"));
    let mut report = report("r", &[(&good, Pass), (&bad, Fail)]);
    let run = |report: &Report, message: &str| {
        let mut cell = report.cells[1].clone();
        cell.message = message.to_owned();
        let made = Made::default();
        Regression::explain(Side { report, evidence: &made }, &cell)
    };
    report.cells.iter_mut().for_each(|cell| cell.release = Some(cell.kernel[7..].to_owned()));
    let [explanation] = &run(&report, "can't read the dentry of vfs_create")[..] else {
        panic!("it has one")
    };
    assert_eq!(explanation.beside, "debian-6.18");
    let first = "`vfs_create` takes the dentry as 2nd argument from 6.19, was 3rd";
    assert_eq!(explanation.changes[0], first);
    assert_eq!(run(&report, "it names nothing"), []);
}

#[test]
fn a_kernel_of_the_same_architecture_is_nearer() {
    let mut report = sample::architectures();
    for cell in &mut report.cells {
        let release = match cell.kernel.as_str() {
            "debian-6.1" => "6.1.0-amd64",
            "debian-6.12" => "6.12.0-amd64",
            _ => "6.2.0-arm64",
        };
        cell.release = Some(release.to_owned());
    }
    let nearest = |report: &Report, cell: usize| {
        NearestPass::of(report, &report.cells[cell]).map(|NearestPass(cell)| cell.kernel.clone())
    };
    // The only one on which it passes is of the other architecture.
    assert_eq!(nearest(&report, 4).as_deref(), Some("debian-6.1"));
    report.cells[4].set_verdict(Verdict::pass());
    assert_eq!(nearest(&report, 8).as_deref(), Some("debian-6.1"));
    // A report of an earlier version names no architecture.
    report.kernels.clear();
    assert_eq!(nearest(&report, 8).as_deref(), Some("debian-6.1-arm64"));
}

/// A kernel whose package was updated between two runs.
struct Updated(&'static str);

impl EvidenceSource for Updated {
    fn events(&self, _: &CellReport) -> Option<String> {
        None
    }

    fn dossier(&self, _: &str) -> Option<Dossier> {
        Made::default().dossier(self.0)
    }
}

#[test]
fn a_kernel_is_compared_with_what_it_was_in_the_other_run() {
    let id = "k/embedded/libbpf/filelife/mknod";
    let is_explained = |before, after| {
        let (base, head) = (report("old", &[(id, before)]), report("new", &[(id, after)]));
        let (before, after) = (Updated("debian-6.18"), Updated("debian-6.19"));
        let regression = Regression::of_runs(
            Side { report: &base, evidence: &before },
            Side { report: &head, evidence: &after },
        );
        let change = "`vfs_create` takes the dentry as 2nd argument from 6.19, was 3rd";
        regression.to_string().contains(change)
    };
    for after in [Fail, Unsupported, KernelCrash, KernelWarning] {
        assert!(is_explained(Pass, after), "{after}");
    }
    assert!(!is_explained(Fail, Fail), "it is no news");
    assert!(!is_explained(Pass, Infra), "it is not the kernel's doing");
}
