//! Ends the machine.

use std::convert::Infallible;

use nix::sys::reboot::{RebootMode, reboot};

/// Ends the machine by a restart. QEMU runs with `-no-reboot`, so a restart ends it on every
/// machine type, even on those that can't power off because they have no ACPI.
pub(crate) fn off() -> ! {
    let failed: nix::Result<Infallible> = reboot(RebootMode::RB_AUTOBOOT);
    // This fails only without CAP_SYS_BOOT, so not as PID 1 of a guest.
    eprintln!("kernlab-agent: could not restart the machine: {failed:?}");
    std::process::abort()
}
