//! Compares the kernel that a guest ran with the kernel that the run prepared.

use std::collections::BTreeMap;

use kernlab_core::{
    outcome::{Outcome, Reason, Verdict},
    record::Record,
};

use kernlab_kernels::{UNKNOWN_RELEASE, Unpacked};
use kernlab_proto::Hello;

use crate::report::CellReport;

/// Refuses to run a cell in a guest that says that it runs another kernel than the one whose image was
/// read: another release, or another build of the same release.
pub(crate) fn of_guest(hello: &Hello, kernel: &Unpacked) -> Result<(), Verdict> {
    let wrong = |observed: &str, expected: &str| {
        let message = format!("the guest ran kernel {observed} instead of {expected}");
        Err(Verdict::because(Outcome::Infra, Reason::WrongKernel, message))
    };
    if kernel.release != UNKNOWN_RELEASE && hello.release != kernel.release {
        return wrong(&hello.release, &kernel.release);
    }
    match &kernel.version {
        Some(version) if *version != hello.version => wrong(
            &format!("{} {}", hello.release, hello.version),
            &format!("{} {version}", kernel.release),
        ),
        _ => Ok(()),
    }
}

/// Refuses a record that names another kernel than the guest did when it was ready.
pub(super) fn of_record(record: &Record, release: Option<&str>) -> Result<(), Verdict> {
    match release {
        Some(expected) if record.release != expected => {
            let observed = &record.release;
            let message =
                format!("the tracer's record is of kernel {observed} instead of {expected}");
            Err(Verdict::because(Outcome::Infra, Reason::WrongKernel, message))
        }
        _ => Ok(()),
    }
}

/// Makes a cell inconclusive if its guest ran another kernel than the run prepared for it.
/// `releases` has the releases of the run's kernels, by id.
pub(crate) fn check(cells: &mut [CellReport], releases: &BTreeMap<&str, &str>) {
    for cell in cells {
        let expected = releases.get(cell.kernel.as_str());
        let (Some(observed), Some(&expected)) = (&cell.release, expected) else { continue };
        if observed != expected && expected != UNKNOWN_RELEASE {
            let message = format!("the guest ran kernel {observed} instead of {expected}");
            cell.set_verdict(Verdict::because(Outcome::Infra, Reason::WrongKernel, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use kernlab_kernels::{Image, Modules};

    use super::*;

    #[rstest]
    #[case::its_own("6.1.0", "#2 SMP", None)]
    #[case::another_build("6.1.0", "#1 SMP", Some("kernel 6.1.0 #1 SMP instead of 6.1.0 #2 SMP"))]
    #[case::another_release("5.10.0", "#2 SMP", Some("kernel 5.10.0 instead of 6.1.0"))]
    fn a_guest_runs_the_kernel_that_was_read(
        #[case] release: &str,
        #[case] version: &str,
        #[case] expected: Option<&str>,
    ) {
        let kernel = Unpacked {
            id: "k".to_owned(),
            release: "6.1.0".to_owned(),
            version: Some("#2 SMP".to_owned()),
            sha256: None,
            arch: kernlab_kernels::Arch::X86_64,
            image: Image { bzimage: None, vmlinux: Some("/store/vmlinux".into()) },
            config: None,
            has_btf: None,
            modules: Modules::default(),
            memory_mib: 300,
            processors: 2,
        };
        let hello = Hello {
            release: release.to_owned(),
            version: version.to_owned(),
            processors: 1,
            user_space_ms: 0,
            ready_ms: 0,
            notes: Vec::new(),
        };
        let found = of_guest(&hello, &kernel).err().map(|verdict| verdict.message);
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
        assert!(found.unwrap_or_default().ends_with(expected.unwrap_or_default()));
        let unstated = Unpacked { version: None, release: UNKNOWN_RELEASE.to_owned(), ..kernel };
        assert!(of_guest(&hello, &unstated).is_ok());
    }

    #[rstest]
    #[case::its_own("6.1.0", "6.1.0", None)]
    #[case::another("5.10.0", "6.1.0", Some(Reason::WrongKernel))]
    #[case::unknown("5.10.0", UNKNOWN_RELEASE, None)]
    fn a_pass_on_another_kernel_is_none(
        #[case] observed: &str,
        #[case] prepared: &str,
        #[case] expected: Option<Reason>,
    ) {
        let mut cell = CellReport::of_verdict("k/masked/aya/t/a", Verdict::pass());
        cell.release = Some(observed.to_owned());
        let mut cells = [cell];
        check(&mut cells, &BTreeMap::from([("k", prepared)]));
        assert_eq!(cells[0].reason, expected, "{}", cells[0].message);
    }
}
