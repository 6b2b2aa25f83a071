//! The directories of a soak: a store of its own, a project with suites, and a directory for temporary
//! files. Nothing that it damages is used by anybody else.

use std::{
    collections::BTreeSet,
    env, fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use super::fault::Damage;
use crate::{architecture::Architecture, build::HostTool, workspace};

/// The directories. Those outside the checkout are removed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    scratch: tempfile::TempDir,
    /// Survives: making it takes minutes, and what one soak left must do for the next.
    pub(super) store: PathBuf,
    runs: PathBuf,
    latest: Option<PathBuf>,
}

const PARTS_WITH_DERIVED_FILES: [&str; 7] =
    ["artifacts", "archives", "checkpoints", "guest", "images", "digests", "logs"];

impl Place {
    /// Makes the directories, with these kernels in the store.
    pub(super) fn make(kernels: &[String], tool: &HostTool) -> Result<Self> {
        let root = workspace::root();
        let scratch = tempfile::Builder::new().prefix("kernlab-soak-").tempdir()?;
        let (store, runs) = (root.join("target/soak/store"), root.join("target/kernlab"));
        let latest = fs::read_link(runs.join("latest")).ok();
        let place = Place { scratch, store, runs, latest };
        for dir in [place.project(), place.temporary(), place.reports()] {
            fs::create_dir(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
        }
        place.copy_packages(&root, kernels).context("failed to copy packages of kernels")?;
        let mut words = vec!["kernels".into(), "fetch".into()];
        words.extend(kernels.iter().map(Into::into));
        tool.ask_with("KERNLAB_STORE", &place.store, &words).context("no kernels")?;
        place.make_project(&root).context("failed to make the project with suites")?;
        Ok(place)
    }

    /// A project with suites, outside of the checkout.
    pub(super) fn project(&self) -> PathBuf {
        self.scratch.path().join("project")
    }

    /// The directory for temporary files of runs.
    pub(super) fn temporary(&self) -> PathBuf {
        self.scratch.path().join("tmp")
    }

    /// Where runs write what the soak reads.
    pub(super) fn reports(&self) -> PathBuf {
        self.scratch.path().join("reports")
    }

    /// A QEMU that gets too little memory to start.
    pub(super) fn qemu_without_memory(&self) -> Result<PathBuf> {
        let path = self.scratch.path().join("qemu-without-memory");
        if !path.exists() {
            let qemu = env::var("KERNLAB_QEMU")
                .unwrap_or_else(|_| Architecture::host().facts().qemu.to_owned());
            let script = format!("#!/bin/sh\nulimit -v 150000\nexec {qemu} \"$@\"\n");
            fs::write(&path, script)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(path)
    }

    /// Copies the packages of kernels from the user's store, so that they are not downloaded again.
    fn copy_packages(&self, root: &Path, kernels: &[String]) -> Result<()> {
        let lock = fs::read_to_string(root.join("kernels.lock"))?;
        let Some(theirs) = user_store() else { return Ok(()) };
        for digest in digests(&lock, kernels) {
            let name = Path::new("objects").join(&digest[..2]).join(&digest);
            let (from, to) = (theirs.join(&name), self.store.join(&name));
            if !from.is_file() || to.exists() {
                continue;
            }
            if let Some(dir) = to.parent() {
                fs::create_dir_all(dir)?;
            }
            let part = to.with_extension("part");
            fs::copy(&from, &part)?;
            fs::rename(part, to)?;
        }
        Ok(())
    }

    /// The suites of `vmtest/tests/all/suites`, already built.
    fn make_project(&self, root: &Path) -> Result<()> {
        let (from, project) = (root.join("vmtest/tests/all/suites"), self.project());
        for file in ["tracer.c", "well.snap"] {
            fs::copy(from.join(file), project.join(file)).with_context(|| file.to_owned())?;
        }
        let suites = fs::read_to_string(from.join("kernlab.toml"))?;
        let is_own = |line: &&str| !line.starts_with("build = ") && !line.starts_with("kernels = ");
        let suites: String =
            suites.lines().filter(is_own).map(|line| format!("{line}\n")).collect();
        fs::write(project.join("kernlab.toml"), suites)?;
        let sh = Shell::new()?;
        sh.change_dir(project);
        Ok(cmd!(sh, "cc -O1 -static -o tracer tracer.c").quiet().run()?)
    }

    /// The directory of a second project, with a store of its own that no fault touches.
    pub(super) fn make_second(&self, kernel: &str) -> Result<PathBuf> {
        let dir = self.scratch.path().join("second");
        fs::create_dir(&dir)?;
        for name in ["tracer", "well.snap", "kernlab.toml"] {
            fs::copy(self.project().join(name), dir.join(name))?;
        }
        let lock = fs::read_to_string(workspace::root().join("kernels.lock"))?;
        for digest in digests(&lock, &[kernel.to_owned()]) {
            let name = Path::new("objects").join(&digest[..2]).join(&digest);
            let to = dir.join("store").join(&name);
            fs::create_dir_all(to.parent().unwrap_or(&dir))?;
            fs::copy(self.store.join(&name), to)?;
        }
        Ok(dir)
    }

    /// A random file of the store that is made when it is missing, damaged. None if there is none.
    pub(super) fn damage(&self, random: &mut fastrand::Rng, how: Damage) -> Result<Option<String>> {
        let Some(file) = self.any_file(random) else { return Ok(None) };
        let name = file.strip_prefix(&self.store).unwrap_or(&file).display().to_string();
        damage(&file, how, random).with_context(|| format!("failed to damage {name}"))?;
        Ok(Some(name))
    }

    /// Sets the times of some files of the store to years before or after now.
    pub(super) fn change_times(&self, random: &mut fastrand::Rng) -> Result<()> {
        const YEARS: std::time::Duration = std::time::Duration::from_secs(3 * 365 * 24 * 60 * 60);
        for _ in 0..20 {
            let Some(path) = self.any_file(random) else { break };
            let now = std::time::SystemTime::now();
            let time = if random.bool() { now + YEARS } else { now - YEARS };
            fs::File::open(&path)?.set_modified(time)?;
        }
        Ok(())
    }

    fn any_file(&self, random: &mut fastrand::Rng) -> Option<PathBuf> {
        let mut parts: Vec<Vec<PathBuf>> = PARTS_WITH_DERIVED_FILES
            .iter()
            .map(|part| files(&self.store.join(part)))
            .filter(|files| !files.is_empty())
            .collect();
        // Otherwise each would be a kernel's module.
        let part = random.usize(..parts.len().max(1));
        let mut files = parts.get_mut(part).map(std::mem::take)?;
        files.sort();
        Some(files.swap_remove(random.usize(..files.len())))
    }

    /// The names of locks that somebody holds.
    pub(super) fn held_locks(&self) -> Vec<String> {
        let locks = files(&self.store.join("locks")).into_iter();
        let all = locks.chain([self.store.join("in-use")]);
        let held = all.filter(|path| {
            let file = fs::File::options().write(true).open(path);
            file.is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
        });
        held.map(|path| path.display().to_string()).collect()
    }

    /// Removes temporary files, and returns their names.
    pub(super) fn clear_temporary(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.temporary())? {
            let entry = entry?;
            names.push(entry.file_name().to_string_lossy().into_owned());
            remove(&entry.path())?;
        }
        Ok(names)
    }

    /// The names of the runs in the checkout.
    pub(super) fn runs_in_checkout(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.runs).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Copies what the runs of a round wrote to where it survives the soak, and returns that directory.
    pub(super) fn keep_evidence(&self, name: &str, before: &BTreeSet<String>) -> Result<PathBuf> {
        let kept = workspace::root().join("target/soak/wrong").join(name);
        fs::create_dir_all(&kept).with_context(|| format!("failed to make {}", kept.display()))?;
        let in_checkout = self.runs_in_checkout();
        let runs = in_checkout.difference(before).map(|name| self.runs.join(name));
        let own = [self.reports(), self.project().join(".kernlab")];
        let sh = Shell::new()?;
        for from in runs.chain(own).filter(|from| from.exists()) {
            cmd!(sh, "cp --archive {from} {kept}").quiet().run()?;
        }
        Ok(kept)
    }

    /// Removes what runs of the soak left: their directories in the project, and those in the checkout
    /// that were not there before. Returns their size in bytes.
    pub(super) fn remove_runs(&self, before: &BTreeSet<String>) -> Result<u64> {
        let in_project = self.project().join(".kernlab");
        let mut total = size(&in_project);
        remove(&in_project)?;
        for name in self.runs_in_checkout().difference(before) {
            let dir = self.runs.join(name);
            // Somebody else may use the checkout meanwhile.
            let plan = fs::read_to_string(dir.join("plan.json")).unwrap_or_default();
            let is_ours = plan.is_empty() || plan.contains("target/soak/store");
            if name.starts_with('2') && is_ours {
                total += size(&dir);
                remove(&dir)?;
            }
        }
        let link = self.runs.join("latest");
        if let Some(latest) = &self.latest
            && fs::read_link(&link).is_ok_and(|target| !self.runs.join(target).exists())
        {
            fs::remove_file(&link)?;
            std::os::unix::fs::symlink(latest, &link)?;
        }
        Ok(total)
    }
}

fn user_store() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    set("KERNLAB_STORE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("kernlab")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/kernlab")))
}

/// The digests that a lock has for these kernels.
fn digests(lock: &str, kernels: &[String]) -> Vec<String> {
    let mut is_wanted = false;
    let mut digests = Vec::new();
    for line in lock.lines() {
        let value = |key: &str| {
            line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"').map(str::to_owned)
        };
        if let Some(id) = value("id") {
            is_wanted = kernels.contains(&id);
        }
        digests.extend(value("sha256").filter(|digest| is_wanted && digest.len() == 64));
    }
    digests
}

fn damage(file: &Path, how: Damage, random: &mut fastrand::Rng) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;

    if how == Damage::Remove {
        return fs::remove_file(file);
    }
    let open = fs::File::options().read(true).write(true).open(file)?;
    let length = open.metadata()?.len();
    match how {
        Damage::Flip if length > 0 => {
            let (offset, mut byte) = (random.u64(..length), [0]);
            open.read_exact_at(&mut byte, offset)?;
            open.write_all_at(&[byte[0] ^ (1 << random.u8(..8))], offset)
        }
        Damage::Truncate => open.set_len(length / 2),
        Damage::Flip | Damage::Empty | Damage::Remove => open.set_len(0),
    }
}

/// All files below a directory.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        Ok(kind) if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    });
    below.collect()
}

/// The disk space of a directory's files, in bytes.
pub(super) fn size(dir: &Path) -> u64 {
    let blocks = files(dir).iter().filter_map(|file| Some(fs::metadata(file).ok()?.blocks())).sum();
    let blocks: u64 = blocks;
    blocks * 512
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            bail!("failed to remove {}: {error}", path.display())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_lock_names_packages() {
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        let lock = format!(
            "[[kernel]]\nid = \"a\"\n[[kernel.file]]\nsha256 = \"{one}\"\n[[kernel]]\nid = \"b\"\n\
             [[kernel.file]]\nsha256 = \"{two}\"\n"
        );
        assert_eq!(digests(&lock, &["b".to_owned()]), [two]);
        assert!(digests(&lock, &["c".to_owned()]).is_empty());
    }

    #[rstest]
    #[case(Damage::Flip, Some(1000))]
    #[case(Damage::Truncate, Some(500))]
    #[case(Damage::Empty, Some(0))]
    #[case(Damage::Remove, None)]
    fn each_damage_changes_a_file(#[case] how: Damage, #[case] length: Option<usize>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, [7; 1000]).unwrap();
        damage(&file, how, &mut fastrand::Rng::with_seed(1)).unwrap();
        let content = fs::read(&file).ok();
        assert_eq!(content.as_ref().map(Vec::len), length);
        assert_ne!(content, Some(vec![7; 1000]));
    }
}
