//! One line that says where something happened.

use super::{super::grid::distinct, Finding};
use crate::suite::run::SUITE;

/// Longer lists of names are replaced by their number.
const NAMES: usize = 4;

impl Finding {
    /// `filelife/mknod on debian-6.19, debian-backports (embedded; libbpf, aya)`. Suites have no
    /// backend.
    pub(crate) fn place(&self) -> String {
        let part = |number: usize| {
            let parts = self.cells.iter().map(move |cell| cell.splitn(4, '/').nth(number));
            distinct(parts.map(Option::unwrap_or_default))
        };
        let tracers = || distinct(part(3).iter().filter_map(|scenario| scenario.split('/').next()));
        let scenarios = match part(3) {
            few if few.len() <= NAMES => few.join(", "),
            many if part(2) == [SUITE] => format!("{} suites", many.len()),
            many => format!("{} scenarios of {}", many.len(), listed(&tracers(), "tracers")),
        };
        let backends = match part(2) {
            suite if suite == [SUITE] => String::new(),
            backends => format!("; {}", backends.join(", ")),
        };
        let modes = part(1).join(", ");
        format!("{scenarios} on {} ({modes}{backends})", listed(&part(0), "kernels"))
    }
}

fn listed(names: &[&str], what: &str) -> String {
    match names.len() {
        few if few <= NAMES => names.join(", "),
        many => format!("{many} {what}"),
    }
}
