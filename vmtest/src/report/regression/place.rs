//! One line that says where something happened.

use kernlab_core::cell::CellName;

use super::{super::grid::distinct, Finding};
use crate::suite::run::SUITE;

/// Longer lists of names are replaced by their number.
const NAMES: usize = 4;

impl Finding {
    /// `filelife/mknod on debian-6.19, debian-backports (embedded; libbpf, aya)`. Suites have no
    /// backend.
    pub(crate) fn place(&self) -> String {
        let names = || self.cells.iter().map(|cell| CellName::of(cell));
        let kernels = distinct(names().map(|name| name.kernel));
        let modes = distinct(names().map(|name| name.btf)).join(", ");
        let backends = distinct(names().map(|name| name.backend));
        let tracers = distinct(names().map(CellName::tracer));
        let is_suite = backends == [SUITE];
        let scenarios = match distinct(names().map(|name| name.scenario)) {
            few if few.len() <= NAMES => few.join(", "),
            many if is_suite => format!("{} suites", many.len()),
            many => format!("{} scenarios of {}", many.len(), listed(&tracers, "tracers")),
        };
        let backends = if is_suite { String::new() } else { format!("; {}", backends.join(", ")) };
        format!("{scenarios} on {} ({modes}{backends})", listed(&kernels, "kernels"))
    }
}

fn listed(names: &[&str], what: &str) -> String {
    match names.len() {
        few if few <= NAMES => names.join(", "),
        many => format!("{many} {what}"),
    }
}
