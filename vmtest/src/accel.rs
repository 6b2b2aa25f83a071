//! Decides what executes this machine's guests, by booting one.
//!
//! `/dev/kvm` alone proves little. Some hosts open it and create a machine, but never run an
//! ordinary kernel. So the first guest of a host is booted with KVM and a short deadline. If its
//! console stays silent, the kernel is booted without KVM, and then once more with it: if that is
//! silent as well, guests are translated (TCG). The answer is remembered until the host reboots or
//! something relevant changes.

pub(crate) mod memory;
mod probe;

use std::{env, io, path::Path};

use serde::{Deserialize, Serialize};

use self::{
    memory::{HostState, Memory},
    probe::KvmProbe,
};
use crate::{
    image::Initramfs,
    lab::LabError,
    qemu::{Accelerator, Binary},
};
use kernlab_kernels::{Arch, Store, StoreError, Unpacked};

/// The environment variable that overrides the decision: `kvm`, `tcg`, or `auto` for this module's
/// choice.
pub const ACCEL_VARIABLE: &str = "KERNLAB_ACCEL";

/// The device node of KVM.
const KVM: &str = "/dev/kvm";

/// The accelerator, and what to tell the user about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccelChoice {
    /// What executes the guests.
    pub accelerator: Accelerator,
    /// One line for the user, if the choice is new and is not KVM.
    pub news: Option<String>,
}

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Decision {
    accelerator: Accelerator,
}

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub enum AccelError {
    /// The environment variable has an unknown value.
    #[error("{ACCEL_VARIABLE} is {0:?}: expected kvm, tcg or auto")]
    UnknownWish(String),
    /// Another process holds the lock for the decision and does not release it.
    #[error("could not wait for the process that tests KVM")]
    StoreLock(#[source] StoreError),
    /// The guest that tests KVM could not be started, with or without acceleration.
    #[error("could not test KVM")]
    Probe(#[source] LabError),
}

/// Decides for this host, by the remembered answer if it still applies, otherwise by booting this
/// kernel.
///
/// If several processes ask at the same time, one boots and the others wait for its answer.
pub fn decide(
    store: &Store,
    qemu: &Binary,
    kernel: &Unpacked,
    image: &Initramfs,
) -> Result<AccelChoice, AccelError> {
    // A processor executes only its own instructions, whatever the user wishes.
    if Arch::of_this_program() != Some(kernel.arch) {
        return Ok(AccelChoice { accelerator: Accelerator::Tcg, news: None });
    }
    let (memory, host) = (memory(store), HostState::of_host(qemu, Path::new(KVM)));
    let known = |accelerator| Ok(AccelChoice { accelerator, news: None });
    match Known::of(&memory, &host)? {
        Known::Wished(accelerator) | Known::Remembered(accelerator) => return known(accelerator),
        Known::NoDevice(error) => {
            let news = without_device(&error);
            return Ok(AccelChoice { accelerator: Accelerator::Tcg, news });
        }
        Known::Nothing => {}
    }
    let _lock = store.lock("accelerator").map_err(AccelError::StoreLock)?;
    // Another process may have decided in the meantime.
    if let Some(Decision { accelerator }) = memory.recall(&host) {
        return known(accelerator);
    }
    let probe = probe::boot(qemu, kernel.arch, kernel.image.fastest(), &image.path)
        .map_err(AccelError::Probe)?;
    Ok(decided(&memory, &host, &probe))
}

/// What is known without booting a guest.
enum Known {
    /// What the user wishes for.
    Wished(Accelerator),
    /// KVM's device can't be opened.
    NoDevice(io::Error),
    /// What was decided before.
    Remembered(Accelerator),
    Nothing,
}

impl Known {
    fn of(memory: &Memory<Decision>, host: &HostState) -> Result<Self, AccelError> {
        if let Some(accelerator) = wish()? {
            return Ok(Known::Wished(accelerator));
        }
        // Each process checks this again: a container may lack the device, or the permission to open
        // it.
        if let Err(error) = probe::open_device(Path::new(KVM)) {
            return Ok(Known::NoDevice(error));
        }
        let remembered = memory.recall(host).map(|decision| decision.accelerator);
        Ok(remembered.map_or(Known::Nothing, Known::Remembered))
    }
}

fn memory(store: &Store) -> Memory<Decision> {
    Memory::at(store.root().join("accelerator.json"))
}

/// The choice after a test, which is remembered if it is certain.
fn decided(memory: &Memory<Decision>, host: &HostState, probe: &KvmProbe) -> AccelChoice {
    let accelerator = probe.accelerator();
    if probe.is_certain() {
        memory.remember(host, Decision { accelerator });
    }
    AccelChoice { accelerator, news: news_of(probe) }
}

/// Whether to do without KVM after it failed to run a guest. The decision for KVM is forgotten, so that the
/// next process tries it again; not if the user wishes for KVM.
pub(crate) fn forget_kvm(store: &Store, accelerator: Accelerator) -> bool {
    let is_doubted = accelerator == Accelerator::Kvm && matches!(wish(), Ok(None));
    if is_doubted {
        memory(store).forget();
    }
    is_doubted
}

/// What this host's guests will probably run with, without booting one: what the user wishes for, what
/// is remembered, or KVM if its device can be opened.
///
/// # Errors
///
/// The environment variable has an unknown value.
pub fn expected(store: &Store, qemu: &Binary) -> Result<Expected, AccelError> {
    let host = HostState::of_host(qemu, Path::new(KVM));
    let (accelerator, why) = match Known::of(&memory(store), &host)? {
        Known::Wished(accelerator) => (accelerator, format!("{ACCEL_VARIABLE} says so")),
        Known::NoDevice(error) => (Accelerator::Tcg, format!("{KVM}: {error}")),
        Known::Remembered(Accelerator::Tcg) => {
            (Accelerator::Tcg, format!("{KVM} did not run a kernel before"))
        }
        Known::Remembered(Accelerator::Kvm) | Known::Nothing => {
            (Accelerator::Kvm, format!("{KVM} can be opened"))
        }
    };
    Ok(Expected { accelerator, why })
}

/// See [`expected`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What will probably execute guests.
    pub accelerator: Accelerator,
    /// Why, in a few words.
    pub why: String,
}

/// What the environment variable says; nothing if it leaves the choice to this module.
fn wish() -> Result<Option<Accelerator>, AccelError> {
    wished(&env::var_os(ACCEL_VARIABLE).unwrap_or_default().to_string_lossy())
}

fn wished(wish: &str) -> Result<Option<Accelerator>, AccelError> {
    match wish {
        "" | "auto" => Ok(None),
        "kvm" => Ok(Some(Accelerator::Kvm)),
        "tcg" => Ok(Some(Accelerator::Tcg)),
        other => Err(AccelError::UnknownWish(other.to_owned())),
    }
}

fn without_device(error: &io::Error) -> Option<String> {
    // Without the device, the user expects no acceleration.
    (error.kind() != io::ErrorKind::NotFound)
        .then(|| format!("{KVM} can't be opened ({error}): guests run without acceleration (TCG)"))
}

fn news_of(probe: &KvmProbe) -> Option<String> {
    let found = match probe {
        KvmProbe::Runs => return None,
        KvmProbe::Mute => {
            return Some(format!(
                "{KVM} could not be tested with a kernel that prints nothing: \
                 this one runs without acceleration (TCG)"
            ));
        }
        KvmProbe::Killed => {
            return Some(format!(
                "{KVM} could not be tested, because QEMU was killed by a signal: this guest runs without \
                 acceleration (TCG)"
            ));
        }
        KvmProbe::Silent(waited) => {
            format!("runs no kernel (nothing on its console within {} s)", waited.as_secs())
        }
        KvmProbe::Refused(diagnostics) => format!("does not work ({diagnostics})"),
    };
    let until = if probe.is_certain() { "; remembered until the next boot" } else { "" };
    Some(format!("{KVM} exists but {found}: guests run without acceleration (TCG){until}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", None)]
    #[case("auto", None)]
    #[case("kvm", Some(Accelerator::Kvm))]
    #[case("tcg", Some(Accelerator::Tcg))]
    fn the_environment_may_decide(#[case] wish: &str, #[case] expected: Option<Accelerator>) {
        assert_eq!(wished(wish).unwrap(), expected);
    }

    #[test]
    fn a_wish_that_does_not_exist_is_refused() {
        let message = wished("KVM").unwrap_err().to_string();
        assert_eq!(message, "KERNLAB_ACCEL is \"KVM\": expected kvm, tcg or auto");
    }

    #[test]
    fn only_what_is_certain_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::at(dir.path().join("accelerator.json"));
        let qemu = Binary::at(dir.path().join("qemu"));
        let host = HostState::of_host(&qemu, Path::new(KVM));
        for probe in [KvmProbe::Killed, KvmProbe::Mute, KvmProbe::Refused("no memory".to_owned())] {
            assert_eq!(decided(&memory, &host, &probe).accelerator, Accelerator::Tcg);
            assert_eq!(memory.recall(&host), None, "{probe:?}");
        }
        decided(&memory, &host, &KvmProbe::Runs);
        let remembered = memory.recall(&host);
        assert_eq!(remembered, Some(Decision { accelerator: Accelerator::Kvm }));
    }

    #[test]
    fn only_disappointments_are_news() {
        assert_eq!(news_of(&KvmProbe::Runs), None);
        let silent = news_of(&KvmProbe::Silent(Duration::from_secs(4))).unwrap();
        assert!(silent.contains("nothing on its console within 4 s"), "{silent}");
        assert!(!silent.contains('\n'));
        assert_eq!(without_device(&io::ErrorKind::NotFound.into()), None);
        assert!(without_device(&io::ErrorKind::PermissionDenied.into()).is_some());
    }
}
