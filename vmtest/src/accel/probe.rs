//! Boots a kernel to test whether KVM runs it.

use std::{fs::File, io, path::Path, time::Duration};

use kernlab_kernels::Arch;

use crate::{
    lab::{Bootable, Guest, LabError, was_killed},
    qemu::{Accelerator, Binary, MachineSpec, Verbosity},
};

/// With KVM, a kernel prints its first line within a tenth of a second.
const KVM_TIMEOUT: Duration = Duration::from_secs(4);
/// The same, where QEMU's files and the kernel have just been read.
const AGAIN: Duration = Duration::from_secs(1);
/// With TCG, the first line takes half a second, and several times that on a busy machine.
const TRANSLATED: Duration = Duration::from_secs(20);

/// The result of a boot with KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KvmProbe {
    /// The kernel printed something.
    Runs,
    /// QEMU reported no error, but the console stayed silent for this long, and once more; without KVM it did
    /// not.
    Silent(Duration),
    /// The console stayed silent without KVM too: the kernel is at fault, and nothing is known
    /// about KVM.
    Mute,
    /// QEMU ended by itself with this message.
    Refused(String),
    /// Somebody ended QEMU with a signal: nothing is known about KVM.
    Killed,
}

impl KvmProbe {
    pub(super) fn accelerator(&self) -> Accelerator {
        match self {
            KvmProbe::Runs => Accelerator::Kvm,
            KvmProbe::Silent(_) | KvmProbe::Mute | KvmProbe::Refused(_) | KvmProbe::Killed => {
                Accelerator::Tcg
            }
        }
    }

    /// Whether it holds until the next boot of this host.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            KvmProbe::Runs | KvmProbe::Silent(_) => true,
            // It may have lacked memory, or a library.
            KvmProbe::Refused(said) => said.to_ascii_lowercase().contains("kvm"),
            KvmProbe::Mute | KvmProbe::Killed => false,
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
    /// With KVM once more, at least.
    again: Duration,
}

/// Starts a guest with KVM and waits for its first output.
pub(super) fn boot(
    qemu: &Binary,
    arch: Arch,
    kernel: &Path,
    image: &Path,
) -> Result<KvmProbe, LabError> {
    boot_within(
        qemu,
        (arch, kernel),
        image,
        Patience { kvm: KVM_TIMEOUT, tcg: TRANSLATED, again: AGAIN },
    )
}

fn boot_within(
    qemu: &Binary,
    (arch, kernel): (Arch, &Path),
    image: &Path,
    timeout: Patience,
) -> Result<KvmProbe, LabError> {
    let start = |accelerator| {
        let mut machine = MachineSpec::new(arch, accelerator, kernel, image);
        machine.verbosity = Verbosity::Everything;
        Guest::start(&Bootable::new(qemu.clone(), machine))
    };
    let with_kvm = |patience: Duration| {
        let mut guest = start(Accelerator::Kvm)?;
        if guest.first_sign(patience).is_some() {
            return Ok(Some(KvmProbe::Runs));
        }
        Ok::<_, LabError>(guest.end().map(|(status, diagnostics)| {
            match was_killed(status, &diagnostics) {
                true => KvmProbe::Killed,
                false => KvmProbe::Refused(diagnostics),
            }
        }))
    };
    if let Some(found) = with_kvm(timeout.kvm)? {
        return Ok(found);
    }
    let mut translated = start(Accelerator::Tcg)?;
    let Some(took) = translated.first_sign(timeout.tcg) else {
        return Ok(match translated.end() {
            Some((status, diagnostics)) if was_killed(status, &diagnostics) => KvmProbe::Killed,
            _ => KvmProbe::Mute,
        });
    };
    drop(translated);
    // The first guest may have waited for a disk, or for a processor. By now all files have been read, and
    // how busy the host is has been seen: with KVM it takes a fraction of the time.
    let again = timeout.again.max(2 * took);
    Ok(with_kvm(again)?.unwrap_or(KvmProbe::Silent(timeout.kvm)))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use rstest::rstest;

    use super::*;

    /// Runs a shell script in place of QEMU; descriptor 3 is the console.
    fn find(script: &str) -> KvmProbe {
        let dir = tempfile::tempdir().unwrap();
        let qemu = dir.path().join("qemu");
        fs::write(&qemu, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        let kernel = dir.path().join("vmlinux");
        let mut header = b"\x7fELF\x02\x01".to_vec();
        header.resize(0x300, 0);
        header[18] = 62;
        fs::write(&kernel, header).unwrap();
        // Only what is meant to be silent is waited for in vain.
        let within = |is_silent: bool| Duration::from_millis(if is_silent { 500 } else { 20_000 });
        let is_endless = script.contains("sleep");
        let timeout = Patience {
            kvm: within(is_endless && !script.starts_with("echo")),
            tcg: within(is_endless && !script.contains("echo")),
            again: within(is_endless && !script.contains("warm")),
        };
        let kernel = (Arch::X86_64, &*kernel);
        boot_within(&Binary::at(qemu), kernel, Path::new("/image"), timeout).unwrap()
    }

    const SILENT: KvmProbe = KvmProbe::Silent(Duration::from_millis(500));

    fn refused(said: &str) -> KvmProbe {
        KvmProbe::Refused(said.to_owned())
    }

    #[rstest]
    #[case::runs("echo 'Linux version' >&3; exec sleep 60", KvmProbe::Runs, true)]
    #[case::mute("exec sleep 60", KvmProbe::Mute, false)]
    #[case::silent(
        "case \"$*\" in *kvm*) ;; *) echo Linux >&3 ;; esac; exec sleep 60",
        SILENT,
        true
    )]
    #[case::slow_the_first_time(
        "case \"$*\" in *kvm*) ;; *) touch \"$0.warm\"; echo Linux >&3 ;; esac; \
         test -e \"$0.warm\" && echo Linux >&3; exec sleep 60",
        KvmProbe::Runs,
        true
    )]
    #[case::refused(
        "echo 'failed to initialize kvm' >&2; exit 1",
        refused("failed to initialize kvm"),
        true
    )]
    #[case::no_memory("echo 'no memory' >&2; exit 1", refused("no memory"), false)]
    #[case::broken("echo 'it broke' >&2; kill -ABRT $$", refused("it broke"), false)]
    #[case::killed("echo 'kvm: a warning' >&2; kill -KILL $$", KvmProbe::Killed, false)]
    #[case::killed_without_kvm(
        "case \"$*\" in *kvm*) exec sleep 60 ;; *) kill -KILL $$ ;; esac",
        KvmProbe::Killed,
        false
    )]
    #[case::terminated(
        "echo 'qemu: terminating on signal 15 from pid 1' >&2",
        KvmProbe::Killed,
        false
    )]
    fn probes_are_told_apart(
        #[case] script: &str,
        #[case] expected: KvmProbe,
        #[case] is_certain: bool,
    ) {
        let found = find(script);
        assert_eq!((found.is_certain(), found), (is_certain, expected));
    }
}
