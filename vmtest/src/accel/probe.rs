//! Boots a kernel to test whether KVM runs it.

use std::{fs::File, io, path::Path, time::Duration};

use kernlab_kernels::Arch;

use crate::{
    lab::{Bootable, Guest, LabError, was_killed},
    qemu::{Accelerator, Binary, MachineSpec, Verbosity},
};

/// With KVM, a kernel prints its first line within a tenth of a second.
const KVM_TIMEOUT: Duration = Duration::from_secs(4);
/// With TCG, the first line takes half a second, and several times that on a busy machine.
const TRANSLATED: Duration = Duration::from_secs(20);

/// The result of a boot with KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The kernel printed something.
    Runs,
    /// QEMU reported no error, but the console stayed silent for this long; without KVM it did not.
    Silent(Duration),
    /// The console stayed silent without KVM too: the kernel is at fault, and nothing is known
    /// about KVM.
    Mute,
    /// QEMU ended by itself with this message.
    Refused(String),
    /// A signal ended QEMU: nothing is known about KVM.
    Killed,
}

impl Finding {
    pub(super) fn accelerator(&self) -> Accelerator {
        match self {
            Finding::Runs => Accelerator::Kvm,
            Finding::Silent(_) | Finding::Mute | Finding::Refused(_) | Finding::Killed => {
                Accelerator::Tcg
            }
        }
    }

    /// Whether it holds until the next boot of this host.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Finding::Runs | Finding::Silent(_) | Finding::Refused(_) => true,
            Finding::Mute | Finding::Killed => false,
        }
    }
}

/// Opens the device as QEMU would.
pub(super) fn open_device(device: &Path) -> io::Result<()> {
    File::options().read(true).write(true).open(device).map(drop)
}

/// How long each boot waits for the first output.
#[derive(Clone, Copy, Debug)]
struct Patience {
    kvm: Duration,
    tcg: Duration,
}

/// Starts a guest with KVM and waits for its first output.
pub(super) fn boot(
    qemu: &Binary,
    arch: Arch,
    kernel: &Path,
    image: &Path,
) -> Result<Finding, LabError> {
    boot_within(qemu, (arch, kernel), image, Patience { kvm: KVM_TIMEOUT, tcg: TRANSLATED })
}

fn boot_within(
    qemu: &Binary,
    (arch, kernel): (Arch, &Path),
    image: &Path,
    timeout: Patience,
) -> Result<Finding, LabError> {
    let start = |accelerator| {
        let mut machine = MachineSpec::new(arch, accelerator, kernel, image);
        machine.verbosity = Verbosity::Everything;
        Guest::start(&Bootable::new(qemu.clone(), machine))
    };
    let mut guest = start(Accelerator::Kvm)?;
    if guest.first_sign(timeout.kvm).is_some() {
        return Ok(Finding::Runs);
    }
    if let Some((status, diagnostics)) = guest.end() {
        return Ok(match was_killed(status, &diagnostics) {
            true => Finding::Killed,
            false => Finding::Refused(diagnostics),
        });
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

    /// Runs a shell script in place of QEMU; descriptor 3 is the console.
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
        let kernel = (Arch::X86_64, &*kernel);
        boot_within(&Binary::at(qemu), kernel, Path::new("/image"), timeout).unwrap()
    }

    #[rstest]
    #[case("echo 'Linux version' >&3; exec sleep 60", Finding::Runs)]
    #[case("exec sleep 60", Finding::Mute)]
    #[case(
        "case \"$*\" in *kvm*) ;; *) echo Linux >&3 ;; esac; exec sleep 60",
        Finding::Silent(Duration::from_millis(500))
    )]
    #[case("echo 'failed to initialize kvm' >&2; exit 1", Finding::Refused("failed to initialize kvm".to_owned()))]
    #[case("echo 'a warning' >&2; kill -KILL $$", Finding::Killed)]
    #[case("echo 'qemu: terminating on signal 15 from pid 1' >&2", Finding::Killed)]
    #[case("echo 'it broke' >&2; kill -ABRT $$", Finding::Refused("it broke".to_owned()))]
    fn findings_are_told_apart(#[case] script: &str, #[case] expected: Finding) {
        assert_eq!(find(script), expected);
    }
}
