//! The end of the machine.

use std::convert::Infallible;

use nix::sys::reboot::{RebootMode, reboot};

/// Switches the machine off. QEMU runs with `-no-reboot`, so a restart ends it on every machine
/// type, also on those without ACPI that have no other way to be switched off.
pub(crate) fn off() -> ! {
    let failed: nix::Result<Infallible> = reboot(RebootMode::RB_AUTOBOOT);
    // Only without CAP_SYS_BOOT, that is, not as PID 1 of a machine of ours.
    eprintln!("kernlab-agent: could not restart the machine: {failed:?}");
    std::process::abort()
}
