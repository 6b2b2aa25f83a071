mod causes;

use kernlab_core::outcome::{
    Outcome::{self, Fail, Infra, KernelCrash, KernelWarning, Pass, Unsupported},
    Reason, Verdict,
};
use rstest::rstest;

use super::*;
use crate::report::{Kernel, LoadedObject, Run, TracerReport, sample};

const DOSSIERS: [(&str, &[u8]); 3] = [
    ("debian-6.12", include_bytes!("../../../../core/tests/dossiers/debian-6.12.json")),
    ("debian-6.18", include_bytes!("../../../../core/tests/dossiers/debian-6.18.json")),
    ("debian-6.19", include_bytes!("../../../../core/tests/dossiers/debian-6.19.json")),
];

/// Events by cell, and the dossiers of real kernels.
#[derive(Default)]
struct Made(BTreeMap<String, String>);

impl EvidenceSource for Made {
    fn events(&self, cell: &CellReport) -> Option<String> {
        self.0.get(&cell.id()).cloned()
    }

    fn dossier(&self, kernel: &str) -> Option<Dossier> {
        let (_, json) = DOSSIERS.iter().find(|(known, _)| *known == kernel)?;
        Some(Dossier::from_json(json).unwrap())
    }
}

/// A cell with this outcome. Its message contains the kernel's name and a number.
fn cell(id: &str, outcome: Outcome) -> CellReport {
    let kernel = id.split('/').next().unwrap();
    let because = |reason, what: &str| {
        Verdict::because(outcome, reason, format!("{kernel}: {what} at {}", id.len()))
    };
    let verdict = match outcome {
        Outcome::Pass => Verdict::pass(),
        Outcome::Unsupported => because(Reason::MissingSymbol, "no such symbol"),
        Outcome::Fail => because(Reason::EventsDiffer, "events differ"),
        Outcome::KernelCrash => because(Reason::KernelPanicked, "panic"),
        _ => because(Reason::QemuFailed, "no QEMU"),
    };
    CellReport::of_verdict(id, verdict)
}

/// The cells of an object whose program has so many instructions, on two kernels.
fn of_object(counts: [(&str, u64); 2]) -> Report {
    let mut report = report("r", &[("j/embedded/libbpf/o", Pass), ("k/embedded/libbpf/o", Pass)]);
    for (cell, (program, count)) in report.cells.iter_mut().zip(counts) {
        cell.tracer = Some(TracerReport {
            is_object: true,
            max_growth_percent: Some(25),
            programs: vec![LoadedObject {
                name: program.to_owned(),
                kind: "kprobe".to_owned(),
                verified_instructions: Some(count),
                missed_runs: None,
                load_us: None,
            }],
            ..TracerReport::default()
        });
    }
    report
}

#[test]
fn each_program_that_grew_is_told_of() {
    let base = of_object([("a", 100), ("b", 100)]);
    let head = of_object([("a", 126), ("b", 900)]);
    let (one, other) = (Made::default(), Made::default());
    let found = Regression::of_runs(
        Side { report: &base, evidence: &one },
        Side { report: &head, evidence: &other },
    );
    let told: Vec<_> = found
        .findings
        .iter()
        .map(|finding| (finding.category, finding.message.as_str(), &finding.cells[..]))
        .collect();
    let grew = "verified instructions grew by more than 25 %:";
    assert_eq!(
        told,
        [
            (
                Category::MoreInstructions,
                &*format!("{grew} a from 100 to 126 (+26.0 %)"),
                &["j/embedded/libbpf/o".to_owned()][..]
            ),
            (
                Category::MoreInstructions,
                &*format!("{grew} b from 100 to 900 (+800.0 %)"),
                &["k/embedded/libbpf/o".to_owned()][..]
            ),
        ]
    );
    assert_ne!(found.findings[0].fingerprint, found.findings[1].fingerprint);
    let [base, head] = [base, head].map(|mut report| {
        let known = Verdict::because(Unsupported, Reason::ExpectedFailure, "it is known to fail");
        report.cells.iter_mut().for_each(|cell| cell.set_verdict(known.clone()));
        report
    });
    let found = Regression::of_runs(
        Side { report: &base, evidence: &one },
        Side { report: &head, evidence: &other },
    );
    assert_eq!((found.findings.len(), found.same), (0, 2), "what is not loaded does not count");
    assert_eq!(Category::MoreInstructions.severity(), Severity::Failure);
}

fn report(run: &str, cells: &[(&str, Outcome)]) -> Report {
    let cells: Vec<_> = cells.iter().map(|(id, outcome)| cell(id, *outcome)).collect();
    let mut ids: Vec<_> = cells.iter().map(|cell| cell.kernel.clone()).collect();
    ids.dedup();
    let kernel = |id| Kernel { id, arch: None, release: None, unavailable: None, sha256: None };
    Report {
        schema: 1,
        run: Run {
            id: run.to_owned(),
            started: String::new(),
            duration_ms: 0,
            selectors: vec![],
            jobs: 1,
            repeat: std::num::NonZeroU32::MIN,
            exit_code: 0,
            ..Run::default()
        },
        kernels: ids.into_iter().map(kernel).collect(),
        cells,
        remarks: Vec::new(),
    }
}

fn compare(base: &[(&str, Outcome)], head: &[(&str, Outcome)]) -> Regression {
    let (base, head) = (report("old", base), report("new", head));
    let nothing = Made::default();
    Regression::of_runs(
        Side { report: &base, evidence: &nothing },
        Side { report: &head, evidence: &nothing },
    )
}

/// A comparison with nearly every category.
pub(super) fn everything() -> Regression {
    let base = [
        ("k/embedded/aya/t/same", Pass),
        ("k/embedded/aya/t/broken", Pass),
        ("k/masked/aya/t/broken", Pass),
        ("k/embedded/aya/t/bad", Fail),
        ("k/embedded/aya/t/worse", Fail),
        ("k/embedded/aya/t/mended", KernelCrash),
        ("k/embedded/aya/t/lost", Pass),
        ("k/embedded/aya/t/won", Unsupported),
        ("k/embedded/aya/t/unknown", Pass),
        ("k/embedded/aya/t/gone", Pass),
        ("went/embedded/aya/t/a", Pass),
        ("went/embedded/aya/t/b", Fail),
    ];
    let head = [
        ("k/embedded/aya/t/same", Pass),
        ("k/embedded/aya/t/broken", Fail),
        ("k/masked/aya/t/broken", Fail),
        ("k/embedded/aya/t/bad", Fail),
        ("k/embedded/aya/t/worse", KernelCrash),
        ("k/embedded/aya/t/mended", Pass),
        ("k/embedded/aya/t/lost", Unsupported),
        ("k/embedded/aya/t/won", Pass),
        ("k/embedded/aya/t/unknown", Infra),
        ("k/embedded/aya/t/came", Pass),
        ("came/embedded/aya/t/a", Pass),
        ("came/embedded/aya/t/b", Unsupported),
        ("came/embedded/aya/t/c", Fail),
    ];
    compare(&base, &head)
}

#[test]
fn a_failure_is_only_new_if_the_base_knows_better() {
    let cells = |outcome| [("k/embedded/suite/a", outcome), ("k/embedded/suite/b", Pass)];
    let category = |old, new| compare(&cells(old), &cells(new)).findings[0].category;
    assert_eq!(category(Pass, Fail), Category::NewFailure);
    assert_eq!(category(Unsupported, Fail), Category::NewFailure);
    assert_eq!(category(Fail, KernelCrash), Category::StillFailing);
    let unknown = compare(&cells(Infra), &cells(Fail));
    assert_eq!(unknown.findings[0].category, Category::FailingNotRunBefore);
    assert_eq!(unknown.severity(), Severity::Inconclusive);
    assert!(unknown.summary().contains("failing and not run before: 1"), "{unknown}");
    // A cell that the base does not have at all is the head's own.
    let new = compare(&cells(Pass)[1..], &cells(Fail));
    assert_eq!(
        (new.findings[0].category, new.severity()),
        (Category::NewFailure, Severity::Failure)
    );
    let lost = compare(&cells(Fail), &cells(Pass)[1..]);
    assert_eq!(
        (lost.findings[0].category, lost.severity()),
        (Category::Vanished, Severity::Failure)
    );
}

#[test]
fn everything_that_can_happen_between_two_runs() {
    let regression = everything();
    assert_eq!(regression.severity(), Severity::Failure);
    insta::assert_snapshot!(regression, @r"
    new compared with old: 1 of 9 cells are the same, new failure: 3, no longer supported: 1, vanished: 3, inconclusive: 1, still failing: 2, fixed: 1, newly supported: 1, new kernel: 2, new cell: 1; the events of 1 that pass were not recorded and can't be compared

    new failure [f95b5805c7f0], 3 cells: pass -> fail (events-differ)
      k: events differ at 23
      k/embedded/aya/t/broken
      k/masked/aya/t/broken
      came/embedded/aya/t/c

    no longer supported [8b1864db5235], 1 cell: pass -> unsupported (missing-symbol)
      k: no such symbol at 21
      k/embedded/aya/t/lost

    vanished, 1 cell
      k/embedded/aya/t/gone

    vanished, 2 cells
      there are no cells of went any more
      went/embedded/aya/t/a
      went/embedded/aya/t/b

    inconclusive [cf4bb8cb2826], 1 cell: pass -> infra (qemu-failed)
      k: no QEMU at 24
      k/embedded/aya/t/unknown

    still failing [f95b5805c7f0], 1 cell: fail (events-differ)
      k: events differ at 20
      k/embedded/aya/t/bad

    still failing [0fb353e65705], 1 cell: fail (events-differ) -> kernel-crash (kernel-panicked)
      k: panic at 22
      k/embedded/aya/t/worse

    fixed [0fb353e65705], 1 cell: kernel-crash (kernel-panicked) -> pass
      k: panic at 23
      k/embedded/aya/t/mended

    newly supported [8b1864db5235], 1 cell: unsupported (missing-symbol) -> pass
      k: no such symbol at 20
      k/embedded/aya/t/won

    new kernel, 2 cells
      came: 1 pass, 1 fail, 1 unsupported
      came/embedded/aya/t/a
      came/embedded/aya/t/b

    new cell, 1 cell
      k/embedded/aya/t/came
    ");
    insta::assert_snapshot!(markdown::render(&regression, usize::MAX), @r"
    ### kernlab: new compared with old

    | what | cells |
    |---|--:|
    | the same | 1 |
    | new failure | 3 |
    | no longer supported | 1 |
    | vanished | 3 |
    | inconclusive | 1 |
    | still failing | 2 |
    | fixed | 1 |
    | newly supported | 1 |
    | new kernel | 2 |
    | new cell | 1 |
    | events missing | 1 |

    #### new failure \[f95b5805c7f0\], 3 cells: pass -&gt; fail (events-differ)

    k: events differ at 23

    - k/embedded/aya/t/broken
    - k/masked/aya/t/broken
    - came/embedded/aya/t/c

    #### no longer supported \[8b1864db5235\], 1 cell: pass -&gt; unsupported (missing-symbol)

    k: no such symbol at 21

    - k/embedded/aya/t/lost

    #### vanished, 1 cell

    - k/embedded/aya/t/gone

    #### vanished, 2 cells

    there are no cells of went any more

    - went/embedded/aya/t/a
    - went/embedded/aya/t/b

    #### inconclusive \[cf4bb8cb2826\], 1 cell: pass -&gt; infra (qemu-failed)

    k: no QEMU at 24

    - k/embedded/aya/t/unknown

    #### still failing \[f95b5805c7f0\], 1 cell: fail (events-differ)

    k: events differ at 20

    - k/embedded/aya/t/bad

    #### still failing \[0fb353e65705\], 1 cell: fail (events-differ) -&gt; kernel-crash (kernel-panicked)

    k: panic at 22

    - k/embedded/aya/t/worse

    #### fixed \[0fb353e65705\], 1 cell: kernel-crash (kernel-panicked) -&gt; pass

    k: panic at 23

    - k/embedded/aya/t/mended

    #### newly supported \[8b1864db5235\], 1 cell: unsupported (missing-symbol) -&gt; pass

    k: no such symbol at 20

    - k/embedded/aya/t/won

    #### new kernel, 2 cells

    came: 1 pass, 1 fail, 1 unsupported

    - came/embedded/aya/t/a
    - came/embedded/aya/t/b

    #### new cell, 1 cell

    - k/embedded/aya/t/came
    ");
}

#[rstest]
#[case::nothing_happened(&[Pass], &[Pass], Severity::Expected)]
#[case::as_bad_as_before(&[Fail], &[Fail], Severity::Expected)]
#[case::fixed(&[Fail], &[Pass], Severity::Expected)]
#[case::known_now(&[Infra], &[Unsupported], Severity::Expected)]
#[case::broken(&[Pass], &[Fail], Severity::Failure)]
#[case::not_known_before(&[Infra], &[Fail], Severity::Inconclusive)]
#[case::not_known_now(&[Fail], &[Infra], Severity::Inconclusive)]
#[case::never_known(&[Infra], &[Infra], Severity::Inconclusive)]
#[case::broken_and_not_known(&[Pass, Pass], &[Infra, KernelCrash], Severity::Failure)]
#[case::lost(&[Pass], &[Unsupported], Severity::Failure)]
#[case::came(&[Pass], &[Pass, Pass], Severity::Expected)]
#[case::came_broken(&[Pass], &[Pass, Fail], Severity::Failure)]
#[case::went(&[Pass, Fail], &[Pass], Severity::Failure)]
#[case::nothing_in_common(&[], &[Pass], Severity::Inconclusive)]
fn what_it_means_for_ci(
    #[case] base: &[Outcome],
    #[case] head: &[Outcome],
    #[case] expected: Severity,
) {
    let scenarios = ["k/masked/aya/t/a", "k/masked/aya/t/b"];
    let cells = |outcomes: &[Outcome]| {
        scenarios.into_iter().zip(outcomes.iter().copied()).collect::<Vec<_>>()
    };
    assert_eq!(compare(&cells(base), &cells(head)).severity(), expected);
}

#[test]
fn markdown_that_is_too_long_says_what_it_leaves_out() {
    let regression = everything();
    let whole = markdown::render(&regression, usize::MAX);
    for (limit, left_out) in [
        (700, " more findings are left out.\n"),
        (1000, " more findings are left out.\n"),
        (whole.len() - 1, "\n1 more finding is left out.\n"),
    ] {
        let text = markdown::render(&regression, limit);
        assert!(text.len() <= limit, "{limit}");
        assert!(text.ends_with(left_out), "{text}");
    }
}

#[test]
fn events_that_changed_are_told_though_both_pass() {
    let cells = [
        ("k/embedded/aya/sys_write/threads", Pass),
        ("k/embedded/libbpf/sys_write/threads", Pass),
        ("k/masked/aya/sys_write/threads", Pass),
    ];
    let (old, new) = (report("old", &cells), report("new", &cells));
    let events = |fd: u32, ids: &[(&str, Outcome)]| {
        let text = format!("comm=a write fd=1\ncomm=b write fd={fd}\n");
        Made(ids.iter().map(|(id, _)| ((*id).to_owned(), text.clone())).collect())
    };
    let (before, after) = (events(2, &cells), events(3, &cells[..2]));
    let regression = Regression::of_runs(
        Side { report: &old, evidence: &before },
        Side { report: &new, evidence: &after },
    );
    assert_eq!(regression.severity(), Severity::Expected);
    insta::assert_snapshot!(regression, @r"
    new compared with old: 1 of 3 cells are the same, events changed: 2; the events of 1 that pass were not recorded and can't be compared

    events changed [f188deeb34ab], 2 cells: pass
      k/embedded/aya/sys_write/threads
      k/embedded/libbpf/sys_write/threads
        --- base
        +++ head
        @@ -1,2 +1,2 @@
         comm=a write fd=1
        -comm=b write fd=2
        +comm=b write fd=3
    ");
}

#[test]
fn events_that_changed_are_told_of_what_still_fails() {
    let id = "k/embedded/aya/sys_write/threads";
    let (old, new) = (report("old", &[(id, Fail)]), report("new", &[(id, Fail)]));
    let events = |text: &str| Made(BTreeMap::from([(id.to_owned(), text.to_owned())]));
    let (before, after) = (events("write fd=1\n"), events("write fd=2\n"));
    let regression = Regression::of_runs(
        Side { report: &old, evidence: &before },
        Side { report: &new, evidence: &after },
    );
    let [finding] = &regression.findings[..] else { panic!("{regression}") };
    assert_eq!(finding.category, Category::StillFailing);
    let events = "--- base\n+++ head\n@@ -1 +1 @@\n-write fd=1\n+write fd=2\n";
    assert_eq!(finding.events.as_deref(), Some(events));
}

#[test]
fn kernels_of_two_architectures_are_named_with_them() {
    let report = sample::architectures();
    let nothing = Made::default();
    let run = Side { report: &report, evidence: &nothing };
    let summary = |base, head| Regression::of_kernels(run, base, head).unwrap().summary();
    let of_two = summary("debian-6.1", "debian-6.1-arm64");
    assert!(
        of_two.starts_with("debian-6.1-arm64 (aarch64) compared with debian-6.1 (x86_64): "),
        "{of_two}"
    );
    let of_one = summary("debian-6.1", "debian-6.12");
    assert!(of_one.starts_with("debian-6.12 compared with debian-6.1: "), "{of_one}");
}
