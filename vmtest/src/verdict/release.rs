//! Compares the kernel that a guest ran with the kernel that the run prepared.

use std::collections::BTreeMap;

use kernlab_core::outcome::{Outcome, Reason, Verdict};

use kernlab_kernels::UNKNOWN_RELEASE;

use crate::report::CellReport;

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

    use super::*;

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
