//! Removes files that nobody has used for long.

use std::{
    cmp::Reverse,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
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
    for (path, metadata) in made(dir, part)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let is_unfinished = name.is_some_and(|name| part.makes_unfinished(name));
        let kept_for = if is_unfinished { kept_for.min(WRITTEN_WITHIN) } else { kept_for };
        if age(&metadata, now).is_some_and(|age| age > kept_for) {
            // Another process may be cleaning up as well.
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// Removes the least recently used of the files that the lab made in the directory of this part, until
/// the rest takes no more than `room` bytes. What was used within `kept_for` stays, even if that is more.
pub(crate) fn make_room(
    dir: &Path,
    part: Part,
    room: u64,
    kept_for: Duration,
    now: SystemTime,
) -> io::Result<()> {
    let mut files = made(dir, part)?;
    files.sort_by_cached_key(|(_, metadata)| Reverse(metadata.modified().ok()));
    let mut taken = 0;
    for (path, metadata) in files {
        taken += metadata.blocks() * 512;
        if taken > room && age(&metadata, now).is_some_and(|age| age > kept_for) {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// The files that the lab made in the directory of this part.
fn made(dir: &Path, part: Part) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| part.makes(name)) {
            continue;
        }
        // Another process may have removed it.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((entry.path(), metadata));
    }
    Ok(files)
}

/// The time since a file was last used.
fn age(metadata: &Metadata, now: SystemTime) -> Option<Duration> {
    now.duration_since(metadata.modified().ok()?).ok()
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
    fn the_least_recently_used_files_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let name = |unused: u64| format!("{unused:064x}.tar");
        for unused in [1, 20, 30, 40] {
            let path = dir.path().join(name(unused));
            fs::write(&path, [1; 4096]).unwrap();
            File::options()
                .append(true)
                .open(path)
                .unwrap()
                .set_modified(now - minutes(unused))
                .unwrap();
        }
        let left = |room, kept_for| {
            make_room(dir.path(), Part::Archives, room, kept_for, now).unwrap();
            [1, 20, 30, 40].map(|unused| dir.path().join(name(unused)).exists())
        };
        assert_eq!(left(4 * 4096, minutes(0)), [true, true, true, true]);
        assert_eq!(left(2 * 4096, minutes(35)), [true, true, true, false]);
        assert_eq!(left(2 * 4096, minutes(10)), [true, true, false, false]);
        assert_eq!(left(0, minutes(10)), [true, false, false, false]);
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
