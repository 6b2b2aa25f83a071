//! Decides whether this host's QEMU runs guests in its sandbox, by trying. The answer is remembered
//! until the host reboots or its QEMU changes.

use std::{env, path::Path};

use kernlab_kernels::{Arch, Store};
use serde::{Deserialize, Serialize};

use crate::{
    accel::memory::{HostState, Memory},
    qemu::{Binary, SandboxTrial},
};

/// The environment variable that turns the sandbox off.
const SANDBOX_VARIABLE: &str = "KERNLAB_SANDBOX";

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Decision {
    works: bool,
}

/// The QEMU as its guests run in it, and one line for the user if the answer is new and guests run
/// without a sandbox.
pub(crate) fn decide(store: &Store, arch: Arch, qemu: Binary) -> (Binary, Option<String>) {
    if env::var_os(SANDBOX_VARIABLE).is_some_and(|wish| wish == "off") {
        return (qemu.without_sandbox(), None);
    }
    // Each architecture has a QEMU of its own.
    let file = match arch {
        Arch::X86_64 => "sandbox.json".to_owned(),
        other => format!("sandbox-{other}.json"),
    };
    let memory = Memory::at(store.root().join(file));
    // It does not depend on a device.
    let host = HostState::of_host(&qemu, Path::new("/dev/null"));
    if let Some(Decision { works }) = memory.recall(&host) {
        return (if works { qemu } else { qemu.without_sandbox() }, None);
    }
    let tried = qemu.try_sandbox();
    if tried != SandboxTrial::Inconclusive {
        memory.remember(&host, Decision { works: tried == SandboxTrial::Works });
    }
    match tried {
        // No guest runs unconfined because a trial failed: if the sandbox is at fault, QEMU says so when it
        // starts the guest.
        SandboxTrial::Works | SandboxTrial::Inconclusive => (qemu, None),
        SandboxTrial::Refused(why) => {
            let news = format!(
                "{} has no sandbox that works here ({why}): guests run without it; remembered until the \
                 next boot",
                qemu.path().display()
            );
            (qemu.without_sandbox(), Some(news))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A store, and a program in place of QEMU.
    fn with(script: &str) -> (tempfile::TempDir, Store, Binary) {
        let dir = tempfile::tempdir().unwrap();
        let qemu = dir.path().join("qemu");
        fs::write(&qemu, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        (dir, store, Binary::at(qemu))
    }

    #[test]
    fn a_qemu_without_a_sandbox_is_told_once() {
        let (_dir, store, qemu) = with("echo \"There is no option group 'sandbox'\" >&2; exit 1");
        let (decided, news) = decide(&store, Arch::X86_64, qemu.clone());
        assert_eq!(decided, qemu.clone().without_sandbox());
        let news = news.unwrap();
        assert!(news.contains("(There is no option group 'sandbox')"), "{news}");
        let again = decide(&store, Arch::X86_64, qemu.clone());
        assert_eq!(again, (qemu.without_sandbox(), None));
    }

    #[test]
    fn no_guest_is_unconfined_because_its_qemu_was_killed() {
        let (_dir, store, qemu) = with("kill -KILL $$");
        assert_eq!(decide(&store, Arch::X86_64, qemu.clone()), (qemu.clone(), None));
        assert!(!store.root().join("sandbox.json").exists(), "nor is that remembered");
    }
}
