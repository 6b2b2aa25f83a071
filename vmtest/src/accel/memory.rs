//! Remembers decisions about this host.

use std::{
    fs, io,
    marker::PhantomData,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use kernlab_kernels::replace_private_file;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{host_processor, qemu::Binary};

/// Everything that could change a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostState {
    /// The host's boot: its kernel, its modules and their parameters.
    boot: String,
    processor: String,
    /// QEMU's executable, its size and modification time: its version without running it.
    qemu: (PathBuf, u64, i64),
    /// KVM's device number, and when the node was made.
    device: (u64, i64),
}

impl HostState {
    pub(crate) fn of_host(qemu: &Binary, device: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let executable = fs::canonicalize(qemu.path()).unwrap_or_else(|_| qemu.path().to_owned());
        let file = fs::metadata(&executable).ok();
        let node = fs::metadata(device).ok();
        HostState {
            boot: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
            processor: host_processor::of_host(),
            qemu: (
                executable,
                file.as_ref().map_or(0, MetadataExt::size),
                file.as_ref().map_or(0, MetadataExt::mtime),
            ),
            device: (
                node.as_ref().map_or(0, MetadataExt::rdev),
                node.as_ref().map_or(0, MetadataExt::ctime),
            ),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Record<T> {
    host: HostState,
    /// Its fields.
    #[serde(flatten)]
    decision: T,
}

/// A file with the last decision.
#[derive(Debug)]
pub(crate) struct Memory<T> {
    file: PathBuf,
    decision: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Memory<T> {
    pub(crate) fn at(file: PathBuf) -> Self {
        Memory { file, decision: PhantomData }
    }

    /// The decision, if the host is in the same state. An unreadable file counts as no decision,
    /// because deciding again is cheap.
    pub(crate) fn recall(&self, host: &HostState) -> Option<T> {
        let record: Record<T> = serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        (record.host == *host).then_some(record.decision)
    }

    /// Stores the decision. If the disk prevents that, the next process decides again.
    pub(crate) fn remember(&self, host: &HostState, decision: T) {
        let record = Record { host: host.clone(), decision };
        let _ = self.write(&record);
    }

    /// Forgets the decision.
    pub(crate) fn forget(&self) {
        // Another process may have forgotten it already.
        let _ = fs::remove_file(&self.file);
    }

    fn write(&self, record: &Record<T>) -> io::Result<()> {
        replace_private_file(&self.file, &serde_json::to_vec_pretty(record)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accel::Decision, qemu::Accelerator};

    const TCG: Decision = Decision { accelerator: Accelerator::Tcg };

    fn host() -> HostState {
        HostState {
            boot: "1d2c".to_owned(),
            processor: "model name : A".to_owned(),
            qemu: ("/usr/bin/qemu".into(), 1, 2),
            device: (3, 4),
        }
    }

    #[test]
    fn an_answer_holds_as_long_as_the_host_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::at(dir.path().join("accelerator.json"));
        let now = host();
        assert_eq!(memory.recall(&now), None);
        memory.remember(&now, TCG);
        assert_eq!(memory.recall(&now), Some(TCG));
        memory.forget();
        memory.forget();
        assert_eq!(memory.recall(&now), None, "it is asked again");
        memory.remember(&now, TCG);
        for changed in [
            HostState { boot: "3e4f".to_owned(), ..host() },
            HostState { processor: "model name : B".to_owned(), ..host() },
            HostState { qemu: ("/usr/bin/qemu".into(), 1, 9), ..host() },
            HostState { device: (3, 9), ..host() },
        ] {
            assert_eq!(memory.recall(&changed), None, "{changed:?}");
        }
    }

    #[test]
    fn a_damaged_memory_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accelerator.json");
        fs::write(&file, b"{\"accelerator\": \"kvm\"").unwrap();
        assert_eq!(Memory::<Decision>::at(file).recall(&host()), None);
    }

    #[test]
    fn this_host_has_a_state() {
        let qemu = Binary::at("/bin/sh");
        let found = HostState::of_host(&qemu, Path::new("/dev/null"));
        assert_ne!(found.boot, "");
        assert_ne!(found.qemu.1, 0);
        assert_eq!(found, HostState::of_host(&qemu, Path::new("/dev/null")));
    }
}
