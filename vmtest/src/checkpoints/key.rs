//! The key of a checkpoint: everything it depends on.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path, sync::OnceLock};

use crate::{
    host_processor,
    lab::{Bootable, Job},
    qemu::{InjectedFile, Memory, is_measured},
};
use kernlab_kernels::{ContentDigests, Digest};

/// The version of the files in the cache, and of the messages between the agent and the host before
/// a guest is saved.
const FORMAT: u32 = 3;

/// Identifies a checkpoint. Keys differ if anything differs that could matter to a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The digest of what matters to a booted guest. For a primed guest, a dot and the digest of
    /// its additions follow.
    place: String,
    /// The parts that change often: of all checkpoints that differ only in these, the last is kept.
    contents: String,
}

impl Key {
    /// The key of a booted guest.
    pub(super) fn of(bootable: &Bootable, digests: &ContentDigests) -> io::Result<Self> {
        let place = machine(bootable, digests, processor())?.to_string();
        Ok(Key { place, contents: String::new() })
    }

    /// The key of a guest with a primed program, including all files that the guest was given.
    pub(super) fn of_primed(
        bootable: &Bootable,
        program: &Job,
        digests: &ContentDigests,
    ) -> io::Result<Self> {
        let booted = Key::of(bootable, digests)?;
        let mut text = format!("{program:?}\n");
        let mut contents = String::new();
        for file in &bootable.machine.injected {
            let InjectedFile { guest, host } = file;
            let state = fs::metadata(host)?;
            if file.is_named_after_content() {
                text.push_str(&format!("{guest}\n"));
                contents.push_str(&format!("{host:?} {}\n", state.size()));
                continue;
            }
            text.push_str(&format!("{guest} {host:?}\n"));
            let (seconds, nanoseconds) = (state.ctime(), state.ctime_nsec());
            contents.push_str(&format!("{} {} ", state.ino(), state.size()));
            contents.push_str(&format!("{seconds}.{nanoseconds}\n"));
        }
        Ok(Key { place: format!("{booted}.{}", Digest::of(text.as_bytes())), contents })
    }

    pub(super) fn contents(&self) -> &str {
        &self.contents
    }

    /// Was the checkpoint in this directory restored from the guest with this key?
    pub(super) fn is_origin_of(&self, dir: &str) -> bool {
        dir.strip_prefix(&self.place).is_some_and(|rest| rest.starts_with('.'))
    }
}

fn machine(bootable: &Bootable, digests: &ContentDigests, host: &str) -> io::Result<Digest> {
    let machine = &bootable.machine;
    let mut text = format!("kernlab {FORMAT}\n{host}\n");
    // Their digests are remembered: reading them would cost every cell a tenth of a second.
    for file in [bootable.qemu.path(), &machine.kernel] {
        text.push_str(&identity(file, digests)?);
    }
    // An initramfs is named after its content, and its time is updated on every use.
    text.push_str(&format!("{}\n", fs::metadata(&machine.initramfs)?.size()));
    // A disk's file is named after its content as well: the arguments have its path.
    if let Some(disk) = &machine.disk {
        text.push_str(&format!("{}\n", fs::metadata(disk)?.size()));
    }
    for argument in machine.guest_arguments(Memory::Fresh) {
        let argument = argument.to_string_lossy();
        let words = argument.split(' ').filter(|word| !is_measured(word));
        text.push_str(&words.collect::<Vec<_>>().join(" "));
        text.push('\n');
    }
    Ok(Digest::of(text.as_bytes()))
}

/// Identifies the machine and its QEMU.
pub(super) fn host_key(qemu: &Path, digests: &ContentDigests) -> io::Result<Digest> {
    let text = format!("kernlab {FORMAT}\n{}\n{}", processor(), identity(qemu, digests)?);
    Ok(Digest::of(text.as_bytes()))
}

#[cfg(test)]
impl Key {
    pub(super) fn for_test(name: &str, contents: &str) -> Self {
        // As the digests that a real key consists of.
        let parts: Vec<_> =
            name.split('.').map(|part| Digest::of(part.as_bytes()).to_string()).collect();
        Key { place: parts.join("."), contents: contents.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

fn identity(file: &Path, digests: &ContentDigests) -> io::Result<String> {
    let real = fs::canonicalize(file)?;
    Ok(format!("{real:?} {}\n", digests.of(&real)?))
}

/// The host's processor and kernel: guests see their counters and features.
fn processor() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!("{}\n{}", kernel.trim_end(), host_processor::of_host())
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use kernlab_kernels::Arch;

    use super::*;
    use crate::qemu::{Accelerator, Binary, MachineSpec};

    fn bootable(dir: &Path) -> Bootable {
        let file = |name: &str| -> PathBuf {
            let path = dir.join(name);
            if !path.exists() {
                fs::write(&path, name).unwrap();
            }
            path
        };
        let machine =
            MachineSpec::new(Arch::X86_64, Accelerator::Tcg, file("kernel"), file("initramfs"));
        Bootable::new(Binary::at(file("qemu")), machine)
    }

    fn digests(bootable: &Bootable) -> ContentDigests {
        ContentDigests::at(bootable.qemu.path().with_file_name("digests"))
    }

    fn of(bootable: &Bootable) -> io::Result<Key> {
        Key::of(bootable, &digests(bootable))
    }

    #[test]
    fn a_kernel_that_is_built_again_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let plain = bootable(dir.path());
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
        let key_of = |content: &str| {
            fs::write(&plain.machine.kernel, content).unwrap();
            let file = fs::File::options().write(true).open(&plain.machine.kernel).unwrap();
            file.set_modified(time).unwrap();
            of(&plain).unwrap()
        };
        // As `make` does that is given a time for all files: the size is the same as well.
        let first = key_of("build 1");
        assert_ne!(key_of("build 2"), first);
        assert_eq!(key_of("build 1"), first);
    }

    #[test]
    fn what_is_handed_over_later_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let plain = bootable(dir.path());
        let mut other = plain.clone();
        other.machine.injected = vec![InjectedFile::program("/nonexistent")];
        other.console_file = Some("/tmp/console".into());
        assert_eq!(of(&plain).unwrap(), of(&other).unwrap());
    }

    #[test]
    fn a_program_that_stands_by_is_that_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut bootable = bootable(dir.path());
        let file = dir.path().join("tracer");
        fs::write(&file, "one").unwrap();
        bootable.machine.injected = vec![InjectedFile::program(&file)];
        let program = Job::new(["/bin/tracer", "prime"]);
        let key = |program: &Job| Key::of_primed(&bootable, program, &digests(&bootable)).unwrap();
        let first = key(&program);
        assert_eq!(first, key(&program));
        let hidden = key(&program.clone().hide("/sys/kernel/btf"));
        assert_ne!(hidden.to_string(), first.to_string());
        assert_ne!(of(&bootable).unwrap().to_string(), first.to_string());
        fs::write(&file, "two").unwrap();
        let second = key(&program);
        assert_eq!(second.to_string(), first.to_string(), "both have the same place");
        assert_ne!(second, first);
    }

    #[test]
    fn an_archive_is_what_its_name_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut bootable = bootable(dir.path());
        let program = Job::new(["/bin/conductor"]);
        let mut key = |digit: char| {
            let host = dir.path().join(format!("{}.tar", digit.to_string().repeat(64)));
            fs::write(&host, "an archive").unwrap();
            bootable.machine.injected =
                vec![InjectedFile { guest: "/archive.tar".to_owned(), host }];
            Key::of_primed(&bootable, &program, &digests(&bootable)).unwrap()
        };
        let first = key('1');
        assert_eq!(key('1'), first, "only its time has changed");
        let second = key('2');
        assert_ne!(second, first);
        assert_eq!(second.to_string(), first.to_string(), "of both, the last is kept");
    }

    #[test]
    fn everything_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let plain = bootable(dir.path());
        let key = of(&plain).unwrap();
        let on = |host: &str| machine(&plain, &digests(&plain), host).unwrap();
        assert_ne!(on("one processor"), on("another"));
        assert_eq!(on(processor()).to_string(), key.to_string());
        let mut larger = plain.clone();
        larger.machine.memory_mib += 1;
        let mut worded = plain.clone();
        worded.machine.kernel_words = vec!["quiet".to_owned()];
        let mut accelerated = plain.clone();
        accelerated.machine.accelerator = Accelerator::Kvm;
        let mut with_disk = plain.clone();
        with_disk.machine.disk = Some(dir.path().join("kernel"));
        let mut with_another = plain.clone();
        with_another.machine.disk = Some(dir.path().join("qemu"));
        assert_ne!(of(&with_disk).unwrap(), of(&with_another).unwrap());
        for other in [larger, worded, accelerated, with_disk] {
            assert_ne!(of(&other).unwrap(), key);
        }
        for name in ["kernel", "initramfs", "qemu"] {
            let key = of(&plain).unwrap();
            fs::write(dir.path().join(name), format!("another {name}")).unwrap();
            assert_ne!(of(&plain).unwrap(), key, "{name}");
        }
    }
}
