//! Removes files that nobody has used for long.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

/// Removes every file of a directory whose last use, the time of its last change, was longer ago than
/// `kept_for`.
pub(crate) fn remove(dir: &Path, kept_for: Duration, now: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let age = entry.metadata().and_then(|file| file.modified()).ok();
        let age = age.and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > kept_for) {
            // Another process may be cleaning up as well.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Runs of a runner are kept for this long.
const RUNS_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the directories in a directory that were not changed for a day.
pub fn remove_dirs(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        if metadata.is_dir() && age.is_some_and(|age| age > RUNS_KEPT_FOR) {
            // Another process may be cleaning up as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
