//! Reports how a kernel is resolved and built.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kernlab_kernels::{Event, chain};

/// How often a build reports its progress where nothing can be redrawn.
const INTERVAL: Duration = Duration::from_secs(60);

/// How many files a build of 5.10 with the lab's configuration compiles; others differ by some
/// hundred.
const USUAL_FILES: u64 = 1370;

/// Turns the events of resolving and building into text.
#[derive(Debug, Default)]
pub(crate) struct Building {
    begun: Mutex<Option<Instant>>,
    reported: Mutex<Option<Instant>>,
}

impl Building {
    /// A line that stays, for events that deserve one. Progress gets one every minute, and only
    /// where it is not redrawn.
    pub(crate) fn line(&self, event: &Event<'_>, is_redrawn: bool) -> Option<String> {
        match event {
            Event::WaitForLock => Some("waiting for another process that resolves kernels".into()),
            Event::Resolve { source } => Some(format!("not in the lock: asking {source}")),
            Event::Locked { kernel, file } => {
                let file = file.file_name().unwrap_or(file.as_os_str()).display();
                Some(format!(
                    "resolved to {} ({}), added to {file}",
                    kernel.release, kernel.version
                ))
            }
            Event::NotLocked { kernel, error } => Some(format!(
                "resolved to {} ({}) for this run only: {}",
                kernel.release,
                kernel.version,
                chain(*error)
            )),
            Event::Build { log } => {
                *locked(&self.begun) = Some(Instant::now());
                *locked(&self.reported) = Some(Instant::now());
                Some(format!("building, which takes minutes; log: {}", log.display()))
            }
            Event::InstallTools { log } => {
                Some(format!("installing the tools for its build; log: {}", log.display()))
            }
            Event::ToolsNotInstalled { log, error } => {
                let why = error.map(|error| format!(": {}", chain(error))).unwrap_or_default();
                Some(format!("the tools were not installed{why}; log: {}", log.display()))
            }
            Event::WaitForBuild => Some("waiting for another process that builds it".to_owned()),
            Event::OptionLost { difference } => {
                Some(format!("the build changed an option: {difference}"))
            }
            Event::Made { .. } if !is_redrawn => {
                let mut reported = locked(&self.reported);
                if reported.is_none_or(|reported| reported.elapsed() < INTERVAL) {
                    return None;
                }
                *reported = Some(Instant::now());
                let message = self.message(event).unwrap_or_default();
                Some(format!("{message}, after {} s", self.elapsed().as_secs()))
            }
            Event::Built { files, seconds } => Some(format!("built in {seconds} s, {files} files")),
            _ => None,
        }
    }

    /// The text to redraw, if the event changes it.
    pub(crate) fn message(&self, event: &Event<'_>) -> Option<String> {
        match event {
            Event::Resolve { .. } => Some("asking its repository".to_owned()),
            Event::Build { .. } => Some("unpacking the source".to_owned()),
            Event::Made { files, .. } => Some(match *files {
                files if files > USUAL_FILES => format!("compiling, {files} files"),
                files => format!("compiling, {files} of about {USUAL_FILES} files"),
            }),
            _ => None,
        }
    }

    fn elapsed(&self) -> Duration {
        locked(&self.begun).map_or(Duration::ZERO, |begun| begun.elapsed())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_redrawn_or_reported_now_and_then() {
        let building = Building::default();
        let begin = Event::Build { log: "/s/logs/a.log".as_ref() };
        let line = building.line(&begin, false);
        assert_eq!(line.as_deref(), Some("building, which takes minutes; log: /s/logs/a.log"));
        let made = Event::Made { files: 7, file: "CC      init/main.o" };
        assert_eq!(building.message(&made).as_deref(), Some("compiling, 7 of about 1370 files"));
        assert_eq!(building.line(&made, false), None, "the build has just begun");
        let long_ago = Instant::now().checked_sub(INTERVAL);
        *locked(&building.reported) = long_ago;
        assert_eq!(building.line(&made, true), None);
        assert_eq!(
            building.line(&made, false).as_deref(),
            Some("compiling, 7 of about 1370 files, after 0 s")
        );
        assert_eq!(building.line(&made, false), None, "progress was reported just now");
        let built = building.line(&Event::Built { files: 9, seconds: 61 }, true);
        assert_eq!(built.as_deref(), Some("built in 61 s, 9 files"));
    }
}
