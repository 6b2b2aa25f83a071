//! Boots a kernel to see whether KVM runs it.

use std::{fs::File, io, path::Path, time::Duration};

use crate::{
    lab::{Bootable, Guest, LabError},
    qemu::{Accelerator, Binary, MachineSpec, Verbosity},
};

/// A processor that runs the kernel lets it speak within a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a boot with KVM showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The kernel printed something.
    Runs,
    /// QEMU was content, and the console stayed silent for so long.
    Silent(Duration),
    /// QEMU ended, and said this.
    Refused(String),
}

impl Finding {
    pub(super) fn accelerator(&self) -> Accelerator {
        match self {
            Finding::Runs => Accelerator::Kvm,
            Finding::Silent(_) | Finding::Refused(_) => Accelerator::Tcg,
        }
    }
}

/// What QEMU would do first.
pub(super) fn open_device(device: &Path) -> io::Result<()> {
    File::options().read(true).write(true).open(device).map(drop)
}

/// Starts a guest and waits for its first word.
pub(super) fn boot(qemu: &Binary, kernel: &Path, image: &Path) -> Result<Finding, LabError> {
    boot_within(qemu, kernel, image, PATIENCE)
}

fn boot_within(
    qemu: &Binary,
    kernel: &Path,
    image: &Path,
    patience: Duration,
) -> Result<Finding, LabError> {
    let mut machine = MachineSpec::new(Accelerator::Kvm, kernel, image);
    machine.verbosity = Verbosity::Everything;
    let mut guest = Guest::start(&Bootable::new(qemu.clone(), machine))?;
    Ok(match guest.first_sign(patience) {
        Some(_) => Finding::Runs,
        None => match guest.diagnostics() {
            Some(diagnostics) => Finding::Refused(diagnostics),
            None => Finding::Silent(patience),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use rstest::rstest;

    use super::*;

    /// A shell script in QEMU's place: descriptor 3 is the console.
    fn find(script: &str) -> Finding {
        let folder = tempfile::tempdir().unwrap();
        let qemu = folder.path().join("qemu");
        fs::write(&qemu, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        let kernel = folder.path().join("vmlinux");
        let mut header = b"\x7fELF\x02\x01".to_vec();
        header.resize(0x300, 0);
        header[18] = 62;
        fs::write(&kernel, header).unwrap();
        let patience = Duration::from_millis(500);
        boot_within(&Binary::at(qemu), &kernel, Path::new("/image"), patience).unwrap()
    }

    #[rstest]
    #[case("echo 'Linux version' >&3; exec sleep 60", Finding::Runs)]
    #[case("exec sleep 60", Finding::Silent(Duration::from_millis(500)))]
    #[case("echo 'failed to initialize kvm' >&2; exit 1", Finding::Refused("failed to initialize kvm".to_owned()))]
    fn findings_are_told_apart(#[case] script: &str, #[case] expected: Finding) {
        assert_eq!(find(script), expected);
    }
}
