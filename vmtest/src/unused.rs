//! Removes files that nobody has used for long.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use kernlab_kernels::{Part, is_run};

/// What is written changes more often than this: an unfinished file that did not was left by a killed
/// process.
const WRITTEN_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes every file that the lab made in the directory of this part whose last use, the time of its
/// last change, was longer ago than `kept_for`.
pub(crate) fn remove(
    dir: &Path,
    part: Part,
    kept_for: Duration,
    now: SystemTime,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| part.makes(name)) {
            continue;
        }
        let is_unfinished = entry.file_name().to_str().is_some_and(|it| part.makes_unfinished(it));
        let kept_for = if is_unfinished { kept_for.min(WRITTEN_WITHIN) } else { kept_for };
        let age = entry.metadata().and_then(|file| file.modified()).ok();
        let age = age.and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > kept_for) {
            // Another process may be cleaning up as well.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Notes that a file is used now, unless that was noted less than `resolution` ago.
pub(crate) fn touch(path: &Path, resolution: Duration) -> io::Result<()> {
    let now = SystemTime::now();
    let file = fs::File::options().append(true).open(path)?;
    let age = now.duration_since(file.metadata()?.modified()?);
    if age.is_ok_and(|age| age < resolution) {
        return Ok(());
    }
    file.set_modified(now)
}

/// Runs of a runner are kept for this long.
const RUNS_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the directories of runs in a directory that were not changed for a day.
pub fn remove_runs(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(is_run) {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        if metadata.is_dir() && age.is_some_and(|age| age > RUNS_KEPT_FOR) {
            // Another process may be cleaning up as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_old_runs_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 2 * RUNS_KEPT_FOR;
        for name in ["20260102T030405", "20260102T030405-2", "results", "photos"] {
            let place = dir.path().join(name);
            fs::create_dir(&place).unwrap();
            File::open(place).unwrap().set_modified(old).unwrap();
        }
        fs::create_dir(dir.path().join("20260102T030406")).unwrap();
        remove_runs(dir.path());
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["20260102T030406", "photos", "results"]);
    }

    #[test]
    fn a_file_that_the_lab_did_not_make_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let ours = format!("{}.cpio", "0f".repeat(32));
        for name in [ours.as_str(), "cat.jpg"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let later = SystemTime::now() + Duration::from_secs(60);
        remove(dir.path(), Part::Images, Duration::ZERO, later).unwrap();
        assert!(dir.path().join("cat.jpg").exists());
        assert!(!dir.path().join(ours).exists());
    }
}
