//! Restores one guest after the other, and checks that they leave nothing behind.

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Named, Report, Summary};
use crate::{
    checkpoints::Checkpoints,
    lab::{Bootable, Job, LabError},
};
use kernlab_kernels::{Event, Observer, Silent, Store};

/// What to restore, and how often.
#[derive(Clone, Debug)]
pub struct SoakBench {
    /// The guest; its PID 1 must be the lab's agent.
    pub bootable: Bootable,
    /// The kernel's id, for the report.
    pub kernel: String,
    /// The store with the checkpoint.
    pub store: Store,
    /// How many guests to restore.
    pub rounds: NonZeroUsize,
}

/// Why restoring is not reliable.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// A guest failed. It is boxed because it carries its evidence.
    #[error("guest {round} failed")]
    Guest {
        /// Counted from 1.
        round: usize,
        /// The error.
        source: Box<LabError>,
    },
    /// A guest was booted instead of restored, or its checkpoint had to be saved again.
    #[error("guest {round} was not restored from the existing checkpoint: {told}")]
    NotRestored {
        /// Counted from 1.
        round: usize,
        /// The notice for the user.
        told: String,
    },
    /// This machine can't save guests.
    #[error("guests of this machine can't be saved")]
    NoState,
    /// Guests left something behind.
    #[error("{rounds} guests left behind: {what}")]
    Left {
        /// How many guests there were.
        rounds: usize,
        /// What they left.
        what: String,
    },
    /// The resources in use can't be determined.
    #[error("failed to check for leftovers")]
    Host(#[from] io::Error),
}

/// Keeps the notices: one means that a guest was not restored.
#[derive(Default)]
struct Notices(Mutex<Option<String>>);

impl Notices {
    fn last(self) -> Option<String> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Notices {
    fn observe(&self, _: &str, _: Event<'_>) {}

    fn notice(&self, line: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.to_owned());
    }
}

/// Restores guests; each runs a program and powers off. `observe` is called before each round with
/// its number, counted from 1.
pub fn soak(bench: &SoakBench, mut observe: impl FnMut(usize)) -> Result<Report, SoakError> {
    let guest = |round| move |source| SoakError::Guest { round, source: Box::new(source) };
    let checkpoints = Checkpoints::of(&bench.store);
    checkpoints.prepare(&bench.bootable, &Silent).map_err(guest(0))?;
    // Checkpoints of other kernels don't count: other processes may use them meanwhile.
    let dir = checkpoints.dir(&bench.bootable).ok_or(SoakError::NoState)?;
    let before = Belongings::of(&dir)?;
    let (mut ready, mut cells) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds.get() {
        observe(round);
        let began = Instant::now();
        let notices = Notices::default();
        let mut restored = checkpoints.guest(&bench.bootable, &notices).map_err(guest(round))?;
        ready.push(restored.timings().ready);
        // The job is the agent itself, which exits at once unless it is PID 1.
        restored.run(&Job::new(["/init"])).map_err(guest(round))?;
        drop(restored);
        cells.push(began.elapsed());
        if let Some(told) = notices.last() {
            return Err(SoakError::NotRestored { round, told });
        }
    }
    if let Some(what) = Belongings::of(&dir)?.beyond(&before) {
        return Err(SoakError::Left { rounds: bench.rounds.get(), what });
    }
    let of = |times: &[Duration]| {
        Summary::of(times).unwrap_or_else(|| unreachable!("there is at least one round"))
    };
    Ok(Report {
        schema: 1,
        benchmark: "soak",
        conditions: Named::of([
            ("kernel", bench.kernel.clone()),
            ("accelerator", bench.bootable.accelerator().name().to_owned()),
        ]),
        measurements: Named::of([("restored", of(&ready)), ("restored cell", of(&cells))]),
        ratios: Named(Vec::new()),
    })
}

/// The resources of this process.
#[derive(Debug, PartialEq, Eq)]
struct Belongings {
    /// The number of child processes, including zombies.
    children: usize,
    /// The number of open descriptors.
    descriptors: usize,
    /// The files of the checkpoint, with their size on disk in blocks of 512 bytes.
    files: BTreeMap<PathBuf, u64>,
}

impl Belongings {
    fn of(dir: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        list(dir, &mut files)?;
        Ok(Belongings {
            children: children()?,
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            files,
        })
    }

    /// The resources that were added since `before`.
    fn beyond(&self, before: &Belongings) -> Option<String> {
        let counts = [
            ("child processes", before.children, self.children),
            ("descriptors", before.descriptors, self.descriptors),
        ];
        let counts = counts
            .into_iter()
            .filter(|(_, before, after)| after > before)
            .map(|(what, before, after)| format!("{} {what}", after - before));
        let files = self
            .files
            .iter()
            .filter(|(file, blocks)| before.files.get(*file).is_none_or(|before| *blocks > before))
            .map(|(file, _)| format!("{} is new or has grown", file.display()));
        let all: Vec<_> = counts.chain(files).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

fn list(dir: &Path, files: &mut BTreeMap<PathBuf, u64>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.insert(entry.path(), metadata.blocks());
        }
    }
    Ok(())
}

/// The parent is the fourth field of `/proc/PID/stat`, after the name in parentheses: proc(5).
fn children() -> io::Result<usize> {
    let us = process::id().to_string();
    let is_ours = |entry: &fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(&us)
    };
    let all = fs::read_dir("/proc")?.collect::<io::Result<Vec<_>>>()?;
    Ok(all.iter().filter(|entry| is_ours(entry)).count())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_left_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state"), [0; 4096]).unwrap();
        let before = Belongings::of(dir.path()).unwrap();
        assert_eq!(before.beyond(&before), None);

        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let file = fs::File::open(dir.path().join("state")).unwrap();
        fs::write(dir.path().join("state"), [1; 65536]).unwrap();
        let after = Belongings::of(dir.path()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(file);
        let what = after.beyond(&before).unwrap();
        for word in ["1 child processes", "descriptors", "state is new or has grown"] {
            assert!(what.contains(word), "{what}");
        }
    }
}
