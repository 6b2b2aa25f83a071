//! Turns what happens to a kernel before it can be booted into text.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::HumanBytes;
use kernlab_kernels::{Event, chain};

/// How often a build reports its progress where nothing can be redrawn.
const INTERVAL: Duration = Duration::from_secs(60);

/// How many files a build of 5.10 with the lab's configuration compiles; others differ by some
/// hundred.
const USUAL_FILES: u64 = 1370;

/// The text of the events of all kernels.
#[derive(Debug, Default)]
pub(crate) struct Preparing {
    downloads: Mutex<BTreeMap<String, Download>>,
    build: Mutex<Option<Build>>,
}

/// The current download of a kernel.
#[derive(Debug)]
struct Download {
    file: String,
    size: u64,
    begun: Instant,
}

/// The current build.
#[derive(Debug)]
struct Build {
    begun: Instant,
    reported: Instant,
}

impl Preparing {
    /// A line that stays, for events that deserve one. Progress gets one every minute, and only
    /// where it is not redrawn.
    pub(crate) fn line(&self, kernel: &str, event: &Event<'_>, is_redrawn: bool) -> Option<String> {
        let line = match event {
            Event::Wait { file } => format!("waiting for another process that downloads {file}"),
            Event::Download { file, done, size } => {
                self.begin_download(kernel, file, *size);
                if is_redrawn {
                    return None;
                }
                let resumed = match done {
                    0 => String::new(),
                    done => format!(", {} already downloaded", HumanBytes(*done)),
                };
                format!("downloading {file} ({}{resumed})", HumanBytes(*size))
            }
            Event::Downloaded => {
                let download = locked(&self.downloads).remove(kernel)?;
                format!("downloaded in {:.1} s", download.begun.elapsed().as_secs_f64())
            }
            Event::AddressFailed { url, error } => format!("{url}: {}", chain(*error)),
            Event::Unpack => "unpacking".to_owned(),
            Event::WaitForLock => "waiting for another process that resolves kernels".to_owned(),
            Event::Resolve { source } => format!("not in the lock: asking {source}"),
            Event::Locked { kernel, file } => {
                let file = file.file_name().unwrap_or(file.as_os_str()).display();
                format!("resolved to {} ({}), added to {file}", kernel.release, kernel.version)
            }
            Event::NotLocked { kernel, error } => format!(
                "resolved to {} ({}) for this run only: {}",
                kernel.release,
                kernel.version,
                chain(*error)
            ),
            Event::Build { log } => {
                let now = Instant::now();
                *locked(&self.build) = Some(Build { begun: now, reported: now });
                format!("building, which takes minutes; log: {}", log.display())
            }
            Event::InstallTools { log } => {
                format!("installing the tools for its build; log: {}", log.display())
            }
            Event::ToolsNotInstalled { log, error } => {
                let why = error.map(|error| format!(": {}", chain(error))).unwrap_or_default();
                format!("the tools were not installed{why}; log: {}", log.display())
            }
            Event::WaitForBuild => "waiting for another process that builds it".to_owned(),
            Event::OptionLost { difference } => {
                format!("the build changed an option: {difference}")
            }
            Event::Made { .. } if !is_redrawn => {
                let mut build = locked(&self.build);
                let build = build.as_mut().filter(|build| build.reported.elapsed() >= INTERVAL)?;
                build.reported = Instant::now();
                let message = self.message(kernel, event)?;
                format!("{message}, after {} s", build.begun.elapsed().as_secs())
            }
            Event::Built { files, seconds } => format!("built in {seconds} s, {files} files"),
            _ => return None,
        };
        Some(format!("{kernel}: {line}"))
    }

    /// The text to redraw, if the event changes it.
    pub(crate) fn message(&self, kernel: &str, event: &Event<'_>) -> Option<String> {
        Some(match event {
            Event::Download { file, .. } => format!("downloading {file}"),
            Event::Progress { done } => {
                let downloads = locked(&self.downloads);
                let Download { file, size, .. } = downloads.get(kernel)?;
                format!("downloading {file}, {} %", done * 100 / (*size).max(1))
            }
            Event::Unpack => "unpacking".to_owned(),
            Event::Resolve { .. } => "asking its repository".to_owned(),
            Event::Build { .. } => "unpacking the source".to_owned(),
            Event::Made { files, .. } => match *files {
                files if files > USUAL_FILES => format!("compiling, {files} files"),
                files => format!("compiling, {files} of about {USUAL_FILES} files"),
            },
            _ => return None,
        })
    }

    fn begin_download(&self, kernel: &str, file: &str, size: u64) {
        let download = Download { file: file.to_owned(), size, begun: Instant::now() };
        locked(&self.downloads).insert(kernel.to_owned(), download);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_redrawn_or_reported_now_and_then() {
        let preparing = Preparing::default();
        let line = |event: &Event<'_>, is_redrawn| preparing.line("k", event, is_redrawn);
        let begin = Event::Build { log: "/s/logs/a.log".as_ref() };
        let expected = "k: building, which takes minutes; log: /s/logs/a.log";
        assert_eq!(line(&begin, false).as_deref(), Some(expected));
        let made = Event::Made { files: 7, file: "CC      init/main.o" };
        let message = preparing.message("k", &made);
        assert_eq!(message.as_deref(), Some("compiling, 7 of about 1370 files"));
        assert_eq!(line(&made, false), None, "the build has just begun");
        locked(&preparing.build).as_mut().unwrap().reported -= INTERVAL;
        assert_eq!(line(&made, true), None);
        let expected = "k: compiling, 7 of about 1370 files, after 0 s";
        assert_eq!(line(&made, false).as_deref(), Some(expected));
        assert_eq!(line(&made, false), None, "progress was reported just now");
        let built = line(&Event::Built { files: 9, seconds: 61 }, true);
        assert_eq!(built.as_deref(), Some("k: built in 61 s, 9 files"));
    }

    #[test]
    fn a_download_is_redrawn_or_reported_at_its_ends() {
        let preparing = Preparing::default();
        let begin = Event::Download { file: "a.deb", done: 1 << 20, size: 4 << 20 };
        assert_eq!(preparing.line("k", &begin, true), None);
        let line = preparing.line("k", &begin, false);
        let expected = "k: downloading a.deb (4.00 MiB, 1.00 MiB already downloaded)";
        assert_eq!(line.as_deref(), Some(expected));
        let message = |kernel| preparing.message(kernel, &Event::Progress { done: 3 << 20 });
        assert_eq!(message("k").as_deref(), Some("downloading a.deb, 75 %"));
        assert_eq!(message("other"), None);
        let end = preparing.line("k", &Event::Downloaded, true);
        assert!(end.is_some_and(|line| line.starts_with("k: downloaded in 0.")));
    }
}
