//! Where the programs of `guarded_read` go.

use super::{AttachPoint, tracepoint};
use crate::scenario::Scenario;

/// The entry of a call that has an argument and next to no effect.
pub(crate) const GUARDED_READ_CALL: &str = "sys_enter_getpgid";

/// The workload hands addresses over as the argument of a system call that does nothing with them.
pub(super) fn attach(scenario: &Scenario) -> Vec<AttachPoint> {
    let program = if scenario.name == "unguarded" { "unguarded_read" } else { "guarded_read" };
    vec![tracepoint(program, "syscalls", GUARDED_READ_CALL)]
}
