//! Whether golden snapshots may be written.

use std::env;

use crate::failure::Failure;

/// Allows `--update-snapshots` in a CI system.
const ALLOWED_VARIABLE: &str = "KERNLAB_UPDATE_IN_CI";

/// Refuses `--update-snapshots` in a CI system: nobody reads there what is written, and a run that agrees
/// with everything it sees is green.
pub(crate) fn check(is_update: bool) -> Result<(), Failure> {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    if is_update && is_refused(&variable("CI"), &variable(ALLOWED_VARIABLE)) {
        return Err(Failure::usage(format!(
            "--update-snapshots in CI (CI is set): run it where somebody reads what it writes, or set \
             {ALLOWED_VARIABLE}=1"
        )));
    }
    Ok(())
}

fn is_refused(ci: &str, allowed: &str) -> bool {
    let is_set = |value: &str| !["", "0", "no", "false", "off"].contains(&value);
    is_set(ci) && !is_set(allowed)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::on_a_laptop("", "", false)]
    #[case::in_ci("true", "", true)]
    #[case::of_another_service("1", "0", true)]
    #[case::allowed("true", "1", false)]
    #[case::turned_off("false", "", false)]
    fn snapshots_are_written_where_somebody_reads_them(
        #[case] ci: &str,
        #[case] allowed: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(is_refused(ci, allowed), expected);
    }
}
