//! QEMUs that can't start, don't speak, or get no memory. `lab/killed.rs` has
//! those that are killed.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::bench::{Bench, Told, run};
use kernlab_core::outcome::Reason;

/// A run with a script in the place of QEMU.
fn with_qemu(bench: &Bench, script: &str) -> Told {
    let path = bench.path().join("qemu");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    // Timeouts are shorter with KVM.
    run(bench.exec().env("KERNLAB_QEMU", path).env("KERNLAB_ACCEL", "kvm"))
}

#[test]
fn a_qemu_that_is_no_good_is_named() {
    let bench = Bench::new();
    for (script, reason, words) in [
        ("exit 0", Reason::ConnectionLost, "ended while it booted"),
        ("exit 1", Reason::QemuFailed, "QEMU ended with exit status: 1"),
        ("echo no such machine >&2; exit 1", Reason::QemuFailed, "no such machine"),
        ("kill -KILL $$", Reason::QemuFailed, "signal: 9"),
        (WITHOUT_MEMORY, Reason::QemuFailed, "QEMU ended with"),
        ("exec sleep 1000", Reason::BootTimeout, "not ready after 15 s"),
    ] {
        with_qemu(&bench, script).expect_infra(reason, words);
        bench.expect_nothing_left();
    }
    bench.expect_right();
}

/// Too little for QEMU itself.
const WITHOUT_MEMORY: &str = "ulimit -v 150000; exec qemu-system-x86_64 \"$@\"";

#[test]
fn a_qemu_that_is_missing_is_named() {
    let bench = Bench::new();
    let told = run(bench.exec().env("KERNLAB_QEMU", "/nonexistent/qemu"));
    told.expect_infra(Reason::QemuFailed, "/nonexistent/qemu");
    bench.expect_right();
}
