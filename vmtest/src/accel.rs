//! Who executes the guests of this machine: decided by booting one.
//!
//! `/dev/kvm` says little. There are hosts where it can be opened and accepts a machine, and then
//! never runs an ordinary kernel. So the first guest of a host is booted with KVM and a short
//! deadline; if its console stays silent, guests are translated (TCG). The answer is remembered
//! until the host boots again or something that matters changes.

mod memory;
mod probe;

use std::{env, path::Path};

use self::{
    memory::{Circumstances, Memory},
    probe::Finding,
};
use crate::{
    image::Initramfs,
    lab::LabError,
    qemu::{Accelerator, Binary},
};
use kernlab_kernels::{Store, StoreError, Unpacked};

/// Decides without asking the machine: `kvm`, `tcg`, or `auto` for what this module does.
pub const ACCEL_VARIABLE: &str = "KERNLAB_ACCEL";

/// The device of the host's kernel.
const KVM: &str = "/dev/kvm";

/// Who executes, and how the user should hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccelChoice {
    /// Who executes.
    pub accelerator: Accelerator,
    /// One line for the user, if this was found out just now and is not what one would hope for.
    pub news: Option<String>,
}

/// Nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub enum AccelError {
    /// The environment asks for something that does not exist.
    #[error("{ACCEL_VARIABLE} is {0:?}: expected kvm, tcg or auto")]
    UnknownWish(String),
    /// Several processes want to know, and one of them never finishes.
    #[error("could not wait for the process that finds out about acceleration")]
    StoreLock(#[source] StoreError),
    /// The guest that was to show it could not be started, with or without acceleration.
    #[error("could not find out about acceleration")]
    Probe(#[source] LabError),
}

/// Decides for this host, by its memory if that is of today, else by booting this kernel.
///
/// Of several processes that ask at the same time one boots, the others wait for its answer.
pub fn decide(
    store: &Store,
    qemu: &Binary,
    kernel: &Unpacked,
    image: &Initramfs,
) -> Result<AccelChoice, AccelError> {
    let wish = env::var_os(ACCEL_VARIABLE).unwrap_or_default();
    if let Some(accelerator) = wished(&wish.to_string_lossy())? {
        return Ok(AccelChoice { accelerator, news: None });
    }
    // Each process finds this out anew: a container may lack the device, or the rights to it.
    if let Err(error) = probe::open_device(Path::new(KVM)) {
        return Ok(AccelChoice { accelerator: Accelerator::Tcg, news: without_device(&error) });
    }
    let memory = Memory::at(store.root().join("accelerator.json"));
    let circumstances = Circumstances::of_host(qemu, Path::new(KVM));
    if let Some(accelerator) = memory.recall(&circumstances) {
        return Ok(AccelChoice { accelerator, news: None });
    }
    let _lock = store.lock("accelerator").map_err(AccelError::StoreLock)?;
    // Somebody else may have found out while we waited.
    if let Some(accelerator) = memory.recall(&circumstances) {
        return Ok(AccelChoice { accelerator, news: None });
    }
    let finding =
        probe::boot(qemu, kernel.image.fastest(), &image.path).map_err(AccelError::Probe)?;
    if finding != Finding::Mute {
        memory.remember(&circumstances, finding.accelerator());
    }
    Ok(AccelChoice { accelerator: finding.accelerator(), news: news_of(&finding) })
}

fn wished(wish: &str) -> Result<Option<Accelerator>, AccelError> {
    match wish {
        "" | "auto" => Ok(None),
        "kvm" => Ok(Some(Accelerator::Kvm)),
        "tcg" => Ok(Some(Accelerator::Tcg)),
        other => Err(AccelError::UnknownWish(other.to_owned())),
    }
}

fn without_device(error: &std::io::Error) -> Option<String> {
    // A machine that has no such device has never promised anything.
    (error.kind() != std::io::ErrorKind::NotFound)
        .then(|| format!("{KVM} can't be opened ({error}): guests run without acceleration (TCG)"))
}

fn news_of(finding: &Finding) -> Option<String> {
    let found = match finding {
        Finding::Runs => return None,
        Finding::Mute => {
            return Some(format!(
                "{KVM} could not be tried with a kernel that prints nothing: \
                 this one runs without acceleration (TCG)"
            ));
        }
        Finding::Silent(waited) => {
            format!("never runs a kernel (nothing on its console within {} s)", waited.as_secs())
        }
        Finding::Refused(diagnostics) => format!("does not work ({diagnostics})"),
    };
    Some(format!(
        "{KVM} is there but {found}: guests run without acceleration (TCG); \
         remembered until the next boot"
    ))
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

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
    fn only_disappointments_are_news() {
        assert_eq!(news_of(&Finding::Runs), None);
        let silent = news_of(&Finding::Silent(Duration::from_secs(4))).unwrap();
        assert!(silent.contains("nothing on its console within 4 s"), "{silent}");
        assert!(!silent.contains('\n'));
        assert_eq!(without_device(&io::ErrorKind::NotFound.into()), None);
        assert!(without_device(&io::ErrorKind::PermissionDenied.into()).is_some());
    }
}
