//! Boots a kernel to see whether KVM runs it.

use std::{fs::File, io, path::Path, time::Duration};

use crate::{
    lab::{Bootable, Guest, LabError},
    qemu::{Accelerator, Binary, MachineSpec, Verbosity},
};

/// A processor that runs the kernel lets it speak within a tenth of a second.
const LOCK_TIMEOUT: Duration = Duration::from_secs(4);
/// QEMU's translator needs half a second, on a busy machine several times that.
const TRANSLATED: Duration = Duration::from_secs(20);

/// What a boot with KVM showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The kernel printed something.
    Runs,
    /// QEMU was content, and the console stayed silent for so long; without KVM it did not.
    Silent(Duration),
    /// The console stayed silent without KVM too: the fault is the kernel's, and nothing is known.
    Mute,
    /// QEMU ended, and said this.
    Refused(String),
}

impl Finding {
    pub(super) fn accelerator(&self) -> Accelerator {
        match self {
            Finding::Runs => Accelerator::Kvm,
            Finding::Silent(_) | Finding::Mute | Finding::Refused(_) => Accelerator::Tcg,
        }
    }
}

/// What QEMU would do first.
pub(super) fn open_device(device: &Path) -> io::Result<()> {
    File::options().read(true).write(true).open(device).map(drop)
}

/// How long each attempt waits for the kernel's first word.
#[derive(Clone, Copy, Debug)]
struct Patience {
    kvm: Duration,
    tcg: Duration,
}

/// Starts a guest with KVM and waits for its first word.
pub(super) fn boot(qemu: &Binary, kernel: &Path, image: &Path) -> Result<Finding, LabError> {
    boot_within(qemu, kernel, image, Patience { kvm: LOCK_TIMEOUT, tcg: TRANSLATED })
}

fn boot_within(
    qemu: &Binary,
    kernel: &Path,
    image: &Path,
    timeout: Patience,
) -> Result<Finding, LabError> {
    let start = |accelerator| {
        let mut machine = MachineSpec::new(accelerator, kernel, image);
        machine.verbosity = Verbosity::Everything;
        Guest::start(&Bootable::new(qemu.clone(), machine))
    };
    let mut guest = start(Accelerator::Kvm)?;
    if guest.first_sign(timeout.kvm).is_some() {
        return Ok(Finding::Runs);
    }
    if let Some(diagnostics) = guest.diagnostics() {
        return Ok(Finding::Refused(diagnostics));
    }
    drop(guest);
    Ok(match start(Accelerator::Tcg)?.first_sign(timeout.tcg) {
        Some(_) => Finding::Silent(timeout.kvm),
        None => Finding::Mute,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use rstest::rstest;

    use super::*;

    /// A shell script in QEMU's place: descriptor 3 is the console.
    fn find(script: &str) -> Finding {
        let dir = tempfile::tempdir().unwrap();
        let qemu = dir.path().join("qemu");
        fs::write(&qemu, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        let kernel = dir.path().join("vmlinux");
        let mut header = b"\x7fELF\x02\x01".to_vec();
        header.resize(0x300, 0);
        header[18] = 62;
        fs::write(&kernel, header).unwrap();
        let timeout = Duration::from_millis(500);
        let timeout = Patience { kvm: timeout, tcg: timeout };
        boot_within(&Binary::at(qemu), &kernel, Path::new("/image"), timeout).unwrap()
    }

    #[rstest]
    #[case("echo 'Linux version' >&3; exec sleep 60", Finding::Runs)]
    #[case("exec sleep 60", Finding::Mute)]
    #[case(
        "case \"$*\" in *kvm*) ;; *) echo Linux >&3 ;; esac; exec sleep 60",
        Finding::Silent(Duration::from_millis(500))
    )]
    #[case("echo 'failed to initialize kvm' >&2; exit 1", Finding::Refused("failed to initialize kvm".to_owned()))]
    fn findings_are_told_apart(#[case] script: &str, #[case] expected: Finding) {
        assert_eq!(find(script), expected);
    }
}
