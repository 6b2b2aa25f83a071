//! An invented run for tests of renderings.

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use kernlab_kernels::Arch;

use super::{AllowedSplat, CellReport, Kernel, Report, Run, SuiteKind};

/// A run on two kernels. Its texts break any rendering that does not escape them.
pub(crate) fn report() -> Report {
    let mut cells = Vec::new();
    for (kernel, modes) in
        [("debian-6.1", &["embedded", "masked"][..]), ("vendor-5.4", &["absent"])]
    {
        for btf in modes {
            for backend in ["libbpf", "aya"] {
                for scenario in ["sys_write/threads", "inotify/unwatched"] {
                    let id = format!("{kernel}/{btf}/{backend}/{scenario}");
                    cells.push(cell(&id));
                }
            }
        }
    }
    let kernel = |id: &str, release: Option<&str>, unavailable: Option<&str>| Kernel {
        id: id.to_owned(),
        arch: Some(Arch::X86_64),
        release: release.map(str::to_owned),
        unavailable: unavailable.map(str::to_owned),
        sha256: None,
    };
    Report {
        schema: 1,
        run: Run {
            id: "20260101T000000".to_owned(),
            started: "2026-01-01T00:00:00Z".to_owned(),
            duration_ms: 61_234,
            selectors: vec!["6.1".to_owned(), "vendor-*".to_owned()],
            jobs: 2,
            repeat: std::num::NonZeroU32::MIN,
            exit_code: 1,
            ..Run::default()
        },
        kernels: vec![
            kernel("debian-6.1", Some("6.1.0-56-cloud-amd64"), None),
            kernel("vendor-5.4", None, Some("cannot download linux.deb <404>")),
        ],
        cells,
        remarks: Vec::new(),
    }
}

/// A run on kernels of two architectures, in no order, one of which fails.
pub(crate) fn architectures() -> Report {
    let kernels = [
        ("debian-6.1", Arch::X86_64),
        ("debian-6.1-arm64", Arch::Aarch64),
        ("debian-6.12", Arch::X86_64),
    ];
    let ids = kernels.iter().flat_map(|(kernel, _)| {
        let backends = ["libbpf", "aya"].into_iter();
        backends.flat_map(move |backend| {
            let scenarios = ["sys_write/threads", "inotify/unwatched"];
            scenarios.map(|scenario| format!("{kernel}/masked/{backend}/{scenario}"))
        })
    });
    let mut cells: Vec<_> = ids.map(|id| CellReport::of_verdict(&id, Verdict::pass())).collect();
    cells[4].set_verdict(Verdict::because(
        Outcome::Fail,
        Reason::EventsDiffer,
        "two events differ",
    ));
    let kernel = |(id, arch): (&str, Arch)| Kernel {
        id: id.to_owned(),
        arch: Some(arch),
        release: None,
        unavailable: None,
        sha256: None,
    };
    Report { cells, kernels: kernels.map(kernel).into(), ..report() }
}

/// A run of two suites on two kernels: one fails alike on both.
pub(crate) fn suites() -> Report {
    let mut cells = Vec::new();
    for kernel in ["debian-5.10", "debian-6.1"] {
        for suite in ["opens", "writes"] {
            let mut cell = CellReport::of_verdict(
                &format!("{kernel}/embedded/suite/{suite}"),
                Verdict::pass(),
            );
            if suite == "opens" {
                cell.set_verdict(Verdict::because(
                    Outcome::Fail,
                    Reason::UnexpectedExit,
                    "the tracer ended: exit code 1; stderr:\nlibbpf: no <BTF>",
                ));
            }
            cell.duration_ms = 321;
            cell.suite = Some(SuiteKind::Described);
            cell.again = Some(format!("kernlab test --kernel {kernel} --suite {suite}"));
            cells.push(cell);
        }
    }
    let remark = "opens: fail (unexpected-exit) on all 2 kernels: the tracer or the suite is at \
                  fault, not a kernel";
    Report { cells, kernels: Vec::new(), remarks: vec![remark.to_owned()], ..report() }
}

fn cell(id: &str) -> CellReport {
    let mut report = CellReport::of_verdict(id, Verdict::pass());
    report.duration_ms = 321;
    report.evidence = format!("cells/{id}");
    match id {
        "debian-6.1/masked/aya/sys_write/threads" => {
            report.set_verdict(Verdict::because(
                Outcome::Fail,
                Reason::EventsDiffer,
                "two events differ | see ``` & <below>",
            ));
            report.diff = Some(
                "-pid=<workload> fd=1 count=3\n+pid=<workload> fd=1 name=\"a```b]]>\u{1b}[0m\"\n"
                    .to_owned(),
            );
        }
        "debian-6.1/embedded/aya/inotify/unwatched" => report.allowed.push(AllowedSplat {
            title: "WARNING in <do_it>".to_owned(),
            reason: "a bug of *this* kernel".to_owned(),
            link: "https://example.org/\"1".to_owned(),
        }),
        "debian-6.1/masked/libbpf/inotify/unwatched" => report.set_verdict(Verdict::because(
            Outcome::KernelCrash,
            Reason::KernelPanicked,
            "divide error in do_it [oops], line 2 of console.log:\n\
             [    1.000001] divide error: 0000 [#1] SMP\n\
             [    1.000002] RIP: 0010:do_it+0x1/0x2 ``` <&>",
        )),
        "debian-6.1/embedded/libbpf/inotify/unwatched" => report.set_verdict(Verdict::because(
            Outcome::Unsupported,
            Reason::MissingSymbol,
            "the kernel has no inotify_handle_event",
        )),
        id if id.starts_with("vendor") => report.set_verdict(Verdict::because(
            Outcome::Unavailable,
            Reason::Unreachable,
            "cannot download linux.deb <404>",
        )),
        _ => {}
    }
    report
}
