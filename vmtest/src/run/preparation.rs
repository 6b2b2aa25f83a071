//! Downloads, unpacks or builds kernels while cells of other kernels run.
//!
//! The run prepares these kernels in the background. It holds a lock for each until the outcome is
//! in the run's directory. A cell of such a kernel waits for that lock, so it also notices when the
//! run ends.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use kernlab_core::outcome::{Outcome, Reason, Verdict};
use serde::{Deserialize, Serialize};

use super::{
    RunObserver,
    dir::{RunDir, read_json, write_json},
    plan::RunPlan,
};
use kernlab_kernels::interruption;
use kernlab_kernels::{Entry, Kernels, Source, State, Unpacked, chain, lock_within};

/// How long a cell waits for its kernel: longer than any step that the preparation itself limits.
const DEADLINE: Duration = Duration::from_secs(3 * 60 * 60);

/// The niceness of kernel builds, so that cells beside them go first.
const NICENESS: libc::c_int = 10;

/// The outcome of preparing a kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Readiness {
    /// The kernel can be booted.
    Bootable {
        kernel: Box<Unpacked>,
        /// Raw BTF for the mode `external`, if the entry names a file that can be used.
        external_btf: Option<PathBuf>,
    },
    /// The kernel is not available: the verdict for all its cells.
    Unavailable(Verdict),
}

impl Readiness {
    fn of(kernels: &Kernels, entry: &Entry, show: &dyn RunObserver) -> Self {
        match kernels.prepare(entry, show) {
            Ok(kernel) => {
                let external =
                    entry.btf_file.as_ref().map(|_| kernels.external_btf(entry, &kernel));
                // If the file can't be used, the cells that need it report why.
                let external_btf = external.and_then(Result::ok);
                Readiness::Bootable { kernel: Box::new(kernel), external_btf }
            }
            Err(error) => Readiness::Unavailable(Verdict::because(
                Outcome::Unavailable,
                error.reason(),
                chain(&error),
            )),
        }
    }

    /// Writes the outcome into the plan.
    pub(super) fn note(self, id: &str, plan: &mut RunPlan) {
        match self {
            Readiness::Bootable { kernel, external_btf } => {
                plan.external_btf.extend(external_btf.map(|btf| (id.to_owned(), btf)));
                plan.kernels.insert(id.to_owned(), *kernel);
            }
            Readiness::Unavailable(verdict) => {
                plan.unavailable.insert(id.to_owned(), verdict);
            }
        }
    }
}

/// The kernels that the run prepares while it goes on.
pub(super) struct Preparation {
    downloads: Vec<Pending>,
    builds: Vec<Pending>,
}

/// One such kernel. Its lock is released when this is dropped, or when the process dies.
struct Pending {
    entry: Entry,
    _lock: File,
}

impl Preparation {
    /// Prepares kernels whose files are on this machine, and returns the others. The plan says
    /// which is which.
    pub(super) fn begin(
        kernels: &Kernels,
        entries: &[Entry],
        dir: &RunDir,
        plan: &mut RunPlan,
        show: &dyn RunObserver,
    ) -> io::Result<Self> {
        let mut preparation = Preparation { downloads: Vec::new(), builds: Vec::new() };
        for entry in entries {
            let later = match kernels.state(entry) {
                State::Stored | State::Local => None,
                State::Unbuilt => Some(&mut preparation.builds),
                State::Unresolved if matches!(entry.source, Source::Build(_)) => {
                    Some(&mut preparation.builds)
                }
                State::Locked | State::Unresolved => Some(&mut preparation.downloads),
            };
            match later {
                None => Readiness::of(kernels, entry, show).note(&entry.id, plan),
                Some(later) => {
                    let lock = lock_file(dir, &entry.id)?;
                    lock.try_lock()?;
                    plan.pending.insert(entry.id.clone());
                    later.push(Pending { entry: entry.clone(), _lock: lock });
                }
            }
        }
        // Kernels in the lock come first: a repository that can't be reached must not delay them.
        preparation.downloads.sort_by_key(|pending| kernels.locked(&pending.entry).is_none());
        Ok(preparation)
    }

    /// The ids of the kernels that are not ready, in the order in which they will probably be
    /// ready.
    pub(super) fn order(&self) -> Vec<String> {
        let pending = self.downloads.iter().chain(&self.builds);
        pending.map(|pending| pending.entry.id.clone()).collect()
    }

    /// Prepares all others in the background: downloads one after the other, and builds in parallel
    /// to them. If the process ends first, the next run continues the work.
    pub(super) fn start(self, kernels: &Kernels, dir: &RunDir, show: &Arc<dyn RunObserver>) {
        for (pending, niceness) in [(self.downloads, 0), (self.builds, NICENESS)] {
            let (kernels, dir) = (kernels.clone(), dir.clone());
            let show = Arc::clone(show);
            thread::spawn(move || {
                give_way(niceness);
                let prepare = |entry: &Entry| Readiness::of(&kernels, entry, &*show);
                work_off(pending, prepare, |id, prepared| {
                    if let Err(error) = write_json(&dir.preparation(id), prepared) {
                        show.notice(&format!("{id}: cannot write its state: {error}"));
                    }
                });
            });
        }
    }
}

/// Prepares one kernel after the other and writes each outcome, until the run is interrupted. After
/// that, cells keep waiting until they are ended: an interrupted build is no verdict on them.
fn work_off(
    pending: Vec<Pending>,
    prepare: impl Fn(&Entry) -> Readiness,
    keep: impl Fn(&str, &Readiness),
) {
    let mut pending = pending.into_iter();
    for Pending { entry, _lock } in pending.by_ref() {
        let prepared = prepare(&entry);
        if interruption::noted().is_some() {
            // Holds the lock until the process ends.
            std::mem::forget(_lock);
            break;
        }
        keep(&entry.id, &prepared);
    }
    pending.for_each(std::mem::forget);
}

/// Lowers the priority of this thread and of the programs that it starts.
fn give_way(niceness: libc::c_int) {
    // SAFETY: setpriority(2) takes no pointers. On Linux, process 0 means the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
    // An error only affects scheduling.
    let _ = result;
}

/// Writes into the plan what became of its pending kernels by the end of the cells.
pub(super) fn settle(plan: &mut RunPlan, dir: &RunDir) -> io::Result<()> {
    let pending = std::mem::take(&mut plan.pending);
    for id in pending {
        match read_json::<Readiness>(&dir.preparation(&id))? {
            Some(prepared) => prepared.note(&id, plan),
            None => drop(plan.pending.insert(id)),
        }
    }
    Ok(())
}

/// Waits until a pending kernel is prepared.
pub(super) fn wait_for(dir: &RunDir, id: &str) -> Result<Readiness, Verdict> {
    let infra = |message: String| Verdict::because(Outcome::Infra, Reason::HostIo, message);
    let lock = lock_file(dir, id).and_then(|file| lock_within(file, DEADLINE, || {}));
    if lock.map_err(|error| infra(error.to_string()))?.is_none() {
        let minutes = DEADLINE.as_secs() / 60;
        return Err(infra(format!("kernel {id} was not ready after {minutes} minutes")));
    }
    let prepared = read_json(&dir.preparation(id));
    prepared
        .map_err(|error| infra(error.to_string()))?
        .ok_or_else(|| infra(format!("the preparation of kernel {id} ended without a result")))
}

fn lock_file(dir: &RunDir, id: &str) -> io::Result<File> {
    let path = dir.preparation(id).with_extension("lock");
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    File::options().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernlab_kernels::{Arch, Origin, Tier};

    fn run() -> (tempfile::TempDir, RunDir, RunPlan) {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::create(root.path()).unwrap();
        let mut plan = RunPlan::of(Vec::new(), "/guest".into());
        plan.pending.insert("k-6.1".to_owned());
        (root, dir, plan)
    }

    fn unavailable() -> Readiness {
        let verdict = Verdict::because(Outcome::Unavailable, Reason::Unreachable, "no address");
        Readiness::Unavailable(verdict)
    }

    #[test]
    fn a_cell_waits_for_its_kernel() {
        let (_root, dir, mut plan) = run();
        let lock = lock_file(&dir, "k-6.1").unwrap();
        lock.try_lock().unwrap();
        let waiting = thread::spawn({
            let dir = dir.clone();
            move || wait_for(&dir, "k-6.1")
        });
        write_json(&dir.preparation("k-6.1"), &unavailable()).unwrap();
        drop(lock);
        let Readiness::Unavailable(verdict) = waiting.join().unwrap().unwrap() else { panic!() };
        assert_eq!(verdict.reason, Some(Reason::Unreachable));
        settle(&mut plan, &dir).unwrap();
        assert_eq!((plan.unavailable["k-6.1"].clone(), plan.pending.len()), (verdict, 0));
    }

    #[test]
    fn a_preparation_that_ends_without_a_result_is_noticed() {
        let (_root, dir, mut plan) = run();
        let verdict = wait_for(&dir, "k-6.1").unwrap_err();
        assert_eq!(verdict.outcome, Outcome::Infra);
        assert!(verdict.message.contains("k-6.1 ended without a result"), "{}", verdict.message);
        settle(&mut plan, &dir).unwrap();
        assert_eq!(plan.pending.len(), 1);
    }

    fn pending(dir: &RunDir, id: &str) -> Pending {
        let lock = lock_file(dir, id).unwrap();
        lock.try_lock().unwrap();
        let entry = Entry {
            id: id.to_owned(),
            release: None,
            arch: Arch::X86_64,
            tier: Tier::Extended,
            source: Source::Host,
            btf: Vec::new(),
            btf_file: None,
            memory_mib: 256,
            processors: 1,
            why: String::new(),
            deviations: Vec::new(),
            origin: Origin::AdHoc,
        };
        Pending { entry, _lock: lock }
    }

    #[test]
    fn an_interrupted_preparation_is_no_verdict() {
        let (_root, dir, _) = run();
        let all = ["k-6.0", "k-6.1", "k-6.2"].map(|id| pending(&dir, id)).into();
        let _hold = interruption::hold().unwrap();
        let kept = std::cell::RefCell::new(Vec::new());
        let prepare = |entry: &Entry| {
            if entry.id == "k-6.1" {
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
            }
            unavailable()
        };
        work_off(all, prepare, |id, _| kept.borrow_mut().push(id.to_owned()));
        assert_eq!(kept.into_inner(), ["k-6.0"]);
        let is_free = |id| lock_file(&dir, id).unwrap().try_lock().is_ok();
        assert_eq!(["k-6.0", "k-6.1", "k-6.2"].map(is_free), [true, false, false]);
    }
}
