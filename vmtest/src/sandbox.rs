//! Decides whether this host's QEMU runs guests in its sandbox, by trying. The answer is remembered
//! until the host reboots or its QEMU changes.

use std::{env, path::Path};

use kernlab_kernels::{Arch, Store};
use serde::{Deserialize, Serialize};

use crate::{
    accel::memory::{Circumstances, Memory},
    qemu::{Binary, NoSandbox},
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
    let circumstances = Circumstances::of_host(&qemu, Path::new("/dev/null"));
    if let Some(Decision { works }) = memory.recall(&circumstances) {
        return (if works { qemu } else { qemu.without_sandbox() }, None);
    }
    let tried = qemu.try_sandbox();
    if tried.as_ref().map_or_else(|no| no.is_certain, |()| true) {
        memory.remember(&circumstances, Decision { works: tried.is_ok() });
    }
    match tried {
        Ok(()) => (qemu, None),
        Err(NoSandbox { why, is_certain }) => {
            let until = if is_certain { "; remembered until the next boot" } else { " this time" };
            let news = format!(
                "{} has no sandbox that works here ({why}): guests run without it{until}",
                qemu.path().display()
            );
            (qemu.without_sandbox(), Some(news))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_without_a_sandbox_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let qemu = || Binary::at("/bin/ls");
        let (decided, news) = decide(&store, Arch::X86_64, qemu());
        assert_eq!(decided, qemu().without_sandbox());
        let news = news.unwrap();
        assert!(news.starts_with("/bin/ls has no sandbox that works here ("), "{news}");
        assert_eq!(decide(&store, Arch::X86_64, qemu()), (qemu().without_sandbox(), None));
    }

    #[test]
    fn a_trial_that_tells_nothing_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        for _ in 0..2 {
            let (_, news) = decide(&store, Arch::X86_64, Binary::at("/nonexistent"));
            let news = news.unwrap();
            assert!(news.ends_with("guests run without it this time"), "{news}");
        }
    }
}
