//! Which programs are in the kernel, and what keeps maps and programs there.

use std::{
    collections::BTreeSet,
    fs, io, thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{Command, bpf};

/// How long the kernel may take to free programs without references.
const FREED_WITHIN: Duration = Duration::from_secs(2);

/// Programs by id: those that are loaded, and in use or attached.
#[derive(Default)]
pub(crate) struct Loaded(BTreeSet<u32>);

/// `BPF_PROG_GET_NEXT_ID`'s part of `union bpf_attr`.
#[repr(C)]
struct NextIdAttributes {
    start: u32,
    next: u32,
    open_flags: u32,
}

impl Loaded {
    /// What is there now.
    pub(crate) fn now() -> Result<Self, Errno> {
        let mut ids = BTreeSet::new();
        let mut attributes = NextIdAttributes { start: 0, next: 0, open_flags: 0 };
        loop {
            // SAFETY: the kernel reads the attributes and writes `next`, both in place.
            match unsafe { bpf(Command::ProgramGetNextId, &mut attributes) } {
                Ok(_) => ids.insert(attributes.next),
                Err(Errno::ENOENT) => return Ok(Loaded(ids)),
                Err(error) => return Err(error),
            };
            attributes.start = attributes.next;
        }
    }

    /// Those that are not in `others`.
    pub(crate) fn without(&self, Loaded(others): &Loaded) -> Loaded {
        Loaded(self.0.difference(others).copied().collect())
    }

    /// How many have come since.
    pub(crate) fn since(&self) -> Result<u64, Errno> {
        let Loaded(now) = Loaded::now()?.without(self);
        Ok(now.len() as u64)
    }

    /// How many have come since, and stay. The kernel frees a program some time after its last user
    /// is gone (an RCU grace period, a work queue), without notice.
    pub(crate) fn remaining(&self) -> Result<u64, Errno> {
        remaining(FREED_WITHIN, || self.since())
    }
}

/// Where the guest's agent mounts the file system of pinned maps and programs.
pub(crate) const PINS: &str = "/sys/fs/bpf";

/// The names of what is pinned in a directory, but for the iterators that the kernel itself brings: kernel/bpf/preload.
pub(crate) fn pinned(dir: &str) -> io::Result<Vec<String>> {
    const OF_KERNEL: [&str; 2] = ["maps.debug", "progs.debug"];
    let entries = match fs::read_dir(dir) {
        // The kernel was built without it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| !OF_KERNEL.contains(&name.as_str()));
    Ok(names)
}

fn remaining(within: Duration, count: impl Fn() -> Result<u64, Errno>) -> Result<u64, Errno> {
    let deadline = Instant::now() + within;
    loop {
        let remaining = count()?;
        if remaining == 0 || Instant::now() >= deadline {
            return Ok(remaining);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_told_from_what_was_there() {
        let loaded = |ids: &[u32]| Loaded(ids.iter().copied().collect());
        let Loaded(ours) = loaded(&[1, 2, 5]).without(&loaded(&[1, 3]));
        assert_eq!(ours, BTreeSet::from([2, 5]));
    }

    #[test]
    fn what_is_pinned_is_told_but_for_what_the_kernel_brings() {
        let dir = tempfile::tempdir().unwrap();
        let in_it = || pinned(dir.path().to_str().unwrap()).unwrap();
        fs::write(dir.path().join("maps.debug"), "").unwrap();
        assert!(in_it().is_empty());
        fs::write(dir.path().join("totals"), "").unwrap();
        assert_eq!(in_it(), ["totals"]);
        drop(fs::remove_dir_all(dir.path()));
        assert!(in_it().is_empty());
    }

    #[test]
    fn programs_may_take_time_to_go() {
        let counts = std::cell::RefCell::new(vec![0, 1, 2]);
        let counted = || Ok(counts.borrow_mut().pop().unwrap_or(9));
        assert_eq!(remaining(Duration::from_secs(60), counted), Ok(0));
        assert_eq!(remaining(Duration::ZERO, || Ok(2)), Ok(2));
    }
}
