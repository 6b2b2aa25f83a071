//! Removes files of the store that nobody has used for long.

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
